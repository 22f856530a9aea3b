"""CIFAR's DenseNets as other authors define them (see families.py)."""

import torch
import torch.nn.functional as F
from families import conv
from torch import nn


class Bottleneck(nn.Module):
    """bn1, conv1, bn2, conv2 of bamos, andreasveit and kuangliu; which of the two comes first differs."""

    def __init__(self, inputs, k, newest_first=False):
        super().__init__()
        self.newest_first = newest_first
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 4 * k, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * k), conv(4 * k, k, 3)

    def forward(self, x):
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return torch.cat((out, x) if self.newest_first else (x, out), 1)


class Single(nn.Module):
    """Without a bottleneck."""

    def __init__(self, inputs, k):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, k, 3)

    def forward(self, x):
        return torch.cat((x, self.conv1(F.relu(self.bn1(x)))), 1)


class Transition(nn.Module):
    """bamos, andreasveit."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class Bamos(nn.Module):
    def __init__(self, k=4, layers=3, bottleneck=True, reduction=0.5, classes=10):
        super().__init__()
        width = 2 * k
        self.conv1 = conv(3, width, 3)
        layer = Bottleneck if bottleneck else Single
        for i in (1, 2, 3):
            setattr(self, f"dense{i}", nn.Sequential(*(layer(width + j * k, k) for j in range(layers))))
            width += layers * k
            if i < 3:
                setattr(self, f"trans{i}", Transition(width, int(width * reduction)))
                width = int(width * reduction)
        self.bn1, self.fc = nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.dense3(self.trans2(self.dense2(x)))
        x = torch.squeeze(F.avg_pool2d(F.relu(self.bn1(x)), 8))
        return F.log_softmax(self.fc(x), dim=1)


class VeitBlock(nn.Module):
    def __init__(self, layers, inputs, k, layer):
        super().__init__()
        self.layer = nn.Sequential(*(layer(inputs + i * k, k) for i in range(layers)))

    def forward(self, x):
        return self.layer(x)


class AndreasVeit(nn.Module):
    def __init__(self, k=4, layers=3, bottleneck=True, reduction=0.5, classes=10):
        super().__init__()
        width = 2 * k
        self.conv1 = conv(3, width, 3)
        layer = Bottleneck if bottleneck else Single
        for i in (1, 2, 3):
            setattr(self, f"block{i}", VeitBlock(layers, width, k, layer))
            width += layers * k
            if i < 3:
                setattr(self, f"trans{i}", Transition(width, int(width * reduction)))
                width = int(width * reduction)
        self.bn1, self.fc, self.width = nn.BatchNorm2d(width), nn.Linear(width, classes), width

    def forward(self, x):
        x = self.trans1(self.block1(self.conv1(x)))
        x = self.block3(self.trans2(self.block2(x)))
        x = F.avg_pool2d(F.relu(self.bn1(x)), 8).view(-1, self.width)
        return self.fc(x)


class KuangTransition(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(inputs), conv(inputs, outputs, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class KuangLiu(nn.Module):
    """New features come first."""

    def __init__(self, k=4, blocks=(2, 3, 4, 2), classes=10):
        super().__init__()
        width = 2 * k
        self.conv1 = conv(3, width, 3)
        for i, layers in enumerate(blocks, 1):
            setattr(self, f"dense{i}", nn.Sequential(*(Bottleneck(width + j * k, k, True) for j in range(layers))))
            width += layers * k
            if i < len(blocks):
                setattr(self, f"trans{i}", KuangTransition(width, width // 2))
                width //= 2
        self.bn, self.linear = nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.trans2(self.dense2(x))
        x = self.dense4(self.trans3(self.dense3(x)))
        x = F.avg_pool2d(F.relu(self.bn(x)), 4)
        return self.linear(x.view(x.size(0), -1))


class Weiaicunzai(nn.Module):
    """Names alone: it is refused, since its transitions have no ReLU."""

    def __init__(self, k=4, classes=100):
        super().__init__()
        self.conv1 = conv(3, 2 * k, 3)
        bottleneck = nn.Module()
        bottleneck.bottle_neck = nn.Sequential(
            nn.BatchNorm2d(2 * k), nn.ReLU(), conv(2 * k, 4 * k, 1), nn.BatchNorm2d(4 * k), nn.ReLU(), conv(4 * k, k, 3)
        )
        block, down = nn.Sequential(), nn.Module()
        block.add_module("bottle_neck_layer_0", bottleneck)
        down.down_sample = nn.Sequential(nn.BatchNorm2d(3 * k), conv(3 * k, k, 1), nn.AvgPool2d(2, 2))
        self.features = nn.Sequential()
        self.features.add_module("dense_block_layer_0", block)
        self.features.add_module("transition_layer_0", down)
        self.features.add_module("bn", nn.BatchNorm2d(k))
        self.linear = nn.Linear(k, classes)


# --- the memory-efficient reference ---


class Dotted(nn.Module):
    """A layer whose modules' names contain a dot, as torch allowed until 0.4."""

    def __init__(self, inputs, k):
        super().__init__()
        self.parts = ["norm.1", "relu.1", "conv.1", "norm.2", "relu.2", "conv.2"]
        modules = [nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, 4 * k, 1)]
        modules += [nn.BatchNorm2d(4 * k), nn.ReLU(), conv(4 * k, k, 3)]
        self._modules.update(zip(self.parts, modules))

    def forward(self, x):
        new = x
        for part in self.parts:
            new = self._modules[part](new)
        return torch.cat([x, new], 1)


