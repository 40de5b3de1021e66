class Dense(nn.Linear):
    """A hidden layer: linear, batch norm if there is any, ReLU."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=not BATCH_NORM)
        if BATCH_NORM:
            self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x):
        x = super().forward(x)
        return functional.relu(self.bn(x) if BATCH_NORM else x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        inputs = CHANNELS * SIZE[0] * SIZE[1]
        for number, units in enumerate(UNITS, 1):
            self.add_module(f"fc{number}", Dense(inputs, units))
            inputs = units
        self.logits = nn.Linear(inputs, OUTPUTS)

    def forward(self, x):
        x = x.flatten(1)
        for number in range(1, len(UNITS) + 1):
            x = getattr(self, f"fc{number}")(x)
        return self.logits(x)
