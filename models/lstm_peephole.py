"""A long short-term memory whose gates see the cell, before the adding problem."""

from __future__ import annotations

from torch import nn

from models.adding_network import LICENCE, SEQUENCE, SUM, CellSum, remember, step
from models.adding_problem import task
from models.records import Entry, Score, Training
from models.recurrent import PeepholeLSTM
from models.variations import Initialization, initialize


def build(*, width: int = 64, memory: int = 400, initialization: Initialization = "torch") -> nn.Module:
    """The network with random weights; `memory` is the longest time, in steps, that its gates start out to keep."""
    layer = PeepholeLSTM(2, width, batch_first=True)
    network = CellSum(layer, width)
    remember(layer, memory)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="lstm-peephole",
    summary="Adds two marked numbers of 200; its gates see what the cell remembers.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(SEQUENCE,),
    outputs=(SUM,),
    forms={"step": step(64, "h", "c")},
    task=task,
    data="adding",
    golden=Score(value=0.00133, low=0.00122, high=0.00144, n=2000, unit="mean squared error", higher_is_better=False),
    params=17_665,
    macs=3_379_264,
    paper="peephole connections, Gers, Schraudolph & Schmidhuber 2002 (JMLR 3) sec. 3",
    licence=LICENCE,
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=32, epochs=10, average=0.99),
    typical={"N": 1, "T": 200},
)
