"""DS-CNN, the hand-designed keyword spotter of MLPerf Tiny: depthwise-separable convolutions on MFCC."""

from __future__ import annotations

import torch
from torch import nn

from models.fsdd import LABELS, PREPROCESS, task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


def _separable(width: int, activation: Activation) -> list[nn.Module]:
    return [
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.BatchNorm2d(width),
        ACTIVATIONS[activation](),
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        ACTIVATIONS[activation](),
    ]


class DSCNN(nn.Module):
    """(N, 1, 49, 10) features -> (N, classes) logits; a strided 10x4 convolution, then four separable ones."""

    def __init__(self, *, width: int, classes: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, (10, 4), stride=2, padding=(5, 1)),  # (N, 1, 49, 10) -> (N, width, 25, 5)
            nn.BatchNorm2d(width),
            ACTIVATIONS[activation](),
            *(layer for _ in range(4) for layer in _separable(width, activation)),
            nn.AdaptiveAvgPool2d(1),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each recording."""
        logits: torch.Tensor = self.head(self.dropout(self.features(x).flatten(1)))
        return logits


def build(
    *,
    width: int = 64,
    classes: int = 10,
    activation: Activation = "relu",
    initialization: Initialization = "kaiming",
    dropout: float = 0.2,
) -> nn.Module:
    """DS-CNN with random weights; `width` is that of every layer."""
    network = DSCNN(width=width, classes=classes, activation=activation, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="dscnn-fsdd",
    summary="Names the digit spoken in one second of sound; depthwise-separable by design.",
    section="Convolutional networks",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 1, 49, 10)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", 10)),),
    labels=LABELS,
    task=task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9900, low=0.9784, high=0.9954, n=600, unit="accuracy"),
    params=23_626,
    macs=2_656_640,
    paper="DS-CNN, Zhang et al. 2017 (arXiv:1711.07128), as in MLPerf Tiny (arXiv:2106.07597); here for 10 classes, "
    "with padding on both sides alike",
    licence="CC BY-SA 4.0: trained on the Free Spoken Digit Dataset (Z. Jackson and the speakers, CC BY-SA 4.0)",
    training=Training(learning_rate=4e-3, batch_size=64, epochs=60, average=0.99),
    typical={"N": 1},
)
