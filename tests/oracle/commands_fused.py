"""One training step in two precisions: the f64 reference, and PyTorch's own f32 in channels_last."""

import copy

import torch
from commands_models import contiguous, seeded, unsettle
from registry import command
from safetensors.torch import save_file


@command
def step_in_two_precisions(config, seed, shape, train, threads, out):
    """`start.*`, `input`, `target`; then `double.*` and `single.*`: logits, loss, grad.*, after.* (buffers)."""
    torch.set_num_threads(threads)
    network = seeded(config, seed).train(train)
    unsettle(network, seed)
    x = torch.randn(shape)
    target = torch.randint(config["num_classes"], (shape[0],))
    results = {"input": x, "target": target}
    results |= {f"start.{k}": v for k, v in network.state_dict().items()}
    for name in ["double", "single"]:
        copied = copy.deepcopy(network)
        copied = copied.double() if name == "double" else copied.to(memory_format=torch.channels_last)
        xs = x.to(torch.float64 if name == "double" else torch.float32).requires_grad_()
        logits = copied(xs)
        loss = torch.nn.functional.cross_entropy(logits, target)
        loss.backward()
        results |= {f"{name}.logits": logits, f"{name}.loss": loss, f"{name}.grad.input": xs.grad}
        results |= {f"{name}.grad.{k}": p.grad for k, p in copied.named_parameters()}
        results |= {f"{name}.after.{k}": b for k, b in copied.named_buffers()}
    save_file(contiguous(results), out)
