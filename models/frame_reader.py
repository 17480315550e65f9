"""Recurrent networks that read frames of any number, all at once or as they come, and name what they saw.

One architecture for the spoken digits and the gestures: a recurrent layer, and a linear head on its last state. The
layer's attribute is named for its cell, so that weights and reports say which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

from models.records import Form, InputSpec, OutputSpec

Cell = Literal["rnn", "lstm", "gru"]
LAYERS: Mapping[Cell, Callable[..., nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Reader(nn.Module):
    """(N, T, features) frames -> (N, classes) logits after the last of them; its state is h, (N, width)."""

    def __init__(self, cell: Cell, *, features: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.cell = cell
        self.add_module(cell, LAYERS[cell](features, width, batch_first=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits after the last frame, from silence."""
        frames, _ = self.get_submodule(self.cell)(x)
        return self._decide(frames)

    def step(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits after the frames that came now, and the state to hand to the next step."""
        frames, state = self.get_submodule(self.cell)(x, h.unsqueeze(0))
        return self._decide(frames), state.squeeze(0)

    def _decide(self, frames: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.dropout(frames[:, -1]))
        return logits


class CellReader(Reader):
    """The same with an LSTM, which hands two states on: h, what it says, and c, what it keeps; both (N, width)."""

    def __init__(self, *, features: int, width: int, classes: int, dropout: float) -> None:
        super().__init__("lstm", features=features, width=width, classes=classes, dropout=dropout)

    def step(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """Logits after the frames that came now, and both states to hand to the next step."""
        frames, (said, kept) = self.get_submodule(self.cell)(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return self._decide(frames), said.squeeze(0), kept.squeeze(0)


class BothWaysReader(nn.Module):
    """(N, T, features) frames -> (N, classes) logits: two layers, one from each end, and the mean of both over time.

    The second one begins with the last frame, so there is no answer before the end and no streaming form.

    Source: Schuster & Paliwal 1997, doi:10.1109/78.650093.
    """

    def __init__(self, cell: Cell, *, features: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.cell = cell
        self.add_module(cell, LAYERS[cell](features, width, batch_first=True, bidirectional=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for the whole sequence."""
        frames, _ = self.get_submodule(self.cell)(x)  # (N, T, 2 * width)
        logits: torch.Tensor = self.head(self.dropout(frames.mean(1)))
        return logits


def frames(features: int) -> InputSpec:
    """The input all of them take: as many frames as there are."""
    return InputSpec(name="x", dtype="float32", dims=("N", "T", features))


def logits(classes: int) -> OutputSpec:
    """The output all of them give."""
    return OutputSpec(name="logits", dtype="float32", dims=("N", classes))


def step(features: int, classes: int, width: int, states: tuple[str, ...] = ("h",)) -> Form:
    """The streaming form: the frames that came now and the states before them, to logits and the states after them."""
    return Form(
        method="step",
        inputs=(
            frames(features),
            *(InputSpec(name=s, dtype="float32", dims=("N", width), state_of=f"{s}_out") for s in states),
        ),
        outputs=(
            logits(classes),
            *(OutputSpec(name=f"{s}_out", dtype="float32", dims=("N", width)) for s in states),
        ),
    )
