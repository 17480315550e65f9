"""A simple recurrent network before the adding problem, which it cannot solve: the error fades on the way back."""

from __future__ import annotations

from torch import nn

from models.adding_network import LICENCE, SEQUENCE, SUM, Sum, step
from models.adding_problem import task
from models.records import Entry, Score, Training
from models.variations import Initialization, initialize


def build(*, width: int = 64, initialization: Initialization = "torch") -> nn.Module:
    """The network with random weights; `width` is that of the state."""
    network = Sum(nn.RNN(2, width, batch_first=True), width)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


ENTRY = Entry(
    name="rnn-adding",
    summary="Shall add two marked numbers of 200 and cannot; the simplest recurrent cell forgets.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(SEQUENCE,),
    outputs=(SUM,),
    forms={"step": step(64, "h")},
    task=task,
    data="adding",
    golden=Score(value=0.1700, low=0.1615, high=0.1790, n=2000, unit="mean squared error", higher_is_better=False),
    params=4_417,
    macs=844_864,
    paper="Elman 1990, doi:10.1207/s15516709cog1402_1; why it fails, Bengio, Simard & Frasconi 1994, "
    "doi:10.1109/72.279181",
    licence=LICENCE,
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=32, epochs=10, average=0.99),
    typical={"N": 1, "T": 200},
)
