"""Writes mobilenets.json: a tiny MobileNetV2 with torchvision's structure and names, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/mobilenets.py
Gradients are those of training, with statistics of the batch; `eval` is the output with running statistics.
"""

import json
import pathlib

import torch
from torch import nn

from case import case_of_images, randomise


def layer(inputs, out, size, stride, groups=1):
    """torchvision's Conv2dNormActivation."""
    conv = nn.Conv2d(inputs, out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU6())


class Block(nn.Module):
    """torchvision's InvertedResidual."""

    def __init__(self, inputs, out, stride, expansion):
        super().__init__()
        within = inputs * expansion
        layers = [layer(inputs, within, 1, 1)] if expansion != 1 else []
        layers += [layer(within, within, 3, stride, groups=within)]
        self.conv = nn.Sequential(*layers, nn.Conv2d(within, out, 1, bias=False), nn.BatchNorm2d(out))
        self.residual = stride == 1 and inputs == out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet(nn.Module):
    def __init__(self, width, stride, stages, features, classes):
        super().__init__()
        layers, inputs = [layer(3, width, 3, stride)], width
        for expansion, channels, blocks, stride in stages:
            for block in range(blocks):
                layers.append(Block(inputs, channels, 1 if block else stride, expansion))
                inputs = channels
        self.features = nn.Sequential(*layers, layer(inputs, features, 1, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(features, classes))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)).flatten(1))


def mobilenet(name, stride, side):
    net = MobileNet(4, stride, [(1, 4, 1, 1), (3, 6, 2, 2)], 8, 5)
    randomise(net)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            # Some activations beyond 6.
            m.weight.data = (m.weight.data * 4 + 2).float().double()
    images = torch.randn(3, 3, side, side).float().double()
    return case_of_images(name, net, images)


if __name__ == "__main__":
    torch.manual_seed(5)
    cases = [mobilenet("small", 1, 7), mobilenet("large", 2, 18)]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
