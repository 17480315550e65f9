"""How much of a network's own dropout stays while it recovers: a smaller network needs less, and a teacher replaces it.

Source: Han et al. 2015 (arXiv:1506.02626) sec. 3.2, dropout ratio adjustment; what remains was measured (`.settings`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from export.layers import DROPOUTS


@contextmanager
def dropping(network: nn.Module, share: float) -> Iterator[None]:
    """While in here each dropout of the network, those between recurrent layers too, drops that share of its rate."""
    rates = {layer: layer.p for layer in network.modules() if isinstance(layer, DROPOUTS)}
    between = {layer: layer.dropout for layer in network.modules() if isinstance(layer, nn.RNNBase)}
    try:
        for layer, rate in rates.items():
            layer.p = share * rate
        for recurrent, rate in between.items():
            recurrent.dropout = share * rate
        yield
    finally:
        for layer, rate in rates.items():
            layer.p = rate
        for recurrent, rate in between.items():
            recurrent.dropout = rate
