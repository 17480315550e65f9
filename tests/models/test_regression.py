"""The score of numbers that are given: closed forms, and what is refused."""

import numpy as np
import pytest
import torch

from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import paired_difference
from models.regression import Regression


def made(target, tolerance=0.1):
    target = np.asarray(target, np.float32)
    data = ArrayBatches(inputs={"x": np.zeros((len(target), 1), np.float32)}, target=target, batch_size=len(target))
    return Regression(name="numbers", train=data, validation=data, test=data, tolerance=tolerance)


def answers(values):
    return lambda arrays: {"y": np.asarray(values, np.float32)}


def test_the_mean_of_the_squared_errors():
    task = made([[0, 0], [1, 1], [2, 2]])
    score = task.score(answers([[0, 0], [1, 3], [5, 2]]))
    np.testing.assert_allclose(score.samples, [0, 2, 4.5])
    assert score.value == pytest.approx(6.5 / 3) and score.low <= score.value <= score.high
    assert not score.higher_is_better and not score.is_fraction
    loss = task.loss({"y": torch.tensor([[0.0, 0], [1, 3], [5, 2]])}, torch.tensor([[0.0, 0], [1, 1], [2, 2]]))
    assert loss.item() == pytest.approx(score.value)
    better = task.score(answers([[0, 0], [1, 1], [5, 2]]))
    assert paired_difference(task, score, better)[0] == pytest.approx(-2 / 3)


def test_with_a_reference_it_is_the_share_answered_alike():
    task = made([[0], [0], [0], [0]])
    score = task.score(answers([[1], [2], [3], [np.nan]]), reference=answers([[1.05], [2.2], [2.95], [4]]))
    np.testing.assert_array_equal(score.samples, [1, 0, 1, 0])
    assert (score.value, score.unit, score.higher_is_better) == (0.5, "agreement", True)


def test_no_number_is_the_worst_answer():
    assert made([[0], [0]]).score(answers([[np.nan], [0]])).value == np.inf


def test_shapes_that_would_spread_and_whole_numbers_are_refused():
    with pytest.raises(DataError, match=r"the model gives \(2,\), and \(2, 1\) is wanted"):
        made([[0], [0]]).score(answers([0, 0]))
    whole = ArrayBatches(inputs={"x": np.zeros((2, 1), np.float32)}, target=np.array([0, 1]))
    with pytest.raises(DataError, match="targets of train are int64; floating-point numbers are needed"):
        Regression(name="numbers", train=whole, validation=whole, test=whole, tolerance=0.1)
