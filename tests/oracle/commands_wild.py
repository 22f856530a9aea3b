"""Checkpoints as other authors' code saves them, each with an input and the outputs of the network it came from.

A family is a function marked with @family: it writes files into a folder and returns a case for each.
"""

import argparse
import collections
import copy
import json
import pathlib
import sys
import types
import zipfile

import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from old_pickler import save_old
from families import CheXNet, Cadene, MmPretrain, Monai, Mura, Timm, conv, torchvision_net
from families_cifar import AndreasVeit, Bamos, Dotted, Efficient, Gpleiss, KuangLiu, Modern, Weiaicunzai
from registry import command
from torch import nn

FAMILIES = []


def family(function):
    FAMILIES.append(function)
    return function


def unsettled(net, seed=0):
    """In evaluation mode, with other numbers than a new network's in every tensor."""
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif key.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() <= 1:
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
        else:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / tensor[0].numel()) ** 0.5)
    return net.eval()


def dotted(state, counters=False):
    """Keys of torchvision up to 0.2."""
    result = collections.OrderedDict()
    for key, value in state.items():
        if "num_batches_tracked" in key and not counters:
            continue
        for part in ["norm1", "norm2", "conv1", "conv2"]:
            if "denselayer" in key:
                key = key.replace(f".{part}.", f".{part[:4]}.{part[4:]}.")
        result[key] = value
    return result


def dotted_modules(net):
    """The same names, as module names with a dot in them."""
    net = copy.deepcopy(net)
    for module in net.modules():
        for part in ["norm1", "relu1", "conv1", "norm2", "relu2", "conv2"]:
            if part in module._modules and "denselayer" not in part:
                module._modules[f"{part[:4]}.{part[4:]}"] = module._modules.pop(part)
    return net


def prefixed(state, prefix):
    return collections.OrderedDict((prefix + key, value) for key, value in state.items())


def legacy(object, path):
    torch.save(object, path, _use_new_zipfile_serialization=False)


def case(name, path, forward, x, *, tolerance=0.0, after="", features=False, **expect):
    """`forward(x)` is what the network's authors compute; `after` what they do to the logits, `features` whether the
    comparison is of the backbone's output before the last ReLU."""
    reference = f"{path}.{name.replace(' ', '-').replace('/', '-')}.reference"
    with torch.no_grad():
        tensors = {"input": x, "output": forward(x.clone())}
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, reference)
    return dict(name=name, path=str(path), reference=reference, tolerance=tolerance, after=after, features=features, expect=expect)


def picture(side=64, channels=3, batch=2):
    return torch.rand(batch, channels, side, side, generator=torch.Generator().manual_seed(side)) * 2 - 1


IMAGENET = dict(resize_size=256, crop_size=224, range=[0, 1], mean=[0.485, 0.456, 0.406], squash=False)
OLD = "torchvision up to 0.2"


@family
def torchvision_old(folder):
    net = unsettled(torchvision_net(5))
    state = net.state_dict()
    legacy(dotted(state), folder / "official.pth")
    yield case("official old keys", folder / "official.pth", net, picture(), origin=OLD, rules=["R1"], preset=None)
    torch.save(dotted(state, counters=True), folder / "dotted-counters.pth")
    yield case("dotted counters", folder / "dotted-counters.pth", net, picture(), origin=OLD, counters=0)
    torch.jit.trace(net, picture()).save(folder / "traced.pt")
    yield case("TorchScript", folder / "traced.pt", net, picture(), origin=None, format="torchscript")


@family
def chexnet(folder):
    for attribute in ["densenet121", "densenet169", "densenet201"]:
        net = unsettled(CheXNet(attribute=attribute))
        state = dotted(nn.DataParallel(net).state_dict())
        expect = dict(after="sigmoid", origin=f"{OLD}, CheXNet", prefix=f"module.{attribute}.", outputs="labels", labels=14, preset=IMAGENET)
        path = folder / f"{attribute}.pth.tar"
        save_old({"state_dict": state}, path, [], location="cuda:0", cuda_class=True)
        yield case(f"arnoweng {attribute}", path, net, picture(), **expect)
        adam = {"state": {140204466742944: {"step": 3, "exp_avg": torch.rand(4)}}, "param_groups": [{"params": [140204466742944]}]}
        path = folder / f"m-25012018-{attribute}.pth.tar"
        save_old({"epoch": 3, "state_dict": state, "best_loss": 0.5, "optimizer": adam}, path, ["python2"], location="cuda:0")
        yield case(f"zoogzog {attribute}", path, net, picture(), **expect)


