"""Checkpoint files of every shape that the reader meets, each with the tensors that are in it.

A shape is a function marked with @shape: it writes files into a folder and returns one case or more.
"""

import argparse
import collections
import functools
import pathlib
import pickle
import types
import zipfile

import safetensors.torch
import torch
import torchvision

from old_pickler import save_old
from registry import command

SHAPES = []


def shape(function):
    SHAPES.append(function)
    return function


def small_net(seed=0):
    torch.manual_seed(seed)
    net = torchvision.models.DenseNet(growth_rate=4, block_config=(2, 1), num_init_features=6, num_classes=3)
    with torch.no_grad():
        for buffer in net.buffers():
            buffer.copy_(torch.rand(buffer.shape) * 9)
    return net.eval()


def case(name, path, tensors, format, root=None, foreign=(), **more):
    """The tensors travel as safetensors, named by their place so that any name and order can be told."""
    reference = f"{path}.{name.replace(' ', '-').replace('/', '-')}.reference"
    names = list(tensors)
    stored = {f"{i:05}": tensors[key].detach().clone().contiguous() for i, key in enumerate(names)}
    safetensors.torch.save_file(stored, reference)
    return dict(name=name, path=str(path), reference=reference, names=names, format=format, root=root, foreign=list(foreign), **more)


def loaded(path, root=None):
    """What torch itself reads, safely, from the file."""
    object = torch.load(path, weights_only=True, map_location="cpu")
    for key in root.split(".") if root else []:
        object = object[int(key) if isinstance(object, (list, tuple)) else key]
    return {key: value for key, value in object.items() if isinstance(value, torch.Tensor)}


def rezip(path, target, compression=zipfile.ZIP_STORED, change=None):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            content = old.read(info.filename)
            new.writestr(info.filename, change(info.filename, content) if change else content)


@shape
def plain(folder):
    state = small_net().state_dict()
    for legacy in [False, True]:
        for protocol in [2, 3, 4, 5]:
            path = folder / f"plain-{legacy}-{protocol}.pth"
            torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
            want = loaded(path) if protocol == 2 else state
            yield case(f"state dict, legacy {legacy}, protocol {protocol}", path, want, "pth-legacy" if legacy else "pth-zip")
    path = folder / "protocol1.pth"
    torch.save(dict(state), path, pickle_protocol=1, _use_new_zipfile_serialization=False)
    yield case("protocol 1", path, state, "pth-legacy")
    path = folder / "dict.pth"
    torch.save(dict(state), path)
    yield case("plain dict", path, loaded(path), "pth-zip")
    path = folder / "parameters.pth"
    torch.save(dict(small_net().named_parameters()), path)
    yield case("parameters", path, loaded(path), "pth-zip")


@shape
def dtypes(folder):
    for dtype in [torch.float16, torch.bfloat16, torch.float64]:
        for legacy in [False, True]:
            path = folder / f"{dtype}-{legacy}.pth"
            torch.save(small_net().to(dtype).state_dict(), path, _use_new_zipfile_serialization=not legacy)
            yield case(f"{dtype}, legacy {legacy}", path, loaded(path), "pth-legacy" if legacy else "pth-zip")
    numbers = torch.arange(24).reshape(2, 3, 4)
    kinds = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
    path = folder / "integers.pth"
    torch.save({f"{kind}.weight": numbers.to(kind) for kind in kinds}, path)
    yield case("integers", path, loaded(path), "pth-zip")


def views():
    base = torch.arange(120, dtype=torch.float32)
    return {
        "whole.weight": base,
        "offset.weight": base[17:29],
        "transposed.weight": base.reshape(10, 12).t(),
        "strided.weight": base[3:100:7],
        "overlapping.weight": base.as_strided((5, 6), (2, 3), 11),
        "channels_last.weight": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "again.weight": base.reshape(3, 40)[1],
        "scalar.weight": torch.tensor(2.5),
        "empty.weight": torch.empty(0, 7),
        "ones.weight": torch.rand(4, 1, 3).as_strided((4, 1, 3), (3, 99, 1)),
        "large.weight": torch.rand(41, 1009),
        "large_transposed.weight": torch.rand(41, 1009, dtype=torch.float64).t(),
        "half.weight": torch.rand(6, 5).half()[1:4, ::2],
    }


