"""Checkpoints whose head is no classifier, or one of several, and files that must be refused (see commands_wild.py)."""

import argparse
import collections
import pathlib
import pickle
import zipfile

import safetensors.torch
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrizations
import torch.nn.utils.prune
from commands_wild import IMAGENET, case, dotted, legacy, picture, prefixed, unsettled
from families import CheXNet, Monai, conv, torchvision_net
from families_cifar import Weiaicunzai
from registry import command
from torch import nn


def concat_pool(x):
    return torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], 1)


def fastai(body, width, bias, classes=5):
    """Body and head as fastai joins them; positions in the head are its own."""
    head = nn.Sequential(
        nn.Identity(), nn.Flatten(), nn.BatchNorm1d(2 * width), nn.Dropout(0.25), nn.Linear(2 * width, 12, bias=bias),
        nn.ReLU(inplace=True), nn.BatchNorm1d(12), nn.Dropout(0.5), nn.Linear(12, classes, bias=bias),
    )
    return unsettled(nn.Sequential(body, head))


def fastai_cases(folder):
    for version, bias in [(1, True), (2, False)]:
        net = torchvision_net(5)
        # All children but the classifier, in a Sequential of their own.
        model = fastai(nn.Sequential(net.features), net.classifier.in_features, bias)
        opt = {"state": [{"mom": torch.rand(3)}], "hypers": argparse.Namespace()}
        path = folder / f"fastai{version}.pth"
        torch.save({"model": model.state_dict(), "opt": opt}, path)
        expect = dict(features=True, origin="fastai", prefix="0.0.", note="fastai: the backbone alone", dropped="fastai's head")
        yield case(f"fastai {version}", path, model[0], picture(), root="model", **expect)
        legacy(model.state_dict(), folder / f"fastai{version}-bare.pth")
        yield case(f"fastai {version}, bare", folder / f"fastai{version}-bare.pth", model[0], picture(), **expect)
    body = nn.Module()
    body.model = torchvision_net(5)
    width = body.model.classifier.in_features
    del body.model.classifier
    model = fastai(body, width, False)
    torch.save(model.state_dict(), folder / "fastai-timm.pth")
    yield case("fastai over timm", folder / "fastai-timm.pth", body.model.features, picture(), features=True, origin="fastai", prefix="0.model.")


class Contrast(nn.Module):
    """MoCo: a network, its slowly moving copy, and a queue of keys."""

    def __init__(self, size, mlp):
        super().__init__()
        self.encoder_q, self.encoder_k = unsettled(torchvision_net(size)), unsettled(torchvision_net(size), 1)
        for encoder in [self.encoder_q, self.encoder_k] if mlp else []:
            width = encoder.classifier.in_features
            encoder.classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU(), encoder.classifier)
        self.register_buffer("queue", torch.rand(size, 16))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))


def contrast_cases(folder):
    for mlp in [False, True]:
        net = Contrast(128, mlp)
        path = folder / f"moco-{mlp}.pth.tar"
        torch.save({"epoch": 9, "arch": "densenet121", "state_dict": nn.DataParallel(net).state_dict(), "optimizer": {}}, path)
        yield case(f"MoCo-CXR, MLP {mlp}", path, net.encoder_q.features, picture(), features=True, origin="MoCo", prefix="module.encoder_q.", note="its head is a projection", dropped="a projection", preset=None)
    net = Contrast(64, False)
    saved = {"pytorch-lightning_version": "1.0.8", "state_dict": prefixed(net.state_dict(), "model."), "hyper_parameters": argparse.Namespace(fd=64)}
    torch.save(saved, folder / "mimic_fd_64.pt")
    yield case("CovidPrognosis", folder / "mimic_fd_64.pt", net.encoder_q.features, picture(), features=True, origin="MoCo, CovidPrognosis", prefix="model.encoder_q.", note="equalized histogram", preset=dict(range=[0, 255], mean=[0, 0, 0], std=[1, 1, 1]))


