"""What the golden files of networks hold: outputs, gradients and layers of a module, by PyTorch in float64."""

import torch
from torch import nn

torch.set_default_dtype(torch.float64)


def numbers(x):
    # What is left of a 0 by rounding is one: such as the gradient of a shift that a batch norm takes off again.
    return [float(f"{v:.7g}") if abs(v) > 1e-12 else 0.0 for v in x.detach().flatten().tolist()]


def randomise(module):
    """Values that f32 holds too; gains around 1, variances above 0."""
    for name, p in module.named_parameters():
        p.data = (torch.randn(p.shape) * 0.3).float().double()
        if ("norm" in name or "bn" in name or "downsample.1" in name) and name.endswith("weight"):
            p.data = (p.data + 1).float().double()
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.data = (torch.randn(b.shape) * 0.3).float().double()
        if name.endswith("running_var"):
            b.data = (torch.rand(b.shape) + 0.5).float().double()


def case(name, module, forward, inputs, hooked=()):
    """The loss is Σ r · output with random r. Layers are what forward hooks see, as their sum and their sum of squares;
    `hooked`: pairs of a layer's name and the module whose calls, one after the other, have these names."""
    layers = []
    names = {}
    for layer, m in hooked:
        names.setdefault(m, []).append(layer)

    def hook(m, _, out):
        out = out[0] if isinstance(out, tuple) else out
        layers.append([names[m].pop(0), out.sum().item(), (out * out).sum().item()])

    hooks = [m.register_forward_hook(hook) for m in names]
    out = forward()
    for hook in hooks:
        hook.remove()
    r = torch.randn(out.shape).float().double()
    (out * r).sum().backward()
    return {
        "name": name,
        "inputs": inputs,
        "params": {n: [list(p.shape), numbers(p)] for n, p in module.named_parameters()},
        "output": numbers(out),
        "r": numbers(r),
        "gradients": {n: numbers(p.grad) for n, p in module.named_parameters()},
        "layers": layers,
    }


def case_of_images(name, net, images):
    """[`case`] in training, with the output in evaluation and its buffers. Layers are convolutions and the mean over pixels."""
    buffers = {n: numbers(b) for n, b in net.named_buffers() if b.is_floating_point()}
    with torch.no_grad():
        evaluated = numbers(net.eval()(images))
    net.train()
    hooked = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.AdaptiveAvgPool2d))]
    made = case(name, net, lambda: net(images), numbers(images), hooked)
    return made | {"buffers": buffers, "eval": evaluated}
