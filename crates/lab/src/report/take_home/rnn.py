class Network(nn.Module):
    def __init__(self):
        super().__init__()
        cell = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[CELL]
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.rnn = cell(WIDTH, HIDDEN, LAYERS, batch_first=True)
        self.logits = nn.Linear(HIDDEN, OUTPUTS)

    def states(self, x):
        """States of the last layer, where each layer begins with the last state of the layer below."""
        first = x.new_zeros(len(x), HIDDEN)
        for layer in range(LAYERS):
            w, u, b, c = [getattr(self.rnn, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            states = []
            for step in range(x.shape[1]):
                first = torch.tanh(functional.linear(x[:, step], w, b) + functional.linear(first, u, c))
                states.append(first)
            x = torch.stack(states, 1)
        return x

    def forward(self, ids):
        # What fills a sequence up moves no state.
        ids = ids if PADDING is None else ids[:, : int((ids != PADDING).sum())]
        x = self.embedding(ids)
        x = self.states(x) if PAPER_STACK else self.rnn(x)[0]
        if not EACH_POSITION:
            x = functional.relu(x[:, -1]) if PAPER_STACK else x[:, -1]
        return self.logits(x)
