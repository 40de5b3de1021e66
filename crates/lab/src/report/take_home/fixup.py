def convolution(inputs, outputs, size, stride):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Two convolutions of 3 x 3, or of 1 x 1, 3 x 3 and 1 x 1, with a shortcut around them and scalars in place of batch norm."""

    def __init__(self, inputs, channels, stride):
        super().__init__()
        layers = [(channels, 3, stride), (channels, 3, 1)]
        if BOTTLENECK:
            layers = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
        self.count, before = len(layers), inputs
        for number, (outputs, size, step) in enumerate(layers, 1):
            self.register_parameter(f"bias{number}a", nn.Parameter(torch.zeros(1)))
            self.add_module(f"conv{number}", convolution(before, outputs, size, step))
            self.register_parameter(f"bias{number}b", nn.Parameter(torch.zeros(1)))
            before = outputs
        self.scale = nn.Parameter(torch.ones(1))
        self.outputs, self.downsample = before, None
        if stride != 1 or inputs != before:
            self.downsample = convolution(inputs, before, 1, stride)

    def forward(self, x):
        y = start = x + self.bias1a
        for number in range(1, self.count + 1):
            if number > 1:
                y = y + getattr(self, f"bias{number}a")
            y = getattr(self, f"conv{number}")(y)
            if number == self.count:
                y = y * self.scale
            y = y + getattr(self, f"bias{number}b")
            if number < self.count:
                y = functional.relu(y)
        return functional.relu(y + (x if self.downsample is None else self.downsample(start)))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = convolution(CHANNELS, WIDTH, 7, 2) if LARGE_STEM else convolution(CHANNELS, WIDTH, 3, 1)
        self.bias1 = nn.Parameter(torch.zeros(1))
        inputs = WIDTH
        for stage, count in enumerate(BLOCKS):
            blocks = []
            for number in range(count):
                blocks.append(Block(inputs, WIDTH << stage, 2 if stage > 0 and number == 0 else 1))
                inputs = blocks[-1].outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bias2 = nn.Parameter(torch.zeros(1))
        self.fc = nn.Linear(inputs, OUTPUTS)

    def forward(self, x):
        x = functional.relu(self.conv1(x) + self.bias1)
        if LARGE_STEM:
            x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)) + self.bias2)
