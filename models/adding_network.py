"""A recurrent layer that reads a sequence and says one number at its end: what the adding problem is put to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.records import Form, InputSpec, OutputSpec


class Sum(nn.Module):
    """(N, T, 2) values and marks -> (N, 1), the sum of the marked ones as a simple recurrent layer remembers them."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The answer after the last step."""
        steps, _ = self.layer(x)
        return self._answer(steps)

    def step(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answer after the steps that came now, and the state to hand to the next ones; h is (N, width)."""
        steps, state = self.layer(x, h.unsqueeze(0))
        return self._answer(steps), state.squeeze(0)

    def _answer(self, steps: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(steps[:, -1])
        return answer


class CellSum(Sum):
    """The same with an LSTM, which hands on two states: h, what it says, and c, what it keeps; both (N, width)."""

    def step(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """The answer after the steps that came now, and both states to hand to the next ones."""
        steps, (said, kept) = self.layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return self._answer(steps), said.squeeze(0), kept.squeeze(0)


@torch.no_grad()
def remember(layer: Any, steps: int) -> None:
    """Start the gates of an LSTM so that its units forget within 1 to `steps` steps, each at a time of its own.

    The forget gate's bias becomes log(u), u uniform in [1, steps - 1], and the input gate's -log(u): a gate at
    1 / (1 + 1/u) halves what it holds in about u steps.

    Raises:
        ValueError: steps is less than 2.

    Source: Tallec & Ollivier 2018 (arXiv:1804.11188) sec. 2.
    """
    if steps < 2:
        raise ValueError(f"memory={steps}, and it must be 2 steps or more.")
    width = layer.hidden_size
    times = torch.empty(width).uniform_(1, max(steps - 1, 1)).log()
    layer.bias_ih_l0[:width].copy_(-times)
    layer.bias_ih_l0[width : 2 * width].copy_(times)
    layer.bias_hh_l0[: 2 * width].zero_()


SEQUENCE = InputSpec(name="x", dtype="float32", dims=("N", "T", 2))
SUM = OutputSpec(name="sum", dtype="float32", dims=("N", 1))
LICENCE = "Apache-2.0, as this project: trained on generated data"


def step(width: int, *states: str) -> Form:
    """The streaming form: the steps that came now and the states before them, to the answer and the states after."""
    return Form(
        method="step",
        inputs=(
            SEQUENCE,
            *(InputSpec(name=s, dtype="float32", dims=("N", width), state_of=f"{s}_out") for s in states),
        ),
        outputs=(SUM, *(OutputSpec(name=f"{s}_out", dtype="float32", dims=("N", width)) for s in states)),
    )
