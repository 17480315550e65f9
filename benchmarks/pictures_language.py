"""Pictures of language models: what they expected, and how much each word or character of a text surprised them."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from safetensors.torch import load_file

from models import WEIGHTS, find
from models.dialogues import vocabulary
from models.shakespeare import VOCABULARY, encode
from models.tasks import Array
from models.vocabulary import EOS, tokenized

UTTERANCES = (
    "I would like to book a table for two at an Italian restaurant in Oakland.",
    "Is there a bus from Sacramento to San Francisco on Monday?",
    "Your reservation is confirmed. Is there anything else I can help you with?",
    "Please confirm: you want to buy 3 tickets for the event on March 8th.",
)
VERSES = "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n"
_MOST_BITS = 10.0


def surprise(name: str, path: Path) -> None:
    """A text whose words or characters are the darker the less they were expected, with the best guess below each."""
    if name == "lm-word":
        words = vocabulary()
        lines = [_judged(name, words.encode(tokenized(said), begin=True, end=True)) for said in UTTERANCES]
        names = [word if i != EOS else "end" for i, word in enumerate(words.words)]
    else:
        ids = encode(VERSES)
        bits, guesses = _judged(name, ids)[1:]
        ends = [0, *(np.flatnonzero(ids[1:] == VOCABULARY.index("\n")) + 1)]
        lines = [(ids[1:][a:b], bits[a:b], guesses[a:b]) for a, b in pairwise(ends)]
        names = [{"\n": "¶", " ": "␣"}.get(letter, letter) for letter in VOCABULARY]
    _draw([[(names[i], bits, names[j]) for i, bits, j in zip(*line, strict=True)] for line in lines], path)


def _judged(name: str, ids: Array) -> tuple[Array, Array, Array]:
    """All tokens but the first, the bits each costs, and which was expected in its place."""
    network: Any = find(name).build()
    network.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS / f"{name}.safetensors").items()})
    with torch.no_grad():
        bits = -network(torch.from_numpy(ids[None, :-1]))[0].log_softmax(-1).numpy() / math.log(2)
    return ids[1:], bits[np.arange(len(bits)), ids[1:]], bits.argmin(1)


def _draw(lines: list[list[tuple[str, float, str]]], path: Path) -> None:
    """Boxes as wide as their longer text, line below line."""
    figure = Figure(figsize=(11, 0.75 * len(lines) + 0.5), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["YlOrRd"]
    widest = 0.0
    for row, line in enumerate(lines):
        x = 0.0
        for token, bits, guess in line:
            width = max(len(token), 0.75 * len(guess), 1) + 0.8
            dark = bits > 0.6 * _MOST_BITS
            axes.add_patch(_box(x, -row, width, colours(min(bits, _MOST_BITS) / _MOST_BITS)))
            axes.text(
                x + width / 2, -row + 0.62, token, ha="center", va="center", fontsize=9, color="w" if dark else "k"
            )
            axes.text(x + width / 2, -row + 0.14, guess, ha="center", va="center", fontsize=6, color="#606060")
            x += width
        widest = max(widest, x)
    axes.set(xlim=(0, widest), ylim=(1 - len(lines), 1.05))
    axes.axis("off")
    figure.savefig(path, dpi=100)


def _box(x: float, y: float, width: float, colour: Any) -> Rectangle:
    return Rectangle((x + 0.1, y + 0.32), width - 0.2, 0.62, facecolor=colour, edgecolor="none")
