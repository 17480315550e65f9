import math

import pytest
import torch
from torch import nn

from compress.training.optimizer import learning_rate, make_optimizer
from models.records import Training


def test_the_cosine_is_the_papers_after_a_linear_warm_up():
    training = Training(learning_rate=0.8, schedule="cosine", warmup=0.2)
    rates = [learning_rate(step, 10, training) for step in range(10)]
    assert rates[:2] == [0.4, 0.8]
    # Loshchilov & Hutter eq. 5: half (1 + cos(pi t / T)), t counted from the end of the warm-up, T = 8
    assert rates[2:] == pytest.approx([0.4 * (1 + math.cos(math.pi * t / 8)) for t in range(8)])
    assert rates[6] == pytest.approx(0.4)  # half way down
    assert learning_rate(10, 10, training) == pytest.approx(0.0)


def test_a_constant_rate_is_constant_and_no_warm_up_starts_at_the_rate():
    training = Training(learning_rate=0.3, schedule="constant", warmup=0.0)
    assert {learning_rate(step, 7, training) for step in range(7)} == {0.3}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_positive_rates(steps):
    for schedule in ("cosine", "constant"):
        training = Training(schedule=schedule, warmup=0.5)
        assert all(learning_rate(step, steps, training) > 0 for step in range(steps))


def test_weight_decay_spares_biases_and_norms():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    decayed, spared = make_optimizer(network, Training(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2, 3, 3), (4, 3)]
    assert sum(p.numel() for p in spared["params"]) == 3 + 3 + 3 + 4


def test_one_step_of_sgd_is_nesterovs():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    optimizer = make_optimizer(network, Training(optimizer="sgd", learning_rate=0.1, weight_decay=0.0))
    for _ in range(2):  # the gradient of w^2 / 2 is w
        optimizer.zero_grad()
        (network.weight**2 / 2).sum().backward()
        optimizer.step()
    first = 2.0 - 0.1 * (1 + 0.9) * 2.0  # v = g; w -= rate * (g + 0.9 v)
    velocity = 0.9 * 2.0 + first
    torch.testing.assert_close(network.weight.item(), first - 0.1 * (first + 0.9 * velocity))
