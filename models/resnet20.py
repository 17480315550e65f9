"""ResNet-20, the smallest residual network of the paper for CIFAR-10: nine blocks in three stages."""

from __future__ import annotations

import torch
from torch import nn

from models.cifar import LABELS, PREPROCESS, task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.residual import Block
from models.variations import ACTIVATIONS, Activation, Initialization, initialize

BLOCKS = 3  # of a stage; the paper's n, of 6 n + 2 layers


class ResNet20(nn.Module):
    """(N, 3, H, W) pixels -> (N, classes) logits.

    Shortcuts are of option B, a normalized 1x1 convolution where the shape changes. The paper's own for CIFAR-10 are of
    option A, zeros in place of the channels that are not there; these would tie the channels of each stage to those of
    the one before, and of stages tied together none could be pruned by itself.
    """

    def __init__(self, *, width: int, classes: int, activation: Activation) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = ACTIVATIONS[activation]()
        self.stage1 = _stage(width, width, stride=1, activation=activation)
        self.stage2 = _stage(width, 2 * width, stride=2, activation=activation)
        self.stage3 = _stage(2 * width, 4 * width, stride=2, activation=activation)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each image."""
        x = self.act(self.norm(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: torch.Tensor = self.head(self.pool(x).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, *, stride: int, activation: Activation) -> nn.Sequential:
    first = Block(inputs, outputs, stride=stride, activation=activation, bias=False)
    rest = [Block(outputs, outputs, stride=1, activation=activation, bias=False) for _ in range(BLOCKS - 1)]
    return nn.Sequential(first, *rest)


def build(
    *, width: int = 16, classes: int = 10, activation: Activation = "relu", initialization: Initialization = "kaiming"
) -> nn.Module:
    """ResNet-20 with random weights; `width` is that of the first stage."""
    network = ResNet20(width=width, classes=classes, activation=activation)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=4)


ENTRY = Entry(
    name="resnet20",
    summary="Names the thing on a small photograph; residual, nine blocks deep.",
    section="Convolutional networks",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 3, 32, 32)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", 10)),),
    labels=LABELS,
    task=task,
    data="cifar10_jpeg",
    preprocess=PREPROCESS,
    golden=Score(value=0.8726, low=0.8659, high=0.8790, n=10_000, unit="accuracy"),
    params=272_474,
    macs=40_813_184,
    paper="ResNet, He et al. 2015 (arXiv:1512.03385) sec. 4.2, n = 3; here with projections as shortcuts where the "
    "shape changes (option B of sec. 4.1), where the paper pads with zeros",
    licence="Apache-2.0; trained on CIFAR-10, whose licence is not stated (A. Krizhevsky 2009, Learning Multiple "
    "Layers of Features from Tiny Images)",
    training=Training(
        optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, clip_norm=0.0, batch_size=128, epochs=40, average=0.998
    ),
    typical={"N": 1},
)
