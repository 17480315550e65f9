"""Two GRUs, one from each end, that read MFCC frames of any number and name the digit spoken."""

from __future__ import annotations

from torch import nn

from models import frame_reader
from models.frame_reader import BothWaysReader
from models.fsdd import LABELS, LICENCE, PREPROCESS, frames_task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(
    *, width: int = 96, classes: int = 10, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The reader with random weights; `width` is that of the state each way. Its activations are the cell's own."""
    network = BothWaysReader("gru", features=10, width=width, classes=classes, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="birnn-fsdd",
    summary="Names the digit spoken once it has ended; read from both ends.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(frame_reader.frames(10),),
    outputs=(frame_reader.logits(10),),
    labels=LABELS,
    task=frames_task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9917, low=0.9806, high=0.9964, n=600, unit="accuracy"),
    params=64138,
    macs=1223040,
    paper="Bidirectional network, Schuster & Paliwal 1997, doi:10.1109/78.650093; its cells are GRUs (arXiv:1406.1078)",
    licence=LICENCE,
    training=Training(learning_rate=4e-3, batch_size=32, epochs=60, average=0.99),
    typical={"N": 1, "T": 20},
)
