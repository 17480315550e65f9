"""A stage of a VGG-kind network: 3x3 convolutions of one width, each normalized and activated."""

from __future__ import annotations

from torch import nn

from models.variations import ACTIVATIONS, Activation


def vgg_stage(inputs: int, outputs: int, convolutions: int, activation: Activation) -> list[nn.Module]:
    """The layers in order, (N, inputs, H, W) -> (N, outputs, H, W); no biases, which a normalization would undo.

    Source: Simonyan & Zisserman 2014 (arXiv:1409.1556) sec. 2; normalization, Ioffe & Szegedy 2015 (arXiv:1502.03167).
    """
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            ACTIVATIONS[activation](),
        ]
        inputs = outputs
    return layers
