"""A VGG-kind keyword spotter: dense 3x3 convolutions on one second of MFCC. The large teacher of the demo."""

from __future__ import annotations

import torch
from torch import nn

from models.fsdd import LABELS, PREPROCESS, task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.variations import Activation, Initialization, initialize
from models.vgg_stage import vgg_stage


class CNN(nn.Module):
    """(N, 1, 49, 10) features -> (N, classes) logits; three stages of 2, 2 and 3 convolutions."""

    def __init__(self, *, width: int, classes: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *vgg_stage(1, width, 2, activation),
            nn.MaxPool2d(2),
            *vgg_stage(width, 2 * width, 2, activation),
            nn.MaxPool2d(2),
            *vgg_stage(2 * width, 4 * width, 3, activation),
            nn.AdaptiveAvgPool2d(1),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each recording."""
        logits: torch.Tensor = self.head(self.dropout(self.features(x).flatten(1)))
        return logits


def build(
    *,
    width: int = 32,
    classes: int = 10,
    activation: Activation = "relu",
    initialization: Initialization = "kaiming",
    dropout: float = 0.2,
) -> nn.Module:
    """The spotter with random weights; `width` is that of the first stage."""
    network = CNN(width=width, classes=classes, activation=activation, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="cnn-fsdd",
    summary="Names the digit spoken in one second of sound; dense convolutions.",
    section="Convolutional networks",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 1, 49, 10)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", 10)),),
    labels=LABELS,
    task=task,
    data="fsdd",
    preprocess=PREPROCESS,
    golden=Score(value=0.9933, low=0.9830, high=0.9974, n=600, unit="accuracy"),
    params=435_882,
    macs=20_141_120,
    paper="VGG's 3x3 stages, Simonyan & Zisserman 2014 (arXiv:1409.1556); here 7 convolutions with batch "
    "normalization, and the mean over time and frequency in place of the wide linear layers",
    licence="CC BY-SA 4.0: trained on the Free Spoken Digit Dataset (Z. Jackson and the speakers, CC BY-SA 4.0)",
    training=Training(learning_rate=2e-3, batch_size=64, epochs=25, average=0.99),
    typical={"N": 1},
)
