"""Which optimizer, on which parameters, at which rate in which step."""

from __future__ import annotations

import math

import torch
from torch import nn

from models.records import Training


def learning_rate(step: int, steps: int, training: Training) -> float:
    """The rate of step 0, 1, ..., steps - 1.

    Linear from rate / w to the rate over the first w = warmup * steps steps; then constant, or half a cosine to zero
    (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5 without restarts), which the step after the last would reach.
    """
    warm = round(training.warmup * steps)
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    if training.schedule == "constant":
        return training.learning_rate
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9; weight decay on matrices and kernels only, not on biases and norms."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
