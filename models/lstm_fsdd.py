"""An LSTM that reads MFCC frames of any number, all at once or as they come, and names the digit spoken."""

from __future__ import annotations

from torch import nn

from models import frame_reader
from models.frame_reader import CellReader
from models.fsdd import LABELS, LICENCE, PREPROCESS, frames_task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(
    *, width: int = 128, classes: int = 10, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The reader with random weights; `width` is that of either state. Its activations are the cell's own."""
    network = CellReader(features=10, width=width, classes=classes, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="lstm-fsdd",
    summary="Names the digit spoken from as many frames as there are; two states, one to say and one to keep.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(frame_reader.frames(10),),
    outputs=(frame_reader.logits(10),),
    forms={"step": frame_reader.step(10, 10, 128, ("h", "c"))},
    labels=LABELS,
    task=frames_task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9933, low=0.9830, high=0.9974, n=600, unit="accuracy"),
    params=72970,
    macs=1414400,
    paper="LSTM, Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate, Gers et al. 2000",
    licence=LICENCE,
    training=Training(learning_rate=4e-3, batch_size=32, epochs=60, average=0.99),
    typical={"N": 1, "T": 20},
)
