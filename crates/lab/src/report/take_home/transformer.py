class Attention(nn.Module):
    """Attention with the names of torch.nn.MultiheadAttention."""

    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, memory):
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = [functional.linear(y, w, b) for y, w, b in zip((x, memory, memory), weights, biases)]
        q, k, v = [y.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2) for y in (q, k, v)]
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention(CAUSAL)
        if CROSS:
            self.multihead_attn = Attention(False)
        self.linear1 = nn.Linear(WIDTH, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, WIDTH)
        for number in range(1, 4 if CROSS else 3):
            self.add_module(f"norm{number}", nn.LayerNorm(WIDTH, 1e-12 if BERT else 1e-5))

    def around(self, number, x, part):
        """A part with its norm and its residual."""
        norm = getattr(self, f"norm{number}")
        if NORM == "post":
            return norm(x + part(x))
        normal = norm(x)
        return part(normal) + (x if NORM == "pre" else normal)

    def feed_forward(self, x):
        return self.linear2(ACTIVATION(self.linear1(x)))

    def forward(self, x):
        memory = x
        x = self.around(1, x, lambda y: self.self_attn(y, y))
        if CROSS:
            x = self.around(2, x, lambda y: self.multihead_attn(y, memory))
        return self.around(3 if CROSS else 2, x, self.feed_forward)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        if LEARNED_POSITIONS:
            self.positions = nn.Embedding(TIME, WIDTH)
        else:
            self.register_buffer("positions", torch.zeros(TIME, WIDTH))
        if BERT:
            self.segment = nn.Embedding(1, WIDTH)
            self.embedding_norm = nn.LayerNorm(WIDTH, 1e-12)
        self.layers = nn.ModuleList([Layer() for _ in range(1 if SHARED else LAYERS)])
        if NORM == "pre":
            self.norm = nn.LayerNorm(WIDTH, 1e-12 if BERT else 1e-5)
        if not TIED:
            self.logits = nn.Linear(WIDTH, OUTPUTS)

    def forward(self, ids):
        # Nothing looks at what fills a sequence up.
        ids = ids if PADDING is None else ids[:, : int((ids != PADDING).sum())]
        positions = self.positions.weight if LEARNED_POSITIONS else self.positions
        x = self.embedding(ids) + positions[: ids.shape[1]]
        if BERT:
            x = self.embedding_norm(x + self.segment.weight)
        for number in range(LAYERS):
            x = self.layers[0 if SHARED else number](x)
        if NORM == "pre":
            x = self.norm(x)
        if not EACH_POSITION:
            x = x.mean(1)
        return functional.linear(x, self.embedding.weight) if TIED else self.logits(x)