@family
def jrzech(folder):
    net = unsettled(CheXNet()).densenet121
    around = {"best_loss": 0.25, "epoch": 9, "rng_state": torch.get_rng_state(), "LR": 0.01}
    expect = dict(after="sigmoid", root="model", outputs="labels", labels=14, foreign="torch.nn.modules.activation.Sigmoid")
    torch.save({"model": net, **around}, folder / "checkpoint")
    yield case("jrzech", folder / "checkpoint", net, picture(), origin="CheXNet", **expect)
    legacy({"model": dotted_modules(net), **around}, folder / "checkpoint-old")
    yield case("jrzech, dots in module names", folder / "checkpoint-old", net, picture(), origin=f"{OLD}, CheXNet", **expect)
    # Another number of labels: the file's own Sigmoid tells.
    net = unsettled(CheXNet(classes=3)).densenet121
    torch.save({"model": net, **around}, folder / "three")
    yield case("jrzech, three labels", folder / "three", net, picture(), after="sigmoid", outputs="labels", labels=0, note="a sigmoid follows")
    # Without the modules nobody can tell.
    torch.save(net.state_dict(), folder / "three.pth")
    yield case("a Sequential head", folder / "three.pth", net, picture(), after="sigmoid", outputs="classes", note="if a sigmoid follows")


@family
def mura(folder):
    net = unsettled(Mura())
    legacy(net.state_dict(), folder / "mura.pth")
    yield case("pyaf MURA", folder / "mura.pth", net, picture(), after="sigmoid", origin="DenseNet-MURA", outputs="labels", labels=1, preset=IMAGENET)


@family
def places365(folder):
    net = unsettled(torchvision_net(365, 4, (1,), 2204))
    best = "\x9b\xc3\x12"  # a numpy scalar's bytes
    saved = {"epoch": 90, "arch": "densenet161", "state_dict": prefixed(dotted(net.state_dict()), "module."), "best_prec1": best}
    preset = dict(IMAGENET, squash=True)
    path = folder / "densenet161_places365.pth.tar"
    save_old(saved, path, ["python2"], location="cuda:0")
    expect = dict(origin=f"{OLD}, places365", preset=preset, outputs="classes")
    yield case("places365", path, net, picture(), prefix="module.", root="state_dict", beside={"arch": "densenet161", "epoch": "90"}, **expect)
    path = folder / "whole_densenet161_places365.pth.tar"
    save_old(python2_module(dotted_modules(net)), path, ["python2"], location="cuda:0", module_source="\xc3" * 999)
    yield case("places365, a whole module", path, net, picture(), **expect)


def python2_module(net):
    """Modules as torch 0.2 knew them: what later versions added to their state is missing."""
    kept = ["_buffers", "_modules", "_parameters", "_backend", "training", "eps", "momentum", "affine", "drop_rate", "inplace"]
    for module in net.modules():
        for name in [name for name in module.__dict__ if name not in kept]:
            del module.__dict__[name]
        for part in ["_buffers", "_modules", "_parameters"]:
            module.__dict__[part] = collections.OrderedDict(module.__dict__[part])
        module._buffers.pop("num_batches_tracked", None)
    return net


@family
def cadene(folder):
    net = unsettled(Cadene())
    legacy(net.state_dict(), folder / "cadene.pth")
    yield case("Cadene, saved again", folder / "cadene.pth", net, picture(), rules=["R12"])
    original = dotted(prefixed({}, "") | {k.replace("last_linear", "classifier"): v for k, v in net.state_dict().items()})
    legacy(original, folder / "densenet121-fbdb23505.pth")
    yield case("Cadene, the file", folder / "densenet121-fbdb23505.pth", net, picture(), rules=["R1"])


