class Layer(nn.Sequential):
    """A convolution, batch norm and ReLU6, called 0, 1 and 2."""

    def __init__(self, inputs, outputs, size, stride, groups=1):
        convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class Block(nn.Module):
    """An inverted residual: widened, each channel filtered by itself, narrowed."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        within = expansion * inputs
        layers = [] if expansion == 1 else [Layer(inputs, within, 1, 1)]
        layers.append(Layer(within, within, 3, stride, groups=within))
        self.conv = nn.Sequential(*layers, nn.Conv2d(within, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        layers, inputs = [Layer(CHANNELS, WIDTH, 3, STRIDE)], WIDTH
        for expansion, outputs, count, stride in zip(EXPANSIONS, STAGES, BLOCKS, STRIDES):
            for number in range(count):
                layers.append(Block(inputs, outputs, stride if number == 0 else 1, expansion))
                inputs = outputs
        layers.append(Layer(inputs, FEATURES, 1, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(FEATURES, OUTPUTS))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))
