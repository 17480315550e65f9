"""A small VGG: six plain 3x3 convolutions on 32x32 photographs, nothing beside them that ties their widths."""

from __future__ import annotations

import torch
from torch import nn

from models.cifar import LABELS, PREPROCESS, task
from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.variations import Activation, Initialization, initialize
from models.vgg_stage import vgg_stage


class VGGSmall(nn.Module):
    """(N, 3, H, W) pixels -> (N, classes) logits; three stages of 2 convolutions."""

    def __init__(self, *, width: int, classes: int, activation: Activation) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *vgg_stage(3, width, 2, activation),
            nn.MaxPool2d(2),
            *vgg_stage(width, 2 * width, 2, activation),
            nn.MaxPool2d(2),
            *vgg_stage(2 * width, 4 * width, 2, activation),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each image."""
        logits: torch.Tensor = self.head(self.features(x).flatten(1))
        return logits


def build(
    *, width: int = 32, classes: int = 10, activation: Activation = "relu", initialization: Initialization = "kaiming"
) -> nn.Module:
    """The classifier with random weights; `width` is that of the first stage."""
    network = VGGSmall(width=width, classes=classes, activation=activation)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="vgg-small",
    summary="Names the thing on a small photograph; plain convolutions, one after another.",
    section="Convolutional networks",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="x", dtype="float32", dims=("N", 3, 32, 32)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", 10)),),
    labels=LABELS,
    task=task,
    data="cifar10_jpeg",
    preprocess=PREPROCESS,
    golden=Score(value=0.8673, low=0.8605, high=0.8738, n=10_000, unit="accuracy"),
    params=288_746,
    macs=38_634_752,
    paper="VGG's 3x3 stages, Simonyan & Zisserman 2014 (arXiv:1409.1556); here 6 convolutions with batch "
    "normalization, and the mean over the plane in place of the wide linear layers",
    licence="Apache-2.0; trained on CIFAR-10, whose licence is not stated (A. Krizhevsky 2009, Learning Multiple "
    "Layers of Features from Tiny Images)",
    training=Training(
        optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, clip_norm=0.0, batch_size=128, epochs=40, average=0.998
    ),
    typical={"N": 1},
)
