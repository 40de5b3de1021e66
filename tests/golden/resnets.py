"""Writes resnets.json: tiny residual networks and plain twins with torchvision's structure and names, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/resnets.py
Gradients are those of training, with statistics of the batch; `eval` is the output with running statistics.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

from case import case, case_of_images, numbers, randomise


def conv(inputs, out, size, stride):
    return nn.Conv2d(inputs, out, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck."""

    def __init__(self, inputs, channels, stride, bottleneck, residual):
        super().__init__()
        out = 4 * channels if bottleneck else channels
        layers = [(channels, 3, stride), (channels, 3, 1)]
        if bottleneck:
            layers = [(channels, 1, 1), (channels, 3, stride), (out, 1, 1)]
        width = inputs
        for number, (channels, size, stride_here) in enumerate(layers, 1):
            setattr(self, f"conv{number}", conv(width, channels, size, stride_here))
            setattr(self, f"bn{number}", nn.BatchNorm2d(channels))
            width = channels
        self.count, self.residual = len(layers), residual
        if residual and (stride != 1 or inputs != out):
            self.downsample = nn.Sequential(conv(inputs, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = F.relu(y) if number < self.count else y
        if self.residual:
            y = y + (self.downsample(x) if hasattr(self, "downsample") else x)
        return F.relu(y)


class ResNet(nn.Module):
    def __init__(self, blocks, width, bottleneck, large, residual, classes):
        super().__init__()
        self.conv1 = conv(3, width, *((7, 2) if large else (3, 1)))
        self.bn1 = nn.BatchNorm2d(width)
        self.large, self.stages = large, len(blocks)
        inputs = width
        for stage, count in enumerate(blocks):
            channels = width << stage
            layers = []
            for block in range(count):
                stride = 2 if stage and not block else 1
                layers.append(Block(inputs, channels, stride, bottleneck, residual))
                inputs = 4 * channels if bottleneck else channels
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1) if self.large else x
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet(name, blocks, bottleneck, large, residual, side):
    net = ResNet(blocks, 3, bottleneck, large, residual, 5)
    randomise(net)
    images = torch.randn(3, 3, side, side).float().double()
    return case_of_images(name, net, images)


class FixupBlock(nn.Module):
    """The authors' FixupBasicBlock and FixupBottleneck (arXiv:1901.09321, figure 1)."""

    def __init__(self, inputs, channels, stride, bottleneck):
        super().__init__()
        layers = [(channels, 3, stride), (channels, 3, 1)]
        if bottleneck:
            layers = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
        self.count, before = len(layers), inputs
        for number, (out, size, step) in enumerate(layers, 1):
            setattr(self, f"bias{number}a", nn.Parameter(torch.zeros(1)))
            setattr(self, f"conv{number}", conv(before, out, size, step))
            setattr(self, f"bias{number}b", nn.Parameter(torch.zeros(1)))
            before = out
        self.scale = nn.Parameter(torch.ones(1))
        if stride != 1 or inputs != before:
            self.downsample = conv(inputs, before, 1, stride)

    def forward(self, x):
        y = start = x + self.bias1a
        for number in range(1, self.count + 1):
            y = getattr(self, f"conv{number}")(y if number == 1 else y + getattr(self, f"bias{number}a"))
            y = (y if number < self.count else y * self.scale) + getattr(self, f"bias{number}b")
            y = F.relu(y) if number < self.count else y
        return F.relu(y + (self.downsample(start) if hasattr(self, "downsample") else x))


class Fixup(nn.Module):
    def __init__(self, blocks, width, bottleneck, classes):
        super().__init__()
        self.conv1, self.bias1 = conv(3, width, 3, 1), nn.Parameter(torch.zeros(1))
        inputs, self.stages = width, len(blocks)
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                layers.append(FixupBlock(inputs, width << stage, 2 if stage and not block else 1, bottleneck))
                inputs = (4 if bottleneck else 1) * (width << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.bias2, self.fc = nn.Parameter(torch.zeros(1)), nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.conv1(x) + self.bias1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1) + self.bias2)


def fixup(name, blocks, bottleneck):
    net = Fixup(blocks, 3, bottleneck, 5)
    randomise(net)
    images = torch.randn(3, 3, 7, 7).float().double()
    hooked = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.AdaptiveAvgPool2d))]
    made = case(name, net, lambda: net(images), numbers(images), hooked)
    return made | {"buffers": {}, "eval": made["output"]}


if __name__ == "__main__":
    torch.manual_seed(4)
    cases = [
        resnet("basic", [1, 2], False, True, True, 20),
        resnet("bottleneck", [1, 1], True, False, True, 7),
        resnet("plain bottleneck", [1, 1], True, True, False, 20),
        resnet("small", [2, 1], False, False, True, 7),
        fixup("fixup", [2, 1], False),
        fixup("fixup bottleneck", [1, 1], True),
    ]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
