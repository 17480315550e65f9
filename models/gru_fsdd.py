"""A GRU that reads MFCC frames of any number, all at once or as they come, and names the digit spoken."""

from __future__ import annotations

import torch
from torch import nn

from models.fsdd import LABELS, PREPROCESS, frames_task
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.variations import Initialization, initialize


class Reader(nn.Module):
    """(N, T, 10) frames -> (N, classes) logits after the last of them."""

    def __init__(self, *, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(10, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits after the last frame, from silence."""
        frames, _ = self.gru(x)
        logits: torch.Tensor = self.head(self.dropout(frames[:, -1]))
        return logits

    def step(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after the frames that came now, and the state to hand to the next step; h is (N, width)."""
        frames, state = self.gru(x, h.unsqueeze(0))
        return self.head(self.dropout(frames[:, -1])), state.squeeze(0)


def build(
    *, width: int = 128, classes: int = 10, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The reader with random weights; `width` is that of the state. Its activations are the cell's own."""
    network = Reader(width=width, classes=classes, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12)


FRAMES = InputSpec(name="x", dtype="float32", dims=("N", "T", 10))
LOGITS = OutputSpec(name="logits", dtype="float32", dims=("N", 10))

ENTRY = Entry(
    name="gru-fsdd",
    summary="Names the digit spoken from as many frames as there are; recurrent, whole or step by step.",
    section="Recurrent networks",
    build=build,
    tiny=tiny,
    inputs=(FRAMES,),
    outputs=(LOGITS,),
    forms={
        "step": Form(
            method="step",
            inputs=(FRAMES, InputSpec(name="h", dtype="float32", dims=("N", 128), state_of="h_out")),
            outputs=(LOGITS, OutputSpec(name="h_out", dtype="float32", dims=("N", 128))),
        )
    },
    labels=LABELS,
    task=frames_task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9933, low=0.9830, high=0.9974, n=600, unit="accuracy"),
    params=55_050,
    macs=1_061_120,
    paper="GRU, Cho et al. 2014 (arXiv:1406.1078); torch's variant, where the reset gate acts after the product",
    licence="CC BY-SA 4.0: trained on the Free Spoken Digit Dataset (Z. Jackson and the speakers, CC BY-SA 4.0)",
    training=Training(learning_rate=4e-3, batch_size=32, epochs=60, average=0.99),
    typical={"N": 1, "T": 20},
)
