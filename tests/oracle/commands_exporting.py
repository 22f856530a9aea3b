"""What Python makes of modules exported from Rust."""

import json
import pickle

import torch
from commands_models import build, contiguous
from registry import command
from safetensors.torch import load_file, save_file


def constants(path):
    """Tensors that the code holds, which `to` would leave behind."""
    reader = torch._C.PyTorchFileReader(path)
    return len(pickle.loads(reader.get_record("constants.pkl")))


@command
def exporting_run(path, inputs, out, config=None):
    """Runs the module on every input three times (the executor rewrites the graph after the first) and saves the logits.

    Checks what a user of torch.jit relies on: parameters are parameters, without gradients; train() changes nothing; the
    state dict is the one of the configuration's own network and gives it the same logits.
    """
    files = {"densenet.json": ""}
    module = torch.jit.load(path, _extra_files=files)
    inputs = load_file(inputs)
    with torch.no_grad():
        runs = [{name: module(x) for name, x in inputs.items()} for _ in range(3)]
        runs.append({name: module.train()(x) for name, x in inputs.items()})
        module.eval()
        if config:
            network = build(config).eval().to(next(module.parameters()).dtype)
            network.load_state_dict(module.state_dict(), strict=True)
            runs.append({name: network(x) for name, x in inputs.items()})
    for number, run in enumerate(runs):
        for name, logits in run.items():
            assert torch.equal(logits, runs[0][name]), f"run {number} of {name}"
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(tensor.requires_grad for tensor in runs[0].values())
    save_file(contiguous(runs[0]), out)
    return {
        "parameters": [name for name, _ in module.named_parameters()],
        "state": list(module.state_dict()),
        "constants": constants(path),
        "description": json.loads(files["densenet.json"]) if files["densenet.json"] else None,
    }


@command
def exporting_tools(path, input, folder):
    """What else people do with a loaded module: save it again, freeze it, optimize it, halve it."""
    module = torch.jit.load(path).eval()
    x = load_file(input)["x"]
    with torch.no_grad():
        want = module(x)
        module.save(f"{folder}/again.pt")
        assert torch.equal(torch.jit.load(f"{folder}/again.pt")(x), want)
        frozen = torch.jit.freeze(module)
        assert not list(frozen.parameters())
        assert torch.allclose(frozen(x), want, rtol=1e-4, atol=1e-5)
        assert torch.allclose(torch.jit.optimize_for_inference(module)(x), want, rtol=1e-4, atol=1e-5)
        halved = torch.jit.load(path).half()(x.half())
        assert halved.dtype == torch.float16 and torch.allclose(halved.float(), want, rtol=0.05, atol=0.01)
    y = x.clone().requires_grad_()
    module(y).sum().backward()
    assert y.grad.abs().sum() > 0, "the input's gradient (saliency maps)"