@family
def timm(folder):
    plain = unsettled(torchvision_net(5))
    config = dict(
        architecture="densenet121",
        num_classes=5,
        num_features=24,
        pretrained_cfg=dict(tag="ra_in1k", input_size=[3, 224, 224], test_input_size=[3, 288, 288], test_crop_pct=0.95, interpolation="bicubic", crop_pct=0.875, crop_mode="center", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], num_classes=1000, first_conv="features.conv0", classifier="classifier"),
    )
    bicubic = dict(IMAGENET, interpolation="bicubic")
    (folder / "hub").mkdir()
    (folder / "hub" / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(plain.state_dict(), folder / "hub" / "model.safetensors")
    yield case("timm from the hub", folder / "hub" / "model.safetensors", plain, picture(), preset=bicubic)
    torch.save(plain.state_dict(), folder / "hub" / "pytorch_model.bin")
    yield case("timm's .bin", folder / "hub" / "pytorch_model.bin", plain, picture(), preset=bicubic)
    torch.save(prefixed(plain.state_dict(), "timm_model."), folder / "wrapped.bin")
    yield case("timm in transformers", folder / "wrapped.bin", plain, picture(), prefix="timm_model.", preset=None)
    for blur, arch, stem in [(True, "densenetblur121d", "deep_blur"), (False, "densenet121d", "deep")]:
        net = unsettled(Timm(blur))
        expect = dict(origin="timm", stem=stem)
        hub = folder / arch
        hub.mkdir()
        size = dict(config["pretrained_cfg"], input_size=[3, 288, 288], crop_pct=0.95)
        (hub / "config.json").write_text(json.dumps(dict(config, architecture=arch, pretrained_cfg=size)))
        safetensors.torch.save_file(net.state_dict(), hub / "model.safetensors")
        yield case(f"{arch} from the hub", hub / "model.safetensors", net, picture(), preset=dict(bicubic, resize_size=303, crop_size=288), **expect)
        torch.save(net.state_dict(), folder / f"{arch}_ra-100dcfbc.pth")
        yield case(f"{arch} by its file's name", folder / f"{arch}_ra-100dcfbc.pth", net, picture(), preset=bicubic, **expect)
        training = {"epoch": 1, "arch": arch, "state_dict": plain.state_dict(), "state_dict_ema": prefixed(net.state_dict(), "module."), "args": argparse.Namespace(lr=1), "version": 2, "metric": 1.5}
        torch.save(training, folder / f"{stem}-training.pth.tar")
        yield case(f"{arch} in training", folder / f"{stem}-training.pth.tar", net, picture(), root="state_dict_ema", foreign="argparse.Namespace", **expect)
        torch.save(net.state_dict(), folder / f"{stem}-nameless.pth")
        yield case(f"{arch}, the stem told", folder / f"{stem}-nameless.pth", net, picture(), ask_stem=stem, **expect)
    flat = {k.replace("features.", "features_", 1): v for k, v in plain.state_dict().items() if not k.startswith("classifier")}
    torch.save(flat, folder / "features_only.pth")
    yield case("timm features_only", folder / "features_only.pth", plain.features, picture(), features=True, origin="timm features_only", rules=["R13"])


@family
def torchxrayvision(folder):
    # The library's module path is what the files name.
    library = types.ModuleType("torchxrayvision")
    library.models = types.ModuleType("torchxrayvision.models")
    for original in ["DenseNet", "_DenseLayer", "_DenseBlock", "_Transition"]:
        base = getattr(torchvision.models.densenet, original)
        setattr(library.models, original, type(original, (base,), {"__module__": "torchxrayvision.models"}))
    sys.modules.update({"torchxrayvision": library, "torchxrayvision.models": library.models})
    try:
        net = unsettled(torchvision_net(18, channels=1))
        net.register_buffer("op_threshs", None)
        for module in net.modules():
            if type(module).__module__ == "torchvision.models.densenet":
                module.__class__ = getattr(library.models, type(module).__name__)
        labels = ["Atelectasis", "Lung Lesion"]
        expect = dict(origin="torchxrayvision", outputs="labels", labels=18, preset=dict(range=[-1024, 1024], mean=[0], std=[1], channels=1, resize_size=224, crop_size=224))
        x = picture(channels=1) * 1024
        name = "densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
        for data, save, trained in [("nih-pc-chex-mimic_ch-google-openi-kaggle", legacy, 18), ("nih", torch.save, 14), ("kaggle", torch.save, 2), ("mimic_ch", legacy, 11), ("pc", legacy, 15)]:
            save(net, folder / f"{data}-{name}")
            yield case(f"torchxrayvision {data}", folder / f"{data}-{name}", net, x, foreign="torchxrayvision.models.DenseNet", trained=trained, some_labels=labels if trained == 18 else [], **expect)
        net.op_threshs = torch.full((18,), float("nan"))
        torch.save(net.state_dict(), folder / "xrv-state.pth")
        yield case("torchxrayvision, a state dict", folder / "xrv-state.pth", net, x, dropped="torchxrayvision's thresholds", trained=18, **expect)
    finally:
        del sys.modules["torchxrayvision"], sys.modules["torchxrayvision.models"]


@family
def monai(folder):
    for nested in [True, False]:
        net = unsettled(Monai(nested=nested))
        path = folder / f"monai-{nested}.pt"
        torch.save({"model": net.state_dict()} if nested else net.state_dict(), path)
        yield case(f"MONAI, layers nested: {nested}", path, net, picture(), origin="MONAI", preset=None, rules=["R2", "R3"] if nested else ["R3"])


@family
def mmpretrain(folder):
    net = unsettled(MmPretrain())
    path = folder / "densenet121_4xb256_in1k.pth"
    torch.save({"meta": {"version": "1"}, "state_dict": prefixed(net.state_dict(), ""), "message_hub": {"a": argparse.Namespace()}}, path)
    preset = dict(range=[0, 255], mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], crop_size=224)
    yield case("mmpretrain", path, net, picture(), origin="mmpretrain", prefix="backbone.", preset=preset, root="state_dict")
    torch.save(nn.DataParallel(net).state_dict(), folder / "mm-parallel.pth")
    yield case("mmpretrain in parallel", folder / "mm-parallel.pth", net, picture(), origin="mmpretrain", prefix="module.backbone.")


