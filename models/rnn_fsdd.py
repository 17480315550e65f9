"""A simple recurrent network that reads MFCC frames, all at once or as they come, and names the digit spoken."""

from __future__ import annotations

from torch import nn

from models import frame_reader
from models.frame_reader import Reader
from models.fsdd import LABELS, LICENCE, PREPROCESS, frames_task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(
    *, width: int = 128, classes: int = 10, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The reader with random weights; `width` is that of the state. Its activation is tanh."""
    network = Reader("rnn", features=10, width=width, classes=classes, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="rnn-fsdd",
    summary="Names the digit spoken from as many frames as there are; the simplest recurrent cell.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(frame_reader.frames(10),),
    outputs=(frame_reader.logits(10),),
    forms={"step": frame_reader.step(10, 10, 128)},
    labels=LABELS,
    task=frames_task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9683, low=0.9511, high=0.9796, n=600, unit="accuracy"),
    params=19210,
    macs=354560,
    paper="Simple recurrent network, Elman 1990, doi:10.1207/s15516709cog1402_1",
    licence=LICENCE,
    training=Training(learning_rate=2e-3, batch_size=32, epochs=60, average=0.99),
    typical={"N": 1, "T": 20},
)
