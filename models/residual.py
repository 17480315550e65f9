"""The residual block of the image classifiers: two 3x3 convolutions beside a shortcut."""

from __future__ import annotations

import torch
from torch import nn

from models.variations import ACTIVATIONS, Activation


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; (N, in, H, W) -> (N, out, H/stride, W/stride).

    The shortcut is the identity, or where the shape changes a 1x1 convolution (option B of the paper).

    Args:
        bias: convolutions with a bias and a shortcut that is not normalized, as in MLPerf Tiny; without, every
            convolution is normalized, as in the paper.

    Source: He et al. 2015 (arXiv:1512.03385) sec. 3.3 and fig. 2; MLPerf Tiny (arXiv:2106.07597).
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, activation: Activation, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.act1 = ACTIVATIONS[activation]()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else _projection(inputs, outputs, stride=stride, bias=bias)
        self.act2 = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the two convolutions give to the shortcut."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        joined: torch.Tensor = self.act2(y + self.shortcut(x))
        return joined


def _projection(inputs: int, outputs: int, *, stride: int, bias: bool) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias)
    return conv if bias else nn.Sequential(conv, nn.BatchNorm2d(outputs))
