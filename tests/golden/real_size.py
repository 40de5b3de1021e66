"""Writes weights, images and logits of ResNet-18, ResNet-50, its plain twin and ViT-B/16 at 224 x 224 into a folder, for the
ignored test `real_size`: python3 tests/golden/real_size.py FOLDER. Needs torch; 700 MB. Weights are drawn, running statistics
are those of two batches of noise.
"""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

from resnets import Block
from weights import save


class Resnet(nn.Module):
    def __init__(self, blocks, bottleneck, residual):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                layers.append(Block(inputs, 64 << stage, 2 if stage and not block else 1, bottleneck, residual))
                inputs = (64 << stage) * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, 1000)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(x.mean((2, 3)))


class VitBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(768, eps=1e-6), nn.LayerNorm(768, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(768, 3 * 768), "proj": nn.Linear(768, 768)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(768, 3072), "fc2": nn.Linear(3072, 768)})

    def forward(self, x):
        batch, time, _ = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).reshape(batch, time, 3, 12, 64).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, time, 768)
        x = x + self.attn["proj"](y)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class VitB16(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, 768))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 197, 768))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 768, 16, 16)})
        self.blocks = nn.ModuleList([VitBlock() for _ in range(12)])
        self.norm, self.head = nn.LayerNorm(768, eps=1e-6), nn.Linear(768, 1000)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


if __name__ == "__main__":
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(4)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.randn(2, 3, 224, 224)
    logits = {"images": images}
    networks = {
        "resnet18": Resnet([2, 2, 2, 2], False, True),
        "resnet50": Resnet([3, 4, 6, 3], True, True),
        "plain50": Resnet([3, 4, 6, 3], True, False),
        "vit_b16": VitB16(),
    }
    with torch.no_grad():
        for name, net in networks.items():
            for _ in range(2):
                net.train()(torch.randn(4, 3, 224, 224))
            save(folder / name, net.eval().state_dict())
            logits[name] = net.double()(images.double()).float()
            print(name, sum(p.numel() for p in net.parameters()), "parameters")
    save(folder / "logits", logits)
