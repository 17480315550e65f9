"""A small GRU that follows the tip of a finger, point by point, and names the gesture."""

from __future__ import annotations

from torch import nn

from models import frame_reader
from models.frame_reader import Reader
from models.gestures import LABELS, LICENCE, PREPROCESS, task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(
    *, width: int = 32, classes: int = 4, initialization: Initialization = "torch", dropout: float = 0.1
) -> nn.Module:
    """The reader with random weights; `width` is that of the state. Its activations are the cell's own."""
    network = Reader("gru", features=2, width=width, classes=classes, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="gru-gesture",
    summary="Names the gesture of a hand from the way a fingertip went; small, whole or point by point.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(frame_reader.frames(2),),
    outputs=(frame_reader.logits(4),),
    forms={"step": frame_reader.step(2, 4, 32)},
    labels=LABELS,
    task=task,
    data="hand_gesture",
    preprocess=PREPROCESS,
    golden=Score(value=0.9680, low=0.9556, high=0.9770, n=1061, unit="accuracy"),
    params=3_588,
    macs=52_352,
    paper="GRU, Cho et al. 2014 (arXiv:1406.1078); torch's variant, where the reset gate acts after the product",
    licence=LICENCE,
    training=Training(learning_rate=5e-3, epochs=30, average=0.99),
    typical={"N": 1, "T": 16},
)
