"""ResNet-8, the image classifier of MLPerf Tiny: three residual stages on 32x32 photographs."""

from __future__ import annotations

import torch
from torch import nn

from models.cifar import LABELS, PREPROCESS, task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.residual import Block
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


class ResNet8(nn.Module):
    """(N, 3, H, W) pixels -> (N, classes) logits."""

    def __init__(self, *, width: int, classes: int, activation: Activation) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = ACTIVATIONS[activation]()
        self.stage1 = Block(width, width, stride=1, activation=activation, bias=True)
        self.stage2 = Block(width, 2 * width, stride=2, activation=activation, bias=True)
        self.stage3 = Block(2 * width, 4 * width, stride=2, activation=activation, bias=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each image."""
        x = self.act(self.norm(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: torch.Tensor = self.head(self.pool(x).flatten(1))
        return logits


def build(
    *, width: int = 16, classes: int = 10, activation: Activation = "relu", initialization: Initialization = "kaiming"
) -> nn.Module:
    """ResNet-8 with random weights; `width` is that of the first stage."""
    network = ResNet8(width=width, classes=classes, activation=activation)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="resnet8",
    summary="Names the thing on a small photograph; residual, MLPerf Tiny's own.",
    section="Convolutional networks",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 3, 32, 32)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", 10)),),
    labels=LABELS,
    task=task,
    data="cifar10_jpeg",
    preprocess=PREPROCESS,
    golden=Score(value=0.8232, low=0.8156, high=0.8306, n=10_000, unit="accuracy"),
    params=78_186,
    macs=12_501_632,
    paper="ResNet, He et al. 2015 (arXiv:1512.03385), cut to 8 layers as in MLPerf Tiny (arXiv:2106.07597), whose "
    "convolutions have biases and whose shortcuts are not normalized; here padding is on both sides alike",
    licence="Apache-2.0; trained on CIFAR-10, whose licence is not stated (A. Krizhevsky 2009, Learning Multiple "
    "Layers of Features from Tiny Images)",
    training=Training(learning_rate=4e-3, weight_decay=2e-2, batch_size=64, epochs=30, average=0.998),
    typical={"N": 1},
)
