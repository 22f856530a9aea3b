"""A plain PyTorch DenseNet for the variants torchvision has no builder for.

Written from the paper: no bottleneck, other compressions, dropout after every convolution, small and deep stems. Module
names and the order of construction and initialization are torchvision's.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Layer(nn.Module):
    def __init__(self, inputs, config):
        super().__init__()
        k, self.config = config["growth_rate"], config
        self.norm1 = nn.BatchNorm2d(inputs)
        if config["bn_size"]:
            self.conv1 = conv(inputs, config["bn_size"] * k, 1)
            self.norm2 = nn.BatchNorm2d(config["bn_size"] * k)
            self.conv2 = conv(config["bn_size"] * k, k, 3)
        else:
            self.conv1 = conv(inputs, k, 3)

    def forward(self, features):
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        if self.config["bn_size"]:
            if self.config["dropout"] == "every_convolution":
                x = drop(x, self)
            x = self.conv2(F.relu(self.norm2(x)))
        return drop(x, self)


def drop(x, module):
    rate = module.config["drop_rate"]
    return F.dropout(x, rate, module.training) if rate > 0 else x


class Block(nn.ModuleDict):
    def __init__(self, layers, inputs, config):
        super().__init__()
        for i in range(layers):
            self[f"denselayer{i + 1}"] = Layer(inputs + i * config["growth_rate"], config)

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Module):
    def __init__(self, inputs, outputs, config):
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, outputs, 1)

    def forward(self, x):
        x = self.conv(F.relu(self.norm(x)))
        if self.config["dropout"] == "every_convolution":
            x = drop(x, self)
        return F.avg_pool2d(x, 2, 2)


class BlurPool(nn.Module):
    """Each channel convolved with the 3x3 binomial filter, stride 2, after one pixel of reflection."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        row = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
        filter = torch.outer(row, row).repeat(self.channels, 1, 1, 1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), filter, stride=2, groups=self.channels)


class PlainDenseNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        inputs, width, k = config["in_channels"], config["num_init_features"], config["growth_rate"]
        self.features = nn.Sequential()
        if config["stem"] == "small":
            self.features.add_module("conv0", conv(inputs, width, 3))
        elif config["stem"] == "imagenet":
            self.norm_relu("0", conv(inputs, width, 7, 2), width)
            self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        else:
            self.norm_relu("0", conv(inputs, k, 3, 2), k)
            self.norm_relu("1", conv(k, k, 3), k)
            self.norm_relu("2", conv(k, width, 3), width)
            blur = config["stem"] == "deep_blur"
            self.features.add_module("pool0", nn.Sequential(nn.MaxPool2d(3, 1, 1), BlurPool(width)) if blur else nn.MaxPool2d(3, 2, 1))
        for i, layers in enumerate(config["block_config"]):
            self.features.add_module(f"denseblock{i + 1}", Block(layers, width, config))
            width += layers * k
            if i + 1 < len(config["block_config"]):
                out = math.floor(width * config["compression"])
                self.features.add_module(f"transition{i + 1}", Transition(width, out, config))
                width = out
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        if config["num_classes"]:
            self.classifier = nn.Linear(width, config["num_classes"])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.constant_(module.bias, 0)

    def norm_relu(self, number, convolution, width):
        self.features.add_module("conv" + number, convolution)
        self.features.add_module("norm" + number, nn.BatchNorm2d(width))
        self.features.add_module("relu" + number, nn.ReLU())

    def forward(self, x):
        x = F.relu(self.features(x))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.classifier(x) if hasattr(self, "classifier") else x