class BnConv(nn.Module):
    """Norm, ReLU and convolution in one module with parameters of its own."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(inputs)), nn.Parameter(torch.zeros(inputs))
        self.register_buffer("norm_running_mean", torch.zeros(inputs))
        self.register_buffer("norm_running_var", torch.ones(inputs))
        self.conv_weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(outputs, inputs, 1, 1)))

    def forward(self, x):
        mean, var = self.norm_running_mean, self.norm_running_var
        x = F.batch_norm(x, mean, var, self.norm_weight, self.norm_bias, False, 0.1, 1e-5)
        return F.conv2d(F.relu(x), self.conv_weight)


class Efficient(nn.Module):
    def __init__(self, inputs, k):
        super().__init__()
        self.bn = BnConv(inputs, 4 * k)
        self._modules.update({"norm.2": nn.BatchNorm2d(4 * k), "conv.2": conv(4 * k, k, 3)})

    def forward(self, x):
        new = F.relu(self._modules["norm.2"](self.bn(x)))
        return torch.cat([x, self._modules["conv.2"](new)], 1)


class Modern(nn.Module):
    def __init__(self, inputs, k):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 4 * k, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * k), conv(4 * k, k, 3)

    def forward(self, x):
        new = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


class Gpleiss(nn.Module):
    """efficient_densenet_pytorch for small pictures; `layer` is of its time, `shared` the buffer of its multi-GPU form."""

    def __init__(self, layer, shared=False, k=4, blocks=(2, 3, 2), compression=0.5, classes=10):
        super().__init__()
        width = 2 * k
        self.features = nn.Sequential()
        self.features.add_module("conv0", conv(3, width, 3))
        for i, layers in enumerate(blocks, 1):
            block = nn.Sequential()
            for j in range(layers):
                block.add_module(f"denselayer{j + 1}", layer(width + j * k, k))
            if shared:
                block.register_buffer("CatBN_output_buffer", torch.zeros(1, width))
            self.features.add_module(f"denseblock{i}", block)
            width += layers * k
            if i < len(blocks):
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU(inplace=True))
                transition.add_module("conv", conv(width, int(width * compression), 1))
                transition.add_module("pool", nn.AvgPool2d(2, 2))
                self.features.add_module(f"transition{i}", transition)
                width = int(width * compression)
        self.features.add_module("norm_final", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))