@shape
def views_and_shared_storages(folder):
    for legacy in [False, True]:
        path = folder / f"views-{legacy}.pth"
        torch.save(views(), path, _use_new_zipfile_serialization=not legacy)
        yield case(f"views, legacy {legacy}", path, loaded(path), "pth-legacy" if legacy else "pth-zip")


class Setting:
    """A class only the training script has."""

    def __init__(self):
        self.rate = 0.1


@shape
def wrappers(folder):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters())
    net.train()(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    state = net.state_dict()
    ema = {key: value + 1 for key, value in state.items()}
    plain = dict(epoch=3, best=0.5, arch="densenet", done=None, sizes=(1, 2.5, [True, b"raw"]), rng=torch.get_rng_state(), big=2**70)
    for key in ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params"]:
        path = folder / f"wrapped-{key}.pth"
        torch.save({"optimizer": optimizer.state_dict(), **plain, key: state}, path)
        yield case(f"in {key}", path, loaded(path, key), "pth-zip", key)
    path = folder / "nested.pth"
    torch.save({"checkpoint": {"model": state, "step": 7}}, path, _use_new_zipfile_serialization=False)
    yield case("two levels", path, loaded(path, "checkpoint.model"), "pth-legacy", "checkpoint.model")
    path = folder / "tuple.pth"
    torch.save((3, [state, optimizer.state_dict()]), path)
    yield case("in a tuple", path, loaded(path, "1.0"), "pth-zip", "1.0")
    path = folder / "flat.pth"
    torch.save({**state, "epoch": 3, "history": [0.5, 0.25]}, path)
    yield case("data among the tensors", path, loaded(path), "pth-zip")
    path = folder / "timm.pth"
    torch.save({"state_dict": state, "state_dict_ema": ema}, path)
    yield case("an average beside", path, loaded(path, "state_dict_ema"), "pth-zip", "state_dict_ema")
    yield case("the plain one asked for", path, loaded(path, "state_dict"), "pth-zip", "state_dict", ask="state_dict")
    path = folder / "lightning.ckpt"
    settings = argparse.Namespace(data=pathlib.PurePosixPath("/data"), make=functools.partial(Setting), note=types.SimpleNamespace(a=1))
    torch.save(
        {
            "epoch": 1,
            "global_step": 10,
            "hyper_parameters": settings,
            "callbacks": {Setting: {"best": Setting()}},
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [],
            "state_dict": collections.OrderedDict((f"model.{key}", value) for key, value in state.items()),
        },
        path,
    )
    want = {f"model.{key}": value for key, value in state.items()}
    foreign = sorted(
        [
            "argparse.Namespace",
            "commands_formats.Setting",
            "functools.partial",
            "pathlib.PurePosixPath",
            "types.SimpleNamespace",
        ]
    )
    yield case("lightning", path, want, "pth-zip", "state_dict", foreign)


@shape
def attributes(folder):
    weight, plain = torch.nn.Parameter(torch.rand(3, 2)), torch.rand(2, 2)
    weight.origin, plain.origin = "here", "there"
    path = folder / "attributes.pth"
    torch.save({"a.weight": weight, "b.weight": plain, "c.weight": torch.nn.Buffer(torch.rand(3))}, path)
    yield case("tensors with attributes", path, torch.load(path, weights_only=False), "pth-zip")


class Passing(torch.nn.Module):
    """A module with a buffer that is not part of its state dict, a None and a child used twice."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.rand(3))
        self.register_buffer("passing", torch.rand(3), persistent=False)
        self.register_buffer("nothing", None)
        self.first = torch.nn.Linear(3, 3, bias=False)
        self.second = self.first


@shape
def whole_modules(folder):
    net = small_net()
    for legacy in [False, True]:
        format = "pth-legacy" if legacy else "pth-zip"
        save = functools.partial(torch.save, _use_new_zipfile_serialization=not legacy)
        for name, object, root, state in [
            ("module", net, None, net.state_dict()),
            ("parallel", torch.nn.DataParallel(net), None, torch.nn.DataParallel(net).state_dict()),
            ("in-dict", {"epoch": 1, "model": net, "rng_state": torch.get_rng_state()}, "model", net.state_dict()),
            ("passing", Passing(), None, None),
        ]:
            path = folder / f"whole-{name}-{legacy}.pth"
            save(object, path)
            yield case(f"whole {name}, legacy {legacy}", path, state or object.state_dict(), format, root, foreign_has="torch.nn.modules")
    path = folder / "whole-protocol4.pth"
    torch.save(net, path, pickle_protocol=4)
    yield case("whole module, protocol 4", path, net.state_dict(), "pth-zip", foreign_has="torch.nn.modules")
    path = folder / "whole-protocol1.pth"
    torch.save(net, path, pickle_protocol=1, _use_new_zipfile_serialization=False)
    yield case("whole module, protocol 1", path, net.state_dict(), "pth-legacy", foreign_has="torch.nn.modules")


@shape
def torchscript(folder):
    net = small_net()
    torch.jit.trace(net, torch.rand(1, 3, 32, 32)).save(folder / "traced.pt")
    yield case("traced", folder / "traced.pt", net.state_dict(), "torchscript", foreign_has="__torch__")
    torch.jit.script(net).save(folder / "scripted.pt")
    yield case("scripted", folder / "scripted.pt", net.state_dict(), "torchscript", foreign_has="__torch__")


@shape
def safetensors_files(folder):
    state = small_net().half().state_dict()
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(state, path, metadata={"format": "pt", "arch": "small"})
    order = sorted(state, key=lambda key: (-state[key].element_size(), key))
    yield case("safetensors", path, {key: state[key] for key in order}, "safetensors", metadata=[["arch", "small"], ["format", "pt"]])


@shape
def zip_variants(folder):
    state = small_net().state_dict()
    path = folder / "zip.pth"
    torch.save(state, path)
    for name, compression in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
        target = folder / f"rezipped-{name}.pth"
        rezip(path, target, compression)
        yield case(f"zipped again, {name}", target, loaded(target), "pth-zip")
    target = folder / "junk.pth"
    target.write_bytes(path.read_bytes() + b"junk behind the end")
    yield case("junk behind", target, loaded(target), "pth-zip")
    target = folder / "no-crc.pth"
    torch.serialization.set_crc32_options(False)
    torch.save(state, target)
    torch.serialization.set_crc32_options(True)
    yield case("no CRC", target, loaded(target), "pth-zip")
    target = folder / "cuda.pth"
    location = lambda name, content: content.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0") if name.endswith("data.pkl") else content
    rezip(path, target, change=location)
    assert b"cuda:0" in target.read_bytes()
    yield case("saved on CUDA", target, loaded(target), "pth-zip")
    source, target = folder / "views-for-swap.pth", folder / "big-endian.pth"
    mixed = {**views(), "complex.weight": torch.rand(3, dtype=torch.float64), "long.weight": torch.arange(5)}
    torch.save(mixed, source)
    sizes = {}
    with zipfile.ZipFile(source) as file:
        import pickletools

        words = [argument for opcode, argument, _ in pickletools.genops(file.read("views-for-swap/data.pkl"))]
    element = {"FloatStorage": 4, "HalfStorage": 2, "LongStorage": 8, "DoubleStorage": 8}
    size = None
    strings = [word for word in words if isinstance(word, str)]
    for before, word in zip(strings, strings[1:]):
        kind = before.split(" ")[-1]
        size = element.get(kind, size)
        if word.isdigit():
            sizes[word] = size

    def swap(name, content):
        if name.endswith("byteorder"):
            return b"big"
        key = name.rsplit("/", 1)[1]
        if "/data/" not in name:
            return content
        unit = sizes[key]
        return b"".join(content[i : i + unit][::-1] for i in range(0, len(content), unit))

    rezip(source, target, change=swap)
    yield case("big-endian", target, loaded(target), "pth-zip")
    legacy, target = folder / "legacy.pth", folder / "zipped-legacy.pth"
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(legacy, "model.pth")
    yield case("zipped legacy", target, state, "pth-legacy")


@shape
def old_torch(folder):
    state = small_net().state_dict()
    no_counters = collections.OrderedDict((k, v) for k, v in state.items() if "num_batches" not in k)
    path = folder / "rebuild-tensor.pth"
    save_old(no_counters, path, [])
    yield case("torch 0.3 (_rebuild_tensor)", path, loaded(path), "pth-legacy")
    path = folder / "python2.pth"
    save_old({"epoch": 4, "arch": "densenet161", "state_dict": no_counters}, path, ["python2"], location="cuda:0")
    yield case("Python 2 on CUDA", path, loaded(path, "state_dict"), "pth-legacy", "state_dict")
    path = folder / "python2-bytes.pth"
    save_old({"best": "\x9b\xc3", "source": "\xc3" * 999, "state_dict": no_counters}, path, ["python2"], location="cuda:1", cuda_class=True)
    yield case("Python 2 strings that are no text", path, no_counters, "pth-legacy", "state_dict")
    parameters = collections.OrderedDict(small_net().named_parameters())
    for style in ["parameter-reduce", "parameter-newobj"]:
        path = folder / f"{style}.pth"
        save_old(parameters, path, [style])
        yield case(style, path, parameters, "pth-legacy")
    path = folder / "tensor-newobj.pth"
    save_old(no_counters, path, ["tensor-newobj", "python2"])
    yield case("torch 0.1 (FloatTensor)", path, no_counters, "pth-legacy")
    # A view of the middle of each storage: 2 elements in, all but the last.
    base = {f"{name}.weight": torch.rand(size) for name, size in [("a", 40), ("b", 12)]}
    inner = {key: value[2:-1] for key, value in base.items()}
    path = folder / "sub-storages.pth"
    save_old({key: value[: len(value) - 3] for key, value in base.items()}, path, [], view=lambda s, key: (key + "v", 2, s._size() - 3))
    yield case("sub-storages", path, loaded(path), "pth-legacy")
    assert all(torch.equal(loaded(path)[key], inner[key]) for key in inner)


@command
def format_cases(folder):
    folder = pathlib.Path(folder)
    return [each for shape in SHAPES for each in shape(folder)]


@command
def format_refusals(folder):
    """Files that torch writes and that hold no weights we read: name, path, what the error must say."""
    folder = pathlib.Path(folder)
    weight = torch.rand(4, 4)
    tensors = {
        "quantized": (torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8), "quantized"),
        "sparse": (weight.to_sparse(), "sparse"),
        "nested": (torch.nested.nested_tensor([weight, weight]), "nested"),
        "meta": (weight.to("meta"), "meta"),
        "conjugated": (torch.complex(weight, weight).conj(), "conj"),
        "negative": (torch.complex(weight, weight).conj().imag, "neg"),
        "unsigned": (torch.ones(3, dtype=torch.uint16), "uint16"),
        "expanded": (torch.rand(3).expand(1000, 3), "expanded"),
    }
    refused = []
    for name, (tensor, words) in tensors.items():
        path = folder / f"refused-{name}.pth"
        torch.save({"features.conv0.weight": tensor}, path)
        refused.append([name, str(path), words])
    frozen = torch.jit.freeze(torch.jit.script(small_net()))
    frozen.save(folder / "frozen.pt")
    refused.append(["frozen", str(folder / "frozen.pt"), "frozen TorchScript"])
    (folder / "bare.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    refused.append(["bare pickle", str(folder / "bare.pkl"), "its top object is a list of 3"])
    import numpy

    numpy.savez(folder / "arrays.npz", a=numpy.ones(20), b=numpy.ones(20))
    refused.append(["npz", str(folder / "arrays.npz"), ".npz"])
    torch.save({"features.conv0.weight": numpy.ones(3)}, folder / "numpy.pth")
    refused.append(["numpy arrays", str(folder / "numpy.pth"), "no state dict"])
    torch.save({"a.weight": weight, "features.conv0.weight": numpy.ones(3)}, folder / "mixed.pth")
    refused.append(["an array where a tensor should be", str(folder / "mixed.pth"), "should be a tensor and is"])
    torch.save({"a": {"x.weight": weight}, "b": {"x.weight": weight + 1}}, folder / "two.pth")
    refused.append(["two state dicts", str(folder / "two.pth"), "a (1 tensors), b (1 tensors)"])
    torch.save({"epoch": 3}, folder / "none.pth")
    refused.append(["no tensors", str(folder / "none.pth"), "no state dict"])
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(exported, folder / "exported.pt2")
    refused.append(["exported program", str(folder / "exported.pt2"), ".pt2"])
    return refused


@command
def format_samples(folder):
    """One small file of each container format, for damaging."""
    folder = pathlib.Path(folder)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)).eval()
    state = net.state_dict()
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "module.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(net).save(folder / "script.pt")
    safetensors.torch.save_file(state, folder / "small.safetensors")
    rezip(folder / "zip.pth", folder / "deflated.pth", zipfile.ZIP_DEFLATED)
