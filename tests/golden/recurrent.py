"""Writes recurrent.json: nn.RNN, nn.LSTM and nn.GRU as networks over tokens, by PyTorch in float64.

Needs torch, and only to write the file anew: python3 tests/golden/recurrent.py
Where examples have one label, sequences end with padding and are packed; the paper's stack hands a layer's last state to
the next one.
"""

import json
import pathlib

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from case import case, randomise

VOCABULARY, TIME, WIDTH, HIDDEN, LAYERS, PADDING = 7, 6, 3, 8, 2, 6
IDS = torch.tensor([[1, 2, 3, 0, 5, 4], [4, 4, 1, 0, 6, 6], [5, 6, 6, 6, 6, 6]])
LENGTHS = torch.tensor([6, 4, 1])


class Network(nn.Module):
    def __init__(self, kind, classes, packed, paper, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.rnn = getattr(nn, kind)(WIDTH, hidden, LAYERS, batch_first=True)
        self.logits = nn.Linear(hidden, classes)
        self.packed, self.paper, self.layers = packed, paper, []

    def stacked(self, x):
        """The authors' layers, with the parameters of the one nn.RNN."""
        h = None
        for layer in range(LAYERS):
            own = nn.RNN(x.shape[-1], HIDDEN, batch_first=True)
            for part in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]:
                delattr(own, f"{part}_l0")
                setattr(own, f"{part}_l0", getattr(self.rnn, f"{part}_l{layer}"))
            x, h = own(x, h)
        return x

    def forward(self, ids):
        x = self.embedding(ids)
        if self.packed:
            packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
            last = self.rnn(packed)[1]
            return self.logits((last[0] if isinstance(last, tuple) else last)[-1])
        return self.logits(self.stacked(x) if self.paper else self.rnn(x)[0])


def network(name, kind, packed=False, paper=False, hidden=HIDDEN):
    net = Network(kind, 2 if packed else 5, packed, paper, hidden)
    randomise(net)
    return case(name, net, lambda: net(IDS), IDS.flatten().tolist())


if __name__ == "__main__":
    torch.manual_seed(4)
    cases = [network(kind.lower(), kind) for kind in ("RNN", "LSTM", "GRU")]
    cases += [network(f"{kind.lower()}, one label", kind, packed=True) for kind in ("RNN", "LSTM", "GRU")]
    cases += [network("rnn, odd", "RNN", hidden=5), network("paper", "RNN", paper=True)]
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