class Segmentation(nn.Module):
    """segmentation_models_pytorch: an encoder without classifier, a decoder, a head."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Sequential(conv(8, 4, 3), nn.BatchNorm2d(4))
        self.segmentation_head = nn.Sequential(nn.Conv2d(4, 1, 3, padding=1))


def other_bodies(folder):
    encoder = unsettled(torchvision_net(5))
    del encoder.classifier
    net = Segmentation(encoder).eval()
    safetensors.torch.save_file(net.state_dict(), folder / "unet.safetensors")
    yield case("smp", folder / "unet.safetensors", encoder.features, picture(), features=True, origin="segmentation_models_pytorch", prefix="encoder.", note="its encoder alone", dropped="segmentation network's decoder")
    flat = {k.replace("features.", "model.features_", 1): v for k, v in encoder.state_dict().items()}
    rest = {k: v for k, v in net.state_dict().items() if not k.startswith("encoder.")}
    torch.save({**prefixed(flat, "encoder."), **rest}, folder / "tu.pth")
    yield case("smp over timm", folder / "tu.pth", encoder.features, picture(), features=True, prefix="encoder.model.", origin="segmentation_models_pytorch, timm features_only")
    # jfhealthcare: five 1x1 convolutions over a pooling of their own.
    backbone = unsettled(torchvision_net(1000))
    width = backbone.classifier.in_features
    heads = {}
    for i in range(5):
        for module, name in [(nn.Conv2d(2 * width, 1, 1), f"fc_{i}"), (nn.BatchNorm2d(2 * width), f"bn_{i}")]:
            heads.update(prefixed(module.state_dict(), f"{name}."))
    heads["attention_map.channel_attention.fc1.weight"] = torch.rand(2, width)
    torch.save({**prefixed(backbone.state_dict(), "backbone."), **heads}, folder / "jf.pth")
    yield case("jfhealthcare", folder / "jf.pth", backbone.features, picture(), features=True, origin="jfhealthcare", prefix="backbone.", note="heads are convolutions", dropped="never uses", preset=dict(range=[0, 255], mean=[128] * 3, std=[64] * 3, crop_size=512))
    # The module called `features`, alone.
    torch.save(encoder.features.state_dict(), folder / "features.pth")
    yield case("features alone", folder / "features.pth", encoder.features, picture(), features=True, rules=["R11"])


def lightning(folder):
    net = unsettled(torchvision_net(5))
    state = prefixed(net.state_dict(), "model.")
    state.update({"loss_fn.pos_weight": torch.rand(5), "criterion.weight": torch.rand(5), "val_acc.tp": torch.zeros(5), "train_metrics.AUROC.preds": torch.rand(3)})
    saved = {"epoch": 1, "global_step": 7, "pytorch-lightning_version": "2.0", "state_dict": state, "loops": {}, "callbacks": {argparse.Namespace: {"best": pathlib.PurePosixPath("a")}}, "optimizer_states": [], "lr_schedulers": [], "hyper_parameters": argparse.Namespace()}
    torch.save(saved, folder / "lightning.ckpt")
    yield case("Lightning", folder / "lightning.ckpt", net, picture(), prefix="model.", root="state_dict", dropped="a metric's state", origin=None, foreign="argparse.Namespace")
    torch.save(prefixed({"_orig_mod." + k: v for k, v in net.state_dict().items()}, "net.module."), folder / "compiled.pth")
    yield case("compiled and wrapped", folder / "compiled.pth", net, picture(), prefix="net.module._orig_mod.")
    # Stanford CheXpert: each file of the ensemble.
    net = unsettled(torchvision_net(14))
    inner = nn.Module()
    inner.model = net
    saved = {"ckpt_info": {"epoch": 1}, "model_name": "DenseNet121", "task_sequence": {"Edema": 0}, "model_state": nn.DataParallel(inner).state_dict()}
    legacy(saved, folder / "iter_336000.pth.tar")
    yield case("Stanford CheXpert", folder / "iter_336000.pth.tar", net, picture(), root="model_state", prefix="module.model.", origin="Stanford CheXpert", outputs="labels", preset=dict(IMAGENET, resize_size=320, crop_size=320))


@command
def wild_bodies(folder):
    folder = pathlib.Path(folder)
    return [each for function in [fastai_cases, contrast_cases, other_bodies, lightning] for each in function(folder)]


@command
def wild_heads(folder):
    """chexploration's multitask network: one backbone, three heads; the logits of each."""
    folder = pathlib.Path(folder)
    net = unsettled(torchvision_net(2))
    width = net.classifier.in_features
    heads = {"fc_disease": nn.Linear(width, 6), "fc_sex": nn.Linear(width, 2), "fc_race": nn.Linear(width, 3)}
    state = prefixed({k: v for k, v in net.state_dict().items() if k.startswith("features")}, "backbone.")
    for name, head in heads.items():
        state.update(prefixed(head.state_dict(), f"{name}."))
    torch.save({"state_dict": state}, folder / "multitask.ckpt")
    with torch.no_grad():
        pooled = F.adaptive_avg_pool2d(F.relu(net.features(picture())), 1).flatten(1)
        outputs = {name: head(pooled) for name, head in heads.items()}
    safetensors.torch.save_file({"input": picture(), **outputs}, folder / "reference")


@command
def wild_odd_names(folder):
    """A network under names that nobody knows, its weights and their average side by side, and two networks in one."""
    folder = pathlib.Path(folder)
    net, other = unsettled(torchvision_net(5)), unsettled(torchvision_net(5), 1)

    def odd(name):
        for i in (2, 1, 0):
            name = name.replace(f"denseblock{i + 1}.denselayer", f"part{i}_layer")
        return name.replace("features.", "trunk/").replace("classifier.", "top/")

    torch.save({odd(k): v for k, v in net.state_dict().items()}, folder / "odd.pth")
    torch.save({**prefixed(other.state_dict(), "student."), **prefixed(net.state_dict(), "teacher.")}, folder / "two.pth")
    torch.save({"a": other.state_dict(), "b": net.state_dict()}, folder / "roots.pth")
    with torch.no_grad():
        safetensors.torch.save_file({"input": picture(), "logits": net(picture())}, folder / "reference.safetensors")


