"""Batch normalization's mean and variance, measured anew after the layers before it have changed."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn

from .feed import Feed, own_generators


@torch.no_grad()
def measure_statistics(network: nn.Module, feed: Feed, *, batches: int = 50) -> int:
    """Mean and variance of every batch normalization anew, averaged over batches to train on; gives how many.

    0 where the network has none. A layer whose parameters are frozen keeps its own.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    norms = [m for m in norms if m.weight is None or m.weight.requires_grad]
    if not norms:
        return 0
    home = next(network.parameters()).device
    momenta = [norm.momentum for norm in norms]
    network.to(feed.device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    feed = copy.copy(feed)
    with own_generators(feed.seed):
        for inputs, _ in itertools.islice(feed, min(batches, feed.batches_per_epoch())):
            network(*inputs.values())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.to(home).eval()
    return min(batches, feed.batches_per_epoch())
