"""torchvision's memory_efficient networks, and what a forward pass of theirs keeps."""

import torch
import torchvision
from commands_models import contiguous, unsettle
from registry import command
from safetensors.torch import load_file, save_file


def torchvision_network(config, memory_efficient):
    return torchvision.models.DenseNet(
        config["growth_rate"],
        tuple(config["block_config"]),
        config["num_init_features"],
        config["bn_size"],
        config["drop_rate"],
        config["num_classes"],
        memory_efficient,
    )


@command
def efficient_step(config, seed, shape, out):
    """A training step with memory_efficient=True: start, input, loss, every gradient, every buffer after it."""
    torch.manual_seed(seed)
    network = torchvision_network(config, True).train()
    unsettle(network, seed)
    results = {f"start.{k}": v for k, v in contiguous(network.state_dict()).items()}
    x, target = torch.randn(shape, requires_grad=True), torch.randint(config["num_classes"], (shape[0],))
    loss = torch.nn.functional.cross_entropy(network(x), target)
    loss.backward()
    results |= {"input": x, "target": target, "loss": loss, "grad.input": x.grad}
    results |= {f"grad.{k}": p.grad for k, p in network.named_parameters()}
    results |= {f"after.{k}": b for k, b in network.named_buffers()}
    save_file(contiguous(results), out)


@command
def kept_bytes(config, shape, memory_efficient, channels_last):
    """Bytes that libtorch's CPU allocator gave out in a training-mode forward pass and that are still in use after it."""
    network = torchvision_network(config, memory_efficient).train()
    x = torch.randn(shape)
    if channels_last:
        network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        logits = network(x)
    events = [event.nbytes() for event in profile.kineto_results.events() if event.name() == "[memory]"]
    assert events and logits.requires_grad
    return sum(events)