@family
def cifar(folder):
    x = picture(32)
    cifar = dict(resize_size=32, crop_size=32, mean=[0.4914, 0.4822, 0.4465])
    # Their last pooling is a window, not adaptive: the same sum in another order.
    window = 1e-5
    for bottleneck in [True, False]:
        net = unsettled(Bamos(bottleneck=bottleneck, reduction=0.5 if bottleneck else 1.0))
        path = folder / f"bamos-{bottleneck}.pth"
        legacy(net, path)
        yield case(f"bamos, bottleneck {bottleneck}", path, net, x, tolerance=window, after="log_softmax", origin="bamos/densenet.pytorch", stem="small", preset=dict(cifar, std=[0.2470, 0.2435, 0.2616]), foreign="families_cifar.Bamos")
        net = unsettled(AndreasVeit(bottleneck=bottleneck))
        path = folder / f"veit-{bottleneck}.pth.tar"
        legacy({"epoch": 300, "state_dict": net.state_dict(), "best_prec1": 0.95}, path)
        yield case(f"andreasveit, bottleneck {bottleneck}", path, net, x, tolerance=window, origin="andreasveit/densenet-pytorch", stem="small", preset=dict(range=[0, 255], mean=[125.3, 123.0, 113.9]))
    net = unsettled(KuangLiu())
    # The permuted channels are summed in another order too.
    expect = dict(tolerance=window, origin="kuangliu/pytorch-cifar", stem="small", note="new features first", preset=dict(cifar, std=[0.2023, 0.1994, 0.2010]))
    torch.save({"net": nn.DataParallel(net).state_dict(), "acc": 95.0, "epoch": 3}, folder / "ckpt.pth")
    yield case("kuangliu", folder / "ckpt.pth", net, x, prefix="module.", root="net", **expect)
    legacy(net.state_dict(), folder / "ckpt.t7")
    yield case("kuangliu, bare", folder / "ckpt.t7", net, x, **expect)


@family
def gpleiss(folder):
    origin = "efficient_densenet_pytorch"
    for layer, shared, rules in [(Dotted, False, ["R1", "R4"]), (Efficient, False, ["R1", "R4", "R5"]), (Efficient, True, ["scratch", "R1", "R4", "R5"]), (Modern, False, ["R4"])]:
        net = unsettled(Gpleiss(layer, shared))
        path = folder / f"gpleiss-{layer.__name__}-{shared}.dat"
        (torch.save if layer is Modern else legacy)(net.state_dict(), path)
        expected = f"{OLD}, {origin}" if "R1" in rules and not shared else f"{origin}, {OLD}" if shared else origin
        yield case(f"gpleiss {layer.__name__}, shared buffer {shared}", path, net, picture(32), origin=expected, rules=rules + ["gpleiss"], stem="small", preset=dict(resize_size=32, mean=[0.4914, 0.4822, 0.4465]))


@command
def wild_cases(folder, only=None):
    """All families, or one."""
    folder = pathlib.Path(folder)
    chosen = [function for function in FAMILIES if only in (None, function.__name__)]
    assert chosen
    return [each for function in chosen for each in function(folder)]
