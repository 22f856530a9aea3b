"""What torchvision's DenseNet computes."""

import re
from collections import OrderedDict

import torch
import torchvision
from plain_densenet import PlainDenseNet
from registry import command
from safetensors.torch import load_file, save_file


def build(config):
    """torchvision's own network wherever it can express the configuration, else a plain definition."""
    expressible = (
        config["bn_size"]
        and config["compression"] == 0.5
        and config["dropout"] == "layer_output"
        and config["stem"] == "imagenet"
        and config["in_channels"] == 3
        and config["num_classes"] > 0
    )
    if not expressible:
        return PlainDenseNet(config)
    return torchvision.models.DenseNet(
        config["growth_rate"],
        tuple(config["block_config"]),
        config["num_init_features"],
        config["bn_size"],
        config["drop_rate"],
        config["num_classes"],
    )


def seeded(config, seed):
    torch.manual_seed(seed)
    return build(config)


def unsettle(network, seed):
    """Other values than a new network's in every tensor, so that nothing is right by being 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() == 1:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


def contiguous(tensors):
    return {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}


@command
def threads(count):
    torch.set_num_threads(count)


@command
def builder_config(arch):
    """What torchvision's builder of that name makes."""
    network = getattr(torchvision.models, arch)()
    return {
        "keys": list(network.state_dict()),
        "num_params": sum(p.numel() for p in network.parameters()),
    }


@command
def construct(config, seed, out):
    """Initial weights to `out`; keys, shapes and dtypes in order; and what the generator draws next."""
    network = seeded(config, seed)
    after = torch.rand(1).item()
    state = network.state_dict()
    save_file(contiguous(state), out)
    tensors = [[k, list(t.shape), str(t.dtype).removeprefix("torch.")] for k, t in state.items()]
    return {"tensors": tensors, "after": after, "parameters": [k for k, _ in network.named_parameters()]}


@command
def evaluate(config, seed, inputs, state, out):
    """Logits of an unsettled network in eval mode for each input shape; also its features."""
    network = seeded(config, seed).eval()
    unsettle(network, seed)
    save_file(contiguous(network.state_dict()), state)
    results = {}
    with torch.no_grad():
        for i, shape in enumerate(inputs):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(seed + i))
            results[f"input{i}"] = x
            results[f"features{i}"] = network.features(x).clone()
            results[f"logits{i}"] = network(x)
    save_file(contiguous(results), out)


@command
def train_step(config, seed, shape, channels_last, out):
    """One training-mode forward and backward: loss, logits, every gradient, every buffer after it."""
    network = seeded(config, seed).train()
    unsettle(network, seed)
    start = contiguous(network.state_dict())
    if channels_last:
        network.to(memory_format=torch.channels_last)
    x = torch.randn(shape)
    target = torch.randint(config["num_classes"], (shape[0],))
    torch.manual_seed(seed + 1)
    x.requires_grad_()
    logits = network(x)
    loss = torch.nn.functional.cross_entropy(logits, target)
    loss.backward()
    results = {"input": x, "target": target, "loss": loss, "logits": logits, "grad.input": x.grad}
    results |= {f"start.{k}": v for k, v in start.items()}
    results |= {f"grad.{k}": p.grad for k, p in network.named_parameters()}
    results |= {f"after.{k}": b for k, b in network.named_buffers()}
    save_file(contiguous(results), out)


@command
def sgd(config, seed, shape, steps, lr, out):
    """Weights after steps of plain SGD on batches drawn from the same generator."""
    network = seeded(config, seed).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        x = torch.randn(shape)
        target = torch.randint(config["num_classes"], (shape[0],))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    save_file(contiguous(network.state_dict()), out)
    return losses


@command
def logits_of(config, state, inputs, out):
    """Eval logits of `inputs["input"]` with the weights in `state`, loaded strictly."""
    network = build(config).eval()
    network.load_state_dict(load_file(state), strict=True)
    with torch.no_grad():
        save_file({"logits": network(load_file(inputs)["input"])}, out)


def official_keys(state):
    """The state dict as torchvision's first uploads have it: dotted names, no counters, no _metadata."""
    dotted = re.compile(r"(denselayer\d+)\.(norm|conv)([12])\.")
    return OrderedDict(
        (dotted.sub(r"\1.\2.\3.", key), tensor)
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    )


@command
def official_file(config, seed, shape, checkpoint, reference):
    """A checkpoint as torchvision's uploads are, and a reference file for `densenet parity`: modules' outputs, logits."""
    network = seeded(config, seed).eval()
    unsettle(network, seed)
    torch.save(official_keys(network.state_dict()), checkpoint, _use_new_zipfile_serialization=False)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    stages = {"input": x}
    for name, module in network.features.named_children():
        keep = lambda _module, _args, output, name=name: stages.__setitem__(f"features.{name}", output.clone())
        module.register_forward_hook(keep)
    with torch.no_grad():
        stages["logits"] = network(x)
    save_file(contiguous(stages), reference)


@command
def step_reference(config, seed, shape, checkpoint, reference):
    """A checkpoint and what one training step from it gives, as `densenet parity --train` reads it."""
    network = seeded(config, seed).train()
    unsettle(network, seed)
    torch.save(network.state_dict(), checkpoint)
    x, target = torch.randn(shape), torch.randint(config["num_classes"], (shape[0],))
    loss = torch.nn.functional.cross_entropy(network(x), target)
    loss.backward()
    results = {"input": x, "target": target, "loss": loss}
    results |= {f"grad.{k}": p.grad for k, p in network.named_parameters()}
    results |= dict(network.named_buffers())
    save_file(contiguous(results), reference)


@command
def categories():
    """torchvision's ImageNet class names."""
    return torchvision.models.DenseNet121_Weights.IMAGENET1K_V1.meta["categories"]


@command
def shaped_checkpoint(config, seed, container, wrapper, prefix, dtype, old_keys, whole, out, state):
    """The same network in many shapes of file; `state` gets what a network holds after loading it, in f32."""
    network = seeded(config, seed)
    unsettle(network, seed)
    network.to(getattr(torch, dtype))
    tensors = network.state_dict()
    save_file({k: t.float() if t.is_floating_point() else t for k, t in contiguous(tensors).items()}, state)
    if old_keys:
        tensors = official_keys(tensors)
    tensors = OrderedDict((prefix + key, tensor) for key, tensor in tensors.items())
    if container == "safetensors":
        save_file(contiguous(tensors), out)
        return
    contents = network if whole else tensors
    for key in reversed(wrapper.split(".") if wrapper else []):
        optimizer = torch.optim.Adam(network.parameters()).state_dict()
        contents = {"epoch": 3, "best_acc1": 0.5, "arch": "densenet", key: contents, "optimizer": optimizer}
    torch.save(contents, out, _use_new_zipfile_serialization=container == "zip")


@command
def small_parameters(depth, growth_rate):
    """Parameters of a DenseNet-BC for 32x32 pictures and 10 classes."""
    layers = (depth - 4) // 6
    model = PlainDenseNet(
        {
            "growth_rate": growth_rate,
            "block_config": [layers] * 3,
            "num_init_features": 2 * growth_rate,
            "bn_size": 4,
            "compression": 0.5,
            "in_channels": 3,
            "num_classes": 10,
            "stem": "small",
        }
    )
    return sum(parameter.numel() for parameter in model.parameters())
