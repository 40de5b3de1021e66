class Convolution(nn.Conv2d):
    """A layer: 3 x 3 convolution, batch norm if there is any, ReLU."""

    def __init__(self, inputs, outputs, stride):
        super().__init__(inputs, outputs, 3, stride, padding=1, bias=not BATCH_NORM)
        if BATCH_NORM:
            self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = super().forward(x)
        return functional.relu(self.bn(x) if BATCH_NORM else x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        inputs = CHANNELS
        for number, (outputs, stride) in enumerate(zip(LAYERS, STRIDES), 1):
            self.add_module(f"conv{number}", Convolution(inputs, outputs, stride))
            inputs = outputs
        self.logits = nn.Linear(inputs, OUTPUTS)

    def forward(self, x):
        for number in range(1, len(LAYERS) + 1):
            x = getattr(self, f"conv{number}")(x)
        return self.logits(x.mean((2, 3)))
