"""The adding problem as its papers define it; and which network solves it."""

import numpy as np
import pytest
import torch

from models import find
from models.adding_network import remember
from models.adding_problem import BASELINE, LENGTHS, FreshSums, sums, task
from models.errors import DataError
from models.recurrent import PeepholeLSTM
from tests.models.test_zoo import runner_of, trained


def test_two_values_are_marked_one_in_each_half_and_their_sum_is_wanted():
    x, target = sums(500, 11, np.random.default_rng(0))
    assert x.shape == (500, 11, 2) and target.shape == (500, 1) and x.dtype == target.dtype == np.float32
    values, marks = x[..., 0], x[..., 1]
    assert set(np.unique(marks)) == {0, 1} and (0 <= values).all() and (values < 1).all()
    assert (marks[:, :5].sum(1) == 1).all() and (marks[:, 5:].sum(1) == 1).all()
    assert (marks.sum(0) > 0).all()  # any step may be marked
    np.testing.assert_allclose((values * marks).sum(1), target[:, 0], rtol=1e-6)


def test_always_the_mean_errs_by_twice_the_variance_of_a_uniform_number():
    made = task(batch_size=500)
    score = made.score(lambda arrays: {"sum": np.ones((len(arrays["x"]), 1), np.float32)})
    assert score.low < BASELINE < score.high
    assert (score.n, score.unit, score.higher_is_better) == (2000, "mean squared error", False)


def test_who_adds_makes_no_error():
    def adder(arrays):
        return {"sum": (arrays["x"][..., :1] * arrays["x"][..., 1:]).sum(1)}

    made = task(batch_size=500)
    assert made.score(adder).value < 1e-12
    assert made.score(adder, reference=adder).value == 1


def test_an_epoch_is_drawn_anew_and_repeats_by_its_numbers():
    data = FreshSums(rows=300, batch_size=16)
    first, again, other, seeded = (list(data.epoch(*at)) for at in ((0, 0), (0, 0), (1, 0), (0, 1)))
    assert len(first) == len(data) == 19 and sum(len(target) for _, target in first) == 300
    assert {inputs["x"].shape[1] for inputs, _ in first} <= set(LENGTHS)
    assert len({inputs["x"].shape[1] for inputs, _ in first}) > 1
    for (x, target), (same, wanted) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x["x"], same["x"])
        np.testing.assert_array_equal(target, wanted)
    for others in (other, seeded):
        assert not np.array_equal(first[0][1], others[0][1])
    assert data.target.shape == (300, 1) and len(data.with_batch_size(50)) == 6


def test_what_cannot_be_made_is_refused():
    with pytest.raises(DataError, match="length 1 asked; two numbers are marked"):
        sums(3, 1, np.random.default_rng(0))
    with pytest.raises(DataError, match="batch size 0 asked"):
        FreshSums(rows=3, batch_size=0)
    with pytest.raises(ValueError, match="memory=1, and it must be 2"):
        remember(PeepholeLSTM(2, 3), 1)


def test_gates_start_out_to_keep_from_one_step_to_all_of_them():
    layer = PeepholeLSTM(2, 400)
    remember(layer, 100)
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()
    i, f = torch.sigmoid(bias[:400]), torch.sigmoid(bias[400:800])
    torch.testing.assert_close(i + f, torch.ones(400))
    kept = 1 / i  # the mean time that a unit keeps what it holds
    assert 2 <= kept.min() < 5 and 90 < kept.max() <= 100


@pytest.mark.parametrize("name", ["rnn-adding", "lstm-adding", "lstm-peephole"])
def test_the_cell_remembers_and_the_simple_network_does_not(name):
    entry = find(name)
    score = entry.task(batch_size=250).score(runner_of(trained(entry), entry), "validation")
    assert (score.low > 0.1) if name == "rnn-adding" else (score.high < 0.01)


@pytest.mark.parametrize("name", ["rnn-adding", "lstm-adding", "lstm-peephole"])
def test_step_by_step_is_the_whole(name):
    entry = find(name)
    network, form = entry.tiny(), entry.forms["step"]
    x, _ = sums(3, 30, np.random.default_rng(0))
    states = {spec.name: np.zeros((3, 12), np.float32) for spec in form.inputs[1:]}
    run = runner_of(network, entry, form)
    for part in np.split(x, [1, 2, 20], axis=1):
        found = run({"x": part, **states})
        states = {name: found[f"{name}_out"] for name in states}
    np.testing.assert_allclose(found["sum"], runner_of(network, entry)({"x": x})["sum"], atol=1e-6)
