"""Less dropout while a teacher teaches; afterwards the network has its own rates again."""

import pytest
import torch
from torch import nn

from compress.training.dropout import dropping
from compress.training.settings import Recovery
from models.errors import UsageError


def network():
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.4), nn.LSTM(8, 8, num_layers=2, dropout=0.2), nn.Identity())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_each_rate_is_that_share_of_its_own_and_comes_back(share):
    net = network()
    with pytest.raises(RuntimeError, match="stopped"), dropping(net, share):
        assert net[1].p == pytest.approx(0.4 * share)
        assert net[2].dropout == pytest.approx(0.2 * share)
        raise RuntimeError("stopped")
    assert (net[1].p, net[2].dropout) == (0.4, 0.2)


def test_with_none_of_it_training_is_the_same_twice():
    net, x = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).train(), torch.ones(4, 8)
    with dropping(net, 0.0):
        assert torch.equal(net(x), net(x))
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(UsageError, match=r"dropout=.* from 0 to 1"):
        Recovery(dropout=share)
