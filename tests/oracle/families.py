"""DenseNets as other authors define them: module names, order and arithmetic of their published code, written anew and
short. Each takes growth rate k, layers per block and the first width, so that tests can keep them small.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def torchvision_net(classes, k=4, blocks=(2, 3), init=8, channels=3):
    """torchvision's own; most families differ from it by names, a wrapper or the head alone."""
    net = torchvision.models.DenseNet(k, blocks, init, bn_size=2, num_classes=classes)
    if channels != 3:
        net.features.conv0 = conv(channels, init, 7, 2)
    return net


class CheXNet(nn.Module):
    """arnoweng, zoogzog: torchvision's network with a sigmoid behind its classifier, as an attribute."""

    def __init__(self, classes=14, attribute="densenet121"):
        super().__init__()
        net = torchvision_net(classes)
        net.classifier = nn.Sequential(nn.Linear(net.classifier.in_features, classes), nn.Sigmoid())
        self.attribute = attribute
        setattr(self, attribute, net)

    def forward(self, x):
        return getattr(self, self.attribute)(x)


class Mura(nn.Module):
    """pyaf: densenet169 with `fc` for a classifier and a sigmoid in the forward."""

    def __init__(self):
        super().__init__()
        net = torchvision_net(1, 4, (1,), 1660)
        self.features, self.fc = net.features, nn.Linear(1664, 1)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Cadene(nn.Module):
    """pretrained-models.pytorch after its `modify`: the classifier is `last_linear`."""

    def __init__(self, classes=5):
        super().__init__()
        net = torchvision_net(classes)
        self.features, self.last_linear = net.features, net.classifier

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return self.last_linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


# --- timm ---


class NormAct(nn.BatchNorm2d):
    """timm's BatchNormAct2d: the ReLU is part of the norm."""

    def forward(self, x):
        return F.relu(super().forward(x), inplace=True)


class BlurPool(nn.Module):
    def __init__(self, channels):
        super().__init__()
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("filt", (row[:, None] * row[None]).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), self.filt, stride=2, groups=len(self.filt))


class TimmLayer(nn.Module):
    def __init__(self, inputs, k, bn_size=4):
        super().__init__()
        self.norm1, self.conv1 = NormAct(inputs), conv(inputs, bn_size * k, 1)
        self.norm2, self.conv2 = NormAct(bn_size * k), conv(bn_size * k, k, 3)

    def forward(self, features):
        return self.conv2(self.norm2(self.conv1(self.norm1(torch.cat(features, 1)))))


