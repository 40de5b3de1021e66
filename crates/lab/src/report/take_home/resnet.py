def convolution(inputs, outputs, size, stride):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Two convolutions of 3 x 3, or of 1 x 1, 3 x 3 and 1 x 1, with a shortcut around them unless the network is a plain one."""

    def __init__(self, inputs, channels, stride):
        super().__init__()
        layers = [(channels, 3, stride), (channels, 3, 1)]
        if BOTTLENECK:
            layers = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
        self.count, before = len(layers), inputs
        for number, (outputs, size, step) in enumerate(layers, 1):
            self.add_module(f"conv{number}", convolution(before, outputs, size, step))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            before = outputs
        self.outputs, self.downsample = before, None
        if RESIDUAL and (stride != 1 or inputs != before):
            self.downsample = nn.Sequential(convolution(inputs, before, 1, stride), nn.BatchNorm2d(before))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.count:
                y = functional.relu(y)
        if RESIDUAL:
            y = y + (x if self.downsample is None else self.downsample(x))
        return functional.relu(y)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = convolution(CHANNELS, WIDTH, 7, 2) if LARGE_STEM else convolution(CHANNELS, WIDTH, 3, 1)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inputs = WIDTH
        for stage, count in enumerate(BLOCKS):
            blocks = []
            for number in range(count):
                blocks.append(Block(inputs, WIDTH << stage, 2 if stage > 0 and number == 0 else 1))
                inputs = blocks[-1].outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, OUTPUTS)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        if LARGE_STEM:
            x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))
