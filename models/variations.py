"""The choices every reference model offers as options of its builder: an activation, and how weights start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

Activation = Literal["relu", "relu6", "silu", "gelu", "hardswish"]
Initialization = Literal["kaiming", "xavier", "orthogonal", "torch"]

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
}


def initialize(network: nn.Module, how: Initialization) -> None:
    """Start the weights of all convolutions and linear layers over, and set their biases to zero.

    "torch" leaves everything as torch made it; layers of other kinds are always left alone.

    Source: "kaiming", He et al. 2015 (arXiv:1502.01852) eq. 10, fan out; "xavier", Glorot & Bengio 2010 eq. 16;
    "orthogonal", Saxe et al. 2014 (arXiv:1312.6120).
    """
    if how == "torch":
        return
    for module in network.modules():
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        if how == "kaiming":
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif how == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