class TimmBlock(nn.ModuleDict):
    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Timm(nn.Module):
    """timm's DenseNet with its deep stem, which pools by maximum or by maximum and blur."""

    def __init__(self, blur, k=4, blocks=(2, 3), init=8, classes=5):
        super().__init__()
        pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), BlurPool(init)) if blur else nn.MaxPool2d(3, 2, 1)
        self.features = nn.Sequential()
        stem = [("conv0", conv(3, k, 3, 2)), ("norm0", NormAct(k)), ("conv1", conv(k, k, 3)), ("norm1", NormAct(k))]
        for name, module in stem + [("conv2", conv(k, init, 3)), ("norm2", NormAct(init)), ("pool0", pool)]:
            self.features.add_module(name, module)
        width = init
        for i, layers in enumerate(blocks):
            block = TimmBlock({f"denselayer{j + 1}": TimmLayer(width + j * k, k) for j in range(layers)})
            self.features.add_module(f"denseblock{i + 1}", block)
            width += layers * k
            if i + 1 < len(blocks):
                parts = dict(norm=NormAct(width), conv=conv(width, width // 2, 1), pool=nn.AvgPool2d(2, 2))
                transition = nn.Sequential()
                for name, module in parts.items():
                    transition.add_module(name, module)
                self.features.add_module(f"transition{i + 1}", transition)
                width //= 2
        self.features.add_module("norm5", NormAct(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


# --- MONAI ---


class MonaiLayer(nn.Module):
    def __init__(self, dims, norm, inputs, k, bn_size, nested):
        super().__init__()
        Conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        parts = nn.Sequential() if nested else self
        for name, module in [
            ("norm1", norm(inputs)),
            ("relu1", nn.ReLU(inplace=True)),
            ("conv1", Conv(inputs, bn_size * k, 1, bias=False)),
            ("norm2", norm(bn_size * k)),
            ("relu2", nn.ReLU(inplace=True)),
            ("conv2", Conv(bn_size * k, k, 3, padding=1, bias=False)),
        ]:
            parts.add_module(name, module)
        if nested:
            self.layers = parts

    def forward(self, x):
        new = x
        for module in self.layers if hasattr(self, "layers") else self.children():
            new = module(new)
        return torch.cat([x, new], 1)


class Monai(nn.Module):
    """MONAI's DenseNet in 1, 2 or 3 dimensions; before late 2020 without `.layers` and with `class_layers.class`."""

    def __init__(self, dims=2, nested=True, instance=False, k=4, blocks=(2, 3), init=8, classes=5):
        super().__init__()
        Conv, Batch, Instance, Max, Mean, Adaptive = {
            1: (nn.Conv1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d),
            2: (nn.Conv2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
            3: (nn.Conv3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d),
        }[dims]
        norm = Instance if instance else Batch
        self.features = nn.Sequential()
        self.features.add_module("conv0", Conv(3, init, 7, 2, 3, bias=False))
        self.features.add_module("norm0", norm(init))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", Max(3, 2, 1))
        width = init
        for i, layers in enumerate(blocks):
            block = nn.Sequential()
            for j in range(layers):
                block.add_module(f"denselayer{j + 1}", MonaiLayer(dims, norm, width + j * k, k, 4, nested))
            self.features.add_module(f"denseblock{i + 1}", block)
            width += layers * k
            if i + 1 == len(blocks):
                self.features.add_module("norm5", norm(width))
                continue
            transition = nn.Sequential()
            transition.add_module("norm", norm(width))
            transition.add_module("relu", nn.ReLU(inplace=True))
            transition.add_module("conv", Conv(width, width // 2, 1, bias=False))
            transition.add_module("pool", Mean(2, 2))
            self.features.add_module(f"transition{i + 1}", transition)
            width //= 2
        self.class_layers = nn.Sequential()
        self.class_layers.add_module("relu", nn.ReLU(inplace=True))
        self.class_layers.add_module("pool", Adaptive(1))
        self.class_layers.add_module("flatten", nn.Flatten(1))
        self.class_layers.add_module("out" if nested else "class", nn.Linear(width, classes))

    def forward(self, x):
        return self.class_layers(self.features(x))


# --- mmpretrain ---


class MmLayer(nn.Module):
    def __init__(self, inputs, k, bn_size):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, bn_size * k, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(bn_size * k), conv(bn_size * k, k, 3)

    def forward(self, features):
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class MmBlock(nn.Module):
    def __init__(self, layers, inputs, k):
        super().__init__()
        self.block = nn.ModuleList(MmLayer(inputs + i * k, k, 4) for i in range(layers))

    def forward(self, x):
        features = [x]
        for layer in self.block:
            features.append(layer(features))
        return torch.cat(features, 1)


class MmTransition(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.add_module("norm", nn.BatchNorm2d(inputs))
        self.add_module("act", nn.ReLU())
        self.add_module("conv", conv(inputs, outputs, 1))
        self.add_module("pool", nn.AvgPool2d(2, 2))


class MmBackbone(nn.Module):
    def __init__(self, k, blocks, init):
        super().__init__()
        self.stem = nn.Sequential(conv(3, init, 7, 2), nn.BatchNorm2d(init), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages, self.transitions = nn.ModuleList(), nn.ModuleList()
        width = init
        for i, layers in enumerate(blocks):
            self.stages.append(MmBlock(layers, width, k))
            width += layers * k
            last = i + 1 == len(blocks)
            end = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()) if last else MmTransition(width, width // 2)
            self.transitions.append(end)
            width = width if last else width // 2
        self.width = width

    def forward(self, x):
        x = self.stem(x)
        for stage, transition in zip(self.stages, self.transitions):
            x = transition(stage(x))
        return x


class MmPretrain(nn.Module):
    def __init__(self, k=4, blocks=(2, 3, 1), init=8, classes=5):
        super().__init__()
        self.backbone = MmBackbone(k, blocks, init)
        self.head = nn.Module()
        self.head.fc = nn.Linear(self.backbone.width, classes)

    def forward(self, x):
        return self.head.fc(F.adaptive_avg_pool2d(self.backbone(x), 1).flatten(1))
