"""Writes bert.safetensors and bert.json: a small BERT of Hugging Face's, and what its layers give, in float64.

Needs torch, transformers and safetensors, and only to write the files anew: python3 tests/golden/bert.py
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

# Beside this file lies another one of that name.
folder = sys.path.pop(0)
from transformers import BertConfig, BertModel

sys.path.insert(0, folder)
from case import numbers

if __name__ == "__main__":
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=9, type_vocab_size=2, hidden_act="gelu", attn_implementation="eager",
    )
    model = BertModel(config).eval()
    for parameter in model.parameters():
        # Embeddings so small that ε of the first norm counts.
        parameter.data = (torch.randn(parameter.shape) * (0.01 if parameter.shape[0] in (11, 9, 2) else 0.3)).float().double()
    ids = torch.randint(11, (3, 6))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True).hidden_states
    here = pathlib.Path(__file__)
    tensors = {f"bert.{name}": value.float().contiguous() for name, value in model.state_dict().items()}
    # As of a model for masked words, whose head is not of the encoder.
    tensors["cls.predictions.bias"] = torch.zeros(11)
    save_file(tensors, here.with_suffix(".safetensors"), {"format": "pt"})
    text = json.dumps({"ids": ids.flatten().tolist(), "layers": [numbers(layer) for layer in out[1:]]})
    here.with_suffix(".json").write_text(text + "\n")
