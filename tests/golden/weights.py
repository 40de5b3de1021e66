"""Writes gpt2.safetensors and resnet.safetensors as PyTorch's libraries would, and weights.json, what such networks say.

Needs torch, and only to write the files anew: python3 tests/golden/weights.py
gpt2 has Hugging Face's names, [in, out] linear layers, masks and tied logits; resnet torchvision's, behind `module.`.
"""

import json
import pathlib
import struct

import torch
from torch import nn
from torch.nn import functional as F

from case import numbers, randomise
from resnets import ResNet

HERE = pathlib.Path(__file__).parent
VOCABULARY, POSITIONS, TIME, WIDTH, HEADS, HIDDEN = 7, 9, 6, 8, 2, 12
KINDS = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.int64: "I64"}


def save(name, tensors):
    header, data = {}, b""
    for key, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        header[key] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    HERE.joinpath(f"{name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


class Conv1D(nn.Module):
    def __init__(self, inputs, out):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(inputs, out)), nn.Parameter(torch.empty(out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.ModuleDict({"c_attn": Conv1D(WIDTH, 3 * WIDTH), "c_proj": Conv1D(WIDTH, WIDTH)})
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(WIDTH, HIDDEN), "c_proj": Conv1D(HIDDEN, WIDTH)})

    def forward(self, x):
        heads = lambda z: z.view(*z.shape[:2], HEADS, -1).transpose(1, 2)
        q, k, v = (heads(z) for z in self.attn["c_attn"](self.ln_1(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.h = nn.ModuleList([Block(), Block()])
        self.ln_f = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


def gpt2():
    net = Gpt2()
    randomise(net)
    net.wte.weight.data = net.wte.weight.half().double()
    ids = torch.tensor([[1, 2, 3, 0, 5, 4], [4, 4, 1, 0, 6, 6]])
    tensors = {f"transformer.{n}": p.detach().float() for n, p in net.named_parameters()}
    tensors["transformer.wte.weight"] = net.wte.weight.detach().half()
    tensors["transformer.h.1.ln_2.bias"] = net.h[1].ln_2.bias.detach()
    for i in range(2):
        tensors[f"transformer.h.{i}.attn.bias"] = torch.ones(POSITIONS, POSITIONS).tril()[None, None].float()
    tensors["lm_head.weight"] = net.wte.weight.detach().half()
    save("gpt2", tensors)
    return {"inputs": ids.flatten().tolist(), "output": numbers(net(ids))}


def resnet():
    net = ResNet([1, 1], 3, False, False, True, 5)
    randomise(net)
    images = torch.randn(2, 3, 7, 7).float().double()
    save("resnet", {f"module.{n}": t.float() if t.is_floating_point() else t for n, t in net.state_dict().items()})
    return {"inputs": numbers(images), "output": numbers(net.eval()(images))}


if __name__ == "__main__":
    torch.manual_seed(4)
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps({"gpt2": gpt2(), "resnet": resnet()}) + "\n")
