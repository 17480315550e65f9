import pytest
import torch
from torch import nn

from compress.training.state import Average


def test_the_average_is_what_the_recursion_gives():
    network = nn.Linear(1, 1, bias=False)
    weights = [4.0, -1.0, 3.0, 0.5]
    nn.init.constant_(network.weight, 2.0)
    average = Average(network, 0.25)
    expected = 2.0
    for step, weight in enumerate(weights, 1):
        nn.init.constant_(network.weight, weight)
        average.update(step)
        decay = min(0.25, (1 + step) / (10 + step))  # 2/11, then 0.25
        expected = decay * expected + (1 - decay) * weight
    average.copy_into(network)
    assert network.weight.item() == pytest.approx(expected, rel=1e-6)


def test_constant_weights_are_their_own_average():
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    average = Average(network, 0.999)
    for step in range(1, 50):
        average.update(step)
    average.copy_into(network)
    torch.testing.assert_close(network.weight, before)


def test_running_statistics_are_averaged_and_counters_are_not():
    network = nn.BatchNorm1d(2)
    average = Average(network, 0.5)
    with torch.no_grad():
        network.running_mean.fill_(11.0)
        network.num_batches_tracked.fill_(7)
    average.update(1)
    average.copy_into(network)
    torch.testing.assert_close(network.running_mean, torch.full((2,), 11.0 * 9 / 11))
    assert network.num_batches_tracked.item() == 7


def test_no_decay_keeps_the_last_weights():
    network = nn.Linear(2, 2)
    average = Average(network, 0.0)
    nn.init.constant_(network.weight, 5.0)
    average.update(1)
    average.copy_into(network)
    assert (network.weight == 5.0).all()
