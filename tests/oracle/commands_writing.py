"""What torch writes, and what it reads from files that were written here."""

import pathlib
import zipfile
from collections import OrderedDict

import torch
from commands_models import build, contiguous
from registry import command
from safetensors.torch import load_file, save_file


def same_bits(a, b):
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    as_numbers = lambda t: t.contiguous().view(-1).view(integer[t.element_size()] if not t.is_complex() else torch.int32)
    return a.numel() == 0 or torch.equal(as_numbers(a), as_numbers(b))


def check(tensors, state, words, ordered=True):
    names = list(tensors) if ordered else sorted(tensors)
    assert names == (list(state) if ordered else sorted(state)), f"{words}: other names"
    for name, tensor in state.items():
        assert same_bits(tensors[name], tensor), f"{words}: {name} differs"


def save_everywhere(state, folder):
    folder = pathlib.Path(folder)
    torch.save(state, folder / "archive.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    # Views of one storage and the like are torch's business, not this format's.
    save_file(contiguous(state), folder / "saved.safetensors", metadata={"format": "pt"})


def blueprint(config, dtype):
    """The network of that configuration without numbers."""
    with torch.device("meta"):
        return build(config).to(getattr(torch, dtype))


def random_state(config, seed, dtype):
    torch.manual_seed(seed)
    numbers = lambda t: torch.rand(t.shape) - 0.4 if t.is_floating_point() else torch.full(t.shape, 7)
    return OrderedDict((k, numbers(t).to(t.dtype)) for k, t in blueprint(config, dtype).state_dict().items())


@command
def writing_saved(config, seed, dtype, folder):
    """A network's state dict, random numbers in it, in the formats Python writes, without `_metadata`."""
    save_everywhere(random_state(config, seed, dtype), folder)


@command
def writing_check(config, dtype, source, files):
    """Panics unless every file holds the source's tensors and loads strictly into the network of that configuration."""
    state = torch.load(source, weights_only=True)
    for kind, path, ordered in files:
        if kind == "safetensors":
            readings = [load_file(path)]
        elif kind == "pth-zip":
            readings = [torch.load(path, weights_only=True), torch.load(path, weights_only=True, mmap=True)]
        else:
            readings = [torch.load(path, weights_only=True)]
        for tensors in readings:
            assert kind == "safetensors" or type(tensors) is OrderedDict
            check(tensors, state, path, ordered)
            network = blueprint(config, dtype)
            network.load_state_dict(tensors, strict=True, assign=True)
            check(network.state_dict(), state, f"{path}, loaded strictly", False)


@command
def writing_assorted(folder):
    """Tensors of every dtype and some shapes, 2500 of them, in the formats Python writes."""
    torch.manual_seed(1)
    state = OrderedDict()
    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64".split()
    for kind in kinds:
        dtype = getattr(torch, kind)
        for shape in [(), (1,), (0,), (3, 0, 2), (2, 3), (5, 4, 3, 2, 1), (300, 1), (70000,)]:
            numbers = 100 * torch.randn(shape)
            state[f"{kind} {shape}"] = numbers.to(dtype) if kind != "bool" else numbers > 0
    state["nan.inf.-0"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])
    state["Größe.重み"] = torch.ones(2)
    for index in range(2500 - len(state)):
        state[f"layer{index}.weight"] = torch.full((2,), float(index))
    save_everywhere(state, folder)
    return list(state)


@command
def writing_numbers(path):
    """The `state_dict` of a TorchScript archive's parameters."""
    module = torch.jit.load(path)
    return {name: [list(t.shape), str(t.dtype), t.requires_grad] for name, t in module.named_parameters()}


@command
def writing_members(path):
    """Where the members of a zip archive begin, and how they are stored."""
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        members = []
        for info in file.infolist():
            with file.open(info) as member:
                members.append([info.filename, member._orig_compress_start, info.file_size, info.compress_type])
    return members
