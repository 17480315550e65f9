"""A GRU that adds two binary numbers of any length."""

from __future__ import annotations

from torch import nn

from models import adder
from models.addition import task
from models.records import Entry, Score, Training


def build(*, width: int = 16, initialization: adder.RecurrentInitialization = "torch", std: float = 0.1) -> nn.Module:
    """The adder with random weights; `std` is the deviation of the initialization "normal"."""
    network = adder.Adder(nn.GRU(2, width, batch_first=True), width)
    adder.start(network, initialization, std)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="gru-add",
    summary="Adds two binary numbers bit by bit; one state that two gates look after.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(adder.BITS,),
    outputs=(adder.LOGITS,),
    forms={"step": adder.step(16)},
    task=task,
    data="addition",
    golden=Score(value=1.0, low=0.9999, high=1.0, n=65_536, unit="sums right"),
    params=3 * (16 * 2 + 16 * 16 + 2 * 16) + 17,
    macs=9 * (3 * 16 * (2 + 16) + 16),
    paper="GRU, Cho et al. 2014 (arXiv:1406.1078); torch's variant, where the reset gate acts after the product",
    licence="Apache-2.0: trained on numbers made by this project",
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=64, epochs=4),
    typical={"N": 1, "T": 9},
)
