from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import models
from compress.training.gradient_over_time import first_recurrent, norms_over_time, one_step_at_a_time
from models.batches import ArrayBatches
from models.recurrent import PeepholeLSTM, SigmoidRNN
from models.tagging import BinaryTagging

LAYERS = {
    "rnn": lambda: nn.RNN(3, 5, batch_first=True),
    "time first": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 5, batch_first=True),
    "two levels": lambda: nn.GRU(3, 5, 2, batch_first=True),
    "sigmoid": lambda: SigmoidRNN(3, 5, batch_first=True),
    "peephole": lambda: PeepholeLSTM(3, 5),
}


def adding(rows=6, steps=7):
    rng = np.random.default_rng(0)
    batches = ArrayBatches(
        inputs={"bits": rng.integers(0, 2, (rows, steps, 2)).astype(np.float32)},
        target=rng.integers(0, 2, (rows, steps)),
        batch_size=rows,
    )
    return BinaryTagging(name="made", train=batches, validation=batches, test=batches)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_gradient_shrinks_or_grows_by_the_weights_factor_at_each_step(factor):
    entry, task = models.find("rnn-add"), adding()
    network = entry.build(width=4, activation="relu")
    with torch.no_grad():  # all units above 0, where ReLU is a straight line: dh_t/dh_{t-1} = factor * I
        for parameter in network.parameters():
            parameter.fill_(0.01)
        network.recurrent.weight_hh_l0.copy_(factor * torch.eye(4))
    found = norms_over_time(network, entry, task)
    assert found == pytest.approx([found[-1] * factor**back for back in range(6, -1, -1)], rel=1e-5)
    # at the last step |W_out| * |y - d| / T of each row, and W_out is 0.01 four times
    with torch.no_grad():
        inputs, target = next(iter(task.train))
        y = network(torch.from_numpy(inputs["bits"]))[:, -1].sigmoid().numpy()
    assert found[-1] == pytest.approx(0.02 * np.abs(y - target[:, -1]).mean() / 7, rel=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_that_runs_step_by_step_is_the_same_layer(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    x = torch.randn(4, 6, 3)

    def run():
        layer.zero_grad()
        sequence, last = layer(x)
        states = last if isinstance(last, tuple) else (last,)
        (sequence.square().sum() + sum(s.sum() for s in states)).backward()
        return [sequence.detach(), *(s.detach() for s in states), *(p.grad.clone() for p in layer.parameters())]

    whole = run()
    with one_step_at_a_time(layer) as states:
        torch.testing.assert_close(run(), whole)
    steps = 6 if getattr(layer, "batch_first", False) else 4
    assert len(states) == steps and all(h.grad.shape == h.shape for h in states)
    assert "forward" not in vars(layer)
    torch.testing.assert_close(run(), whole)


def test_a_classifier_sends_its_whole_error_back():
    entry = models.find("gru-fsdd")
    found = norms_over_time(entry.tiny(), entry, entry.task(batch_size=8))
    frames = next(iter(entry.task(batch_size=8).train))[0]["x"].shape[1]
    assert len(found) == frames and all(norm > 0 for norm in found)


def test_without_a_recurrent_layer_that_reads_one_way_there_is_nothing():
    both = nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 3, bidirectional=True))
    assert first_recurrent(both) is None and first_recurrent(nn.Linear(2, 2)) is None
    entry = models.find("rnn-add")
    assert norms_over_time(nn.Linear(2, 1), replace(entry), adding()) == ()