@command
def wild_refusals(folder):
    """[name, path, words of the error] of files that cannot be used."""
    folder = pathlib.Path(folder)
    net = unsettled(torchvision_net(5))
    state = net.state_dict()
    refused = []

    def refuse(name, content, *words):
        torch.save(content, folder / f"{name}.pth")
        refused.append([name, str(folder / f"{name}.pth"), list(words)])

    refuse("weiaicunzai", Weiaicunzai().state_dict(), "weiaicunzai", "no ReLU", "keep running this one in Python")
    for dims in (1, 3):
        refuse(f"MONAI-{dims}D", Monai(dims).state_dict(), f"a {dims}-D convolution", "only networks for pictures (2-D)")
    refuse("MONAI-instance", Monai(instance=True).state_dict(), "instance or group normalization")
    pruned = unsettled(torchvision_net(5))
    torch.nn.utils.prune.l1_unstructured(pruned.features.conv0, "weight", 0.5)
    refuse("pruned", pruned.state_dict(), "conv0.weight_orig", "prune.remove")
    normed = unsettled(torchvision_net(5))
    torch.nn.utils.parametrizations.weight_norm(normed.features.conv0)
    refuse("weight-norm", normed.state_dict(), "parametriz", "remove_parametrizations")
    old = {k.replace("conv0.weight", "conv0.weight_g"): v for k, v in state.items()} | {"features.conv0.weight_v": torch.rand(2)}
    refuse("old-weight-norm", old, "features.conv0.weight_g", "remove_weight_norm")
    refuse("lora", {**state, "base.classifier.lora_A.default.weight": torch.rand(2, 3)}, "low-rank adapters", "merge_and_unload")
    refuse("fsdp", {"_fsdp_wrapped_module.flat_param": torch.rand(99)}, "FSDP", "FULL_STATE_DICT")
    quantized = {**state, "classifier._packed_params.dtype": torch.rand(2)}
    refuse("quantized", quantized, "quantized", "save the float network")
    resnet = {"conv1.weight": torch.rand(64, 1, 7, 7), "layer1.0.conv1.weight": torch.rand(64, 64, 1, 1), "fc.weight": torch.rand(18, 64)}
    refuse("xrv-resnet", resnet, "no DenseNet's", "features.conv0.weight")
    both = {**state, "features.denseblock1.denselayer1.norm.1.weight": torch.rand(8)}
    refuse("both-styles", both, "twice", "features.denseblock1.denselayer1.norm.1.weight", "features.denseblock1.denselayer1.norm1.weight")
    deep = {k: v for k, v in state.items() if "conv0" not in k and "norm0" not in k}
    for i, (a, b) in enumerate([(3, 4), (4, 4), (4, 8)]):
        deep[f"features.conv{i}.weight"] = torch.rand(b, a, 3, 3)
        deep.update(prefixed(nn.BatchNorm2d(b).state_dict(), f"features.norm{i}."))
    refuse("deep-unknown", deep, "--stem deep or --stem deep_blur", "config.json", "sidecar")
    torch.save(state, folder / "one.pth.tar")
    with zipfile.ZipFile(folder / "ensemble.zip", "w") as archive:
        for name in ["iter_1.pth.tar", "iter_2.pth.tar"]:
            archive.write(folder / "one.pth.tar", f"saved/{name}")
    refused.append(["ensemble", str(folder / "ensemble.zip"), ["zip archive of checkpoint files", "extract it", "saved/iter_1.pth.tar"]])
    with zipfile.ZipFile(folder / "single.zip", "w") as archive:
        archive.write(folder / "one.pth.tar", "model.pth")
    refused.append(["zipped zip", str(folder / "single.zip"), ["extract it", "model.pth"]])

    class Learner:
        """What fastai's export holds: functions rebuilt by cloudpickle."""

        def __reduce__(self):
            import cloudpickle_stand_in

            return cloudpickle_stand_in._builtin_type, ("CodeType",)

    import sys
    import types

    stand_in = types.ModuleType("cloudpickle.cloudpickle")

    def _builtin_type(name):
        return name

    _builtin_type.__module__ = "cloudpickle.cloudpickle"
    _builtin_type.__qualname__ = "_builtin_type"
    stand_in._builtin_type = _builtin_type
    sys.modules.update({"cloudpickle_stand_in": stand_in, "cloudpickle": types.ModuleType("cloudpickle"), "cloudpickle.cloudpickle": stand_in})
    try:
        torch.save({"model": state, "f": Learner()}, folder / "export.pkl")
    finally:
        for name in ["cloudpickle_stand_in", "cloudpickle", "cloudpickle.cloudpickle"]:
            del sys.modules[name]
    refused.append(["fastai export", str(folder / "export.pkl"), ["cloudpickle", "save the state dict alone with torch.save"]])
    return refused
