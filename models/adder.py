"""Recurrent networks that add two binary numbers: two bits in, one bit of the sum out, the carry is in the state.

One architecture for `rnn-add`, `lstm-add` and `gru-add`: a recurrent layer, and a linear readout at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from models.records import Form, InputSpec, OutputSpec
from models.recurrent import SigmoidRNN

RecurrentInitialization = Literal["torch", "normal", "xavier", "kaiming", "orthogonal"]
Squash = Literal["tanh", "relu", "sigmoid"]


class Adder(nn.Module):
    """(N, T, 2) bits -> (N, T) logits of the sum's bits; its state is h, (N, width)."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent = layer
        self.head = nn.Linear(width, 1)

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        """Logits at every step, from a state of zeros: no carry."""
        states, _ = self.recurrent(bits)
        return self._read(states)

    def step(self, bits: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits for the bits that came now, and the state to hand to the next step."""
        states, last = self.recurrent(bits, h.unsqueeze(0))
        return self._read(states), last.squeeze(0)

    def _read(self, states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(states).squeeze(-1)
        return logits


class CellAdder(Adder):
    """The same with an LSTM, which hands two states on, h and c, both (N, width)."""

    def step(self, bits: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """Logits for the bits that came now, and both states to hand to the next step."""
        states, (said, kept) = self.recurrent(bits, (h.unsqueeze(0), c.unsqueeze(0)))
        return self._read(states), said.squeeze(0), kept.squeeze(0)


def simple(width: int, activation: Squash) -> nn.Module:
    """The simple recurrent layer: torch's own with tanh or ReLU, ours with the sigmoid."""
    if activation == "sigmoid":
        return SigmoidRNN(2, width, batch_first=True)
    return nn.RNN(2, width, nonlinearity=activation, batch_first=True)


def start(network: Adder, how: RecurrentInitialization, std: float) -> None:
    """Start all weight matrices over, each gate by itself, and set the biases to zero; "torch" leaves all as it was.

    Args:
        network: its recurrent layer's weights are (gates * width, in), gates one above the other.
        how: "normal" has the deviation `std`; "xavier" is uniform, Glorot & Bengio 2010 eq. 16; "kaiming" is normal
            with variance 2 / fan-in, He et al. 2015 (arXiv:1502.01852) eq. 10; "orthogonal" is that of Saxe et al. 2014
            (arXiv:1312.6120).
        std: for "normal" alone.
    """
    if how == "torch":
        return
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "normal": lambda weight: nn.init.normal_(weight, std=std),
        "xavier": nn.init.xavier_uniform_,
        "kaiming": nn.init.kaiming_normal_,
        "orthogonal": nn.init.orthogonal_,
    }
    width = network.head.in_features
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
        else:
            for gate in parameter.data.split(width):  # the head's single row is one of its own
                ways[how](gate)


BITS = InputSpec(name="bits", dtype="float32", dims=("N", "T", 2))
LOGITS = OutputSpec(name="logits", dtype="float32", dims=("N", "T"))


def step(width: int, states: tuple[str, ...] = ("h",)) -> Form:
    """The streaming form: the bits that came now and the states before them, to logits and the states after them."""
    return Form(
        method="step",
        inputs=(
            BITS,
            *(InputSpec(name=s, dtype="float32", dims=("N", width), state_of=f"{s}_out") for s in states),
        ),
        outputs=(LOGITS, *(OutputSpec(name=f"{s}_out", dtype="float32", dims=("N", width)) for s in states)),
    )
