"""Writes transformers.json: outputs, gradients and layers of attention and of the networks made of it, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/transformers.py
Layers are what forward hooks see on MultiheadAttention, LayerNorm, Linear and TransformerDecoderLayer (the paper's rule).
"""

import json
import math
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

from case import case, numbers, randomise


def attention(name, queries, keys, causal, lengths):
    width, heads, batch = 12, 3, 2
    mha = nn.MultiheadAttention(width, heads, batch_first=True)
    randomise(mha)
    x = torch.randn(batch, queries, width).float().double()
    memory = x if keys is None else torch.randn(batch, keys, width).float().double()
    time = memory.shape[1]
    mask = torch.triu(torch.ones(queries, time, dtype=torch.bool), 1) if causal else None
    padding = torch.arange(time)[None] >= torch.tensor(lengths)[:, None] if lengths else None
    forward = lambda: mha(x, memory, memory, key_padding_mask=padding, attn_mask=mask, need_weights=False)[0]
    inputs = {"x": numbers(x), "memory": numbers(memory), "queries": queries, "keys": time}
    inputs |= {"causal": causal, "lengths": lengths, "cross": keys is not None}
    return case(name, mha, forward, inputs)


VOCABULARY, TIME, WIDTH, HEADS, HIDDEN, PADDING = 7, 6, 8, 2, 12, 6
IDS = torch.tensor([[1, 2, 3, 0, 5, 4], [4, 4, 1, 0, 6, 6], [5, 6, 6, 6, 6, 6]])


def sinusoidal():
    position = torch.arange(TIME)[:, None]
    factor = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000.0) / WIDTH))
    table = torch.zeros(TIME, WIDTH)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * factor), torch.cos(position * factor)
    return table


class Encoder(nn.Module):
    def __init__(self, norm_first):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        make = lambda: nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "relu", batch_first=True, norm_first=norm_first)
        self.layers = nn.ModuleList([make(), make()])
        if norm_first:
            self.norm = nn.LayerNorm(WIDTH)
        self.logits = nn.Linear(WIDTH, 2)

    def forward(self, ids):
        padding = ids == PADDING
        x = self.embedding(ids) + sinusoidal()
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        if hasattr(self, "norm"):
            x = self.norm(x)
        valid = (~padding)[..., None]
        return self.logits((x * valid).sum(1) / valid.sum(1))


def encoder(name, norm_first):
    net = Encoder(norm_first)
    randomise(net)
    hooked = [
        (f"layers.{i}.{part}", getattr(layer, part))
        for i, layer in enumerate(net.layers)
        for part in ["self_attn", "norm1", "linear1", "linear2", "norm2"]
    ]
    hooked += [("norm", net.norm)] if norm_first else []
    return case(name, net, lambda: net(IDS), IDS.flatten().tolist(), hooked)


class Copy(nn.Module):
    """The paper's copy-paste guide: one decoder layer, used for each, with x as target and as memory."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, 0.0, batch_first=True)])
        self.logits = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.embedding(ids) + sinusoidal()
        mask = torch.triu(torch.ones(TIME, TIME, dtype=torch.bool), 1)
        for _ in range(2):
            x = self.layers[0](x, x, tgt_mask=mask)
        return self.logits(x)


def copy():
    net = Copy()
    randomise(net)
    layer = net.layers[0]
    parts = ["self_attn", "norm1", "multihead_attn", "norm2", "linear1", "linear2", "norm3"]
    hooked = [(f"layers.{i}.{part}", getattr(layer, part)) for i in range(2) for part in parts]
    hooked += [(f"layers.{i}", layer) for i in range(2)]
    return case("copy", net, lambda: net(IDS), IDS.flatten().tolist(), hooked)


class Mixer(nn.Module):
    """q, k, v and the projection of attention, written out."""

    def __init__(self):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, causal):
        batch, time, _ = x.shape
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        q, k, v = (y.reshape(batch, time, HEADS, -1).transpose(1, 2) for y in (q, k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        if causal:
            scores = scores.masked_fill(torch.triu(torch.ones(time, time, dtype=torch.bool), 1), -math.inf)
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, time, WIDTH))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attn = Mixer()
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)


class Decoder(nn.Module):
    """GPT-2's layout; or, `inside`, the paper's: the residual is taken after the norm."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(TIME, WIDTH)
        self.layers = nn.ModuleList([Layer(), Layer()])
        if inside:
            self.logits = nn.Linear(WIDTH, VOCABULARY)
        else:
            self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        x = self.embedding(ids) + self.positions(torch.arange(TIME))
        for layer in self.layers:
            n = layer.norm1(x)
            x = (n if self.inside else x) + layer.self_attn(n, True)
            n = layer.norm2(x)
            active = F.relu(layer.linear1(n)) if self.inside else F.gelu(layer.linear1(n))
            x = (n if self.inside else x) + layer.linear2(active)
        return self.logits(x) if self.inside else self.norm(x) @ self.embedding.weight.T


def decoder(name, inside):
    net = Decoder(inside)
    randomise(net)
    parts = ["norm1", "self_attn", "norm2", "linear1", "linear2"]
    hooked = [(f"layers.{i}.{part}", getattr(layer, part)) for i, layer in enumerate(net.layers) for part in parts]
    hooked += [] if inside else [("norm", net.norm)]
    return case(name, net, lambda: net(IDS), IDS.flatten().tolist(), hooked)


class TimmAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        batch, time, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, time, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, time, WIDTH))


class TimmBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = TimmAttention()
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, HIDDEN), "fc2": nn.Linear(HIDDEN, WIDTH)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.empty(1, 7, WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, WIDTH, 2, 2)})
        self.blocks = nn.ModuleList([TimmBlock(), TimmBlock()])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, images):
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def vit():
    net = Vit()
    randomise(net)
    images = torch.randn(2, 3, 4, 6).float().double()
    hooked = [("patch_embed", net.patch_embed["proj"])]
    for i, block in enumerate(net.blocks):
        parts = [("norm1", block.norm1), ("attn", block.attn), ("norm2", block.norm2)]
        parts += [("mlp.fc1", block.mlp["fc1"]), ("mlp.fc2", block.mlp["fc2"])]
        hooked += [(f"blocks.{i}.{part}", module) for part, module in parts]
    hooked += [("norm", net.norm)]
    return case("vit", net, lambda: net(images), numbers(images), hooked)


if __name__ == "__main__":
    torch.manual_seed(4)
    cases = [
        attention("attention", 5, None, False, None),
        attention("causal attention with lengths", 9, None, True, [9, 4]),
        attention("cross attention with lengths", 5, 11, False, [3, 11]),
        encoder("encoder, norms last", False),
        encoder("encoder, norms first", True),
        copy(),
        decoder("decoder", False),
        decoder("decoder, residuals after norms", True),
        vit(),
    ]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
