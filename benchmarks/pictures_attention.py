"""Pictures of attention: which characters a network looks back at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from models import WEIGHTS, find
from models.shakespeare import encode

LINE = "ROMEO:\nWhat shall I swear by?\n"


def reading_back(name: str, path: Path) -> None:
    """The attention of each head of the first and the last block over one line, with the network's own weights."""
    network: Any = find(name).build()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS / f"{name}.safetensors").items()})
    ids = torch.from_numpy(encode(LINE))[None]
    seen: list[torch.Tensor] = []
    blocks = list(network.blocks)
    for block in (blocks[0], blocks[-1]):
        block.attention.register_forward_pre_hook(lambda layer, given: seen.append(_weights(layer, given[0])))
    with torch.no_grad():
        network(ids)
    heads = seen[0].shape[0]
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    letters = [c if c != "\n" else "¶" for c in LINE]
    for row, (where, maps) in enumerate(zip(("first block", "last block"), seen, strict=True)):
        for head in range(heads):
            axes = figure.add_subplot(2, heads, row * heads + head + 1)
            axes.imshow(maps[head].numpy(), cmap="magma_r", vmin=0, vmax=1)
            axes.set_title(f"{where}, head {head + 1}", fontsize=9)
            axes.set_xticks(np.arange(len(letters)), letters, fontsize=5)
            axes.set_yticks(np.arange(len(letters)), letters, fontsize=5)
    figure.savefig(path, dpi=90)


def _weights(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """softmax(QK^T / sqrt(size)) of one sequence, (heads, T, T), each row over itself and what came before."""
    heads, size = layer.heads, layer.size
    query, key = (part(x)[0].unflatten(-1, (heads, size)).transpose(0, 1) for part in (layer.query, layer.key))
    scores = query @ key.transpose(1, 2) / size**0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    attended: torch.Tensor = scores.masked_fill(later, -torch.inf).softmax(-1)
    return attended
