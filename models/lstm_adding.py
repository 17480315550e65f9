"""A long short-term memory before the adding problem: its cell carries a number over hundreds of steps."""

from __future__ import annotations

from torch import nn

from models.adding_network import LICENCE, SEQUENCE, SUM, CellSum, remember, step
from models.adding_problem import task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(*, width: int = 64, memory: int = 400, initialization: Initialization = "torch") -> nn.Module:
    """The network with random weights; `memory` is the longest time, in steps, that its gates start out to keep."""
    layer = nn.LSTM(2, width, batch_first=True)
    network = CellSum(layer, width)
    remember(layer, memory)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="lstm-adding",
    summary="Adds two marked numbers of 200; its cell remembers.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(SEQUENCE,),
    outputs=(SUM,),
    forms={"step": step(64, "h", "c")},
    task=task,
    data="adding",
    golden=Score(value=0.00067, low=0.00059, high=0.00076, n=2000, unit="mean squared error", higher_is_better=False),
    params=17_473,
    macs=3_379_264,
    paper="LSTM, Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate, Gers et al. 2000",
    licence=LICENCE,
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=32, epochs=10, average=0.99),
    typical={"N": 1, "T": 200},
)
