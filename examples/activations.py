"""Writes what a module of PyTorch says of each example, as the guide of a run: `[guide] activations = "guide.safetensors"`.

    trellis examples CONFIG --data FOLDER --out examples.safetensors
    python3 examples/activations.py examples.safetensors guide.safetensors

Replace `module` by any `nn.Module`, and `layers` by the names of its parts. Needs torch and safetensors.
"""

import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def separable(channels_in, channels_out, stride):
    """A block of MobileNet: a convolution of each channel by itself, then one of 1 x 1."""
    depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False)
    pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    norms = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels_out)
    return nn.Sequential(depthwise, norms[0], nn.ReLU6(), pointwise, norms[1], nn.ReLU6())


examples, out = sys.argv[1:]
with safe_open(examples, "pt") as file:
    metadata = file.metadata()
    splits = {name.split(".")[0]: (file.get_tensor(name), file.get_tensor(name.replace("input", "labels")).long())
              for name in file.keys() if name.endswith(".input")}
images, labels = splits["train"]
torch.manual_seed(0)
module = nn.Sequential(
    nn.Conv2d(images.shape[1], 16, 3, 2, 1), separable(16, 32, 1), separable(32, 64, 2), separable(64, 64, 1),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, int(labels.max()) + 1))
layers = ["0", "1", "2", "3"]

optimizer = torch.optim.Adam(module.parameters(), 3e-3)
for step in range(300):  # its own training; a pretrained module needs none
    at = torch.randperm(len(images))[:64]
    optimizer.zero_grad()
    nn.functional.cross_entropy(module(images[at]), labels[at]).backward()
    optimizer.step()

module.eval()
recorded = {}
for split, (images, labels) in splits.items():
    said = {layer: [] for layer in layers}
    hooks = [module.get_submodule(layer).register_forward_hook(
        lambda _, __, output, layer=layer: said[layer].append(
            (output[0] if isinstance(output, tuple) else output).flatten(1))) for layer in layers]
    with torch.no_grad():
        answers = torch.cat([module(part).argmax(1) for part in images.split(256)])
    [hook.remove() for hook in hooks]
    print(f"{split}: {(answers == labels).float().mean():.1%} right")
    rows = 256 if split == "test" else None  # evaluations compare the first of the test split
    recorded |= {f"{split}.{layer}": torch.cat(parts)[:rows].contiguous() for layer, parts in said.items()}
save_file(recorded, out, {"trellis": metadata["trellis"], "layers": " ".join(layers)})
