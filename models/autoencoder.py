"""MLPerf Tiny's dense autoencoder, on digits it has seen all but one of: what it cannot draw again is an anomaly."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from models.mnist import anomaly_task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


class Autoencoder(nn.Module):
    """(N, pixels) -> (N, pixels), through four layers, a narrow code, and four layers."""

    def __init__(self, *, pixels: int, width: int, code: int, activation: Activation) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([pixels, *[width] * 4, code, *[width] * 4]):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, pixels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image drawn again."""
        drawn: torch.Tensor = self.head(self.layers(x))
        return drawn


def build(
    *,
    width: int = 128,
    code: int = 8,
    pixels: int = 784,
    activation: Activation = "relu",
    initialization: Initialization = "kaiming",
) -> nn.Module:
    """The autoencoder with random weights; `width` is that of the eight layers around the code."""
    network = Autoencoder(pixels=pixels, width=width, code=code, activation=activation)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=16)


ENTRY = Entry(
    name="autoencoder",
    summary="Draws a handwritten digit again; what it draws badly is an anomaly.",
    section="Autoencoders and generation",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 784)),),
    outputs=(OutputSpec(name="drawn", dtype="float32", dims=("N", 784)),),
    task=anomaly_task,
    data="mnist",
    golden=Score(value=0.9679, low=0.9635, high=0.9722, n=10_000, unit="AUC"),
    params=304_936,
    macs=301_056,
    paper="MLPerf Tiny's anomaly detector (arXiv:2106.07597), 640-128x4-8-128x4-640 on sound; here 784 pixels wide",
    licence="MIT (MNIST as packaged by S. Raschka; images by Y. LeCun, C. Cortes and C. Burges)",
    training=Training(learning_rate=2e-3, batch_size=128, epochs=20),
    typical={"N": 1},
)
