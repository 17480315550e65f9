import math

import numpy as np
import pytest
import torch

from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import wilson
from models.tagging import BinaryTagging


def tagging(target, **options):
    batches = ArrayBatches(inputs={"x": np.zeros((len(target), 1), np.float32)}, target=target, batch_size=3)
    return BinaryTagging(name="made", train=batches, validation=batches, test=batches, **options)


def answering(logits):
    """A runner that gives these rows, a batch of three after the other."""
    parts = iter(np.split(logits, range(3, len(logits), 3)))
    return lambda inputs: {"logits": next(parts)}


def test_a_row_counts_only_when_every_bit_is_right():
    target = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])
    logits = np.array([[-1.0, 2], [3, -0.1], [-5, 0], [1, -1]])
    score = tagging(target, unit="sums right").score(answering(logits))
    assert score.samples.tolist() == [1, 0, 1, 1] and score.value == 0.75
    assert (score.low, score.high) == wilson(3, 4) and score.unit == "sums right" and score.is_fraction


def test_agreement_is_with_the_reference():
    target = np.zeros((4, 2), int)
    mine, theirs = np.array([[1.0, 1], [1, -1], [-1, -1], [2, 3]]), np.array([[5.0, 2], [1, 1], [-1, -2], [-1, 3]])
    score = tagging(target).score(answering(mine), reference=answering(theirs))
    assert score.unit == "agreement" and score.samples.tolist() == [1, 0, 1, 0]


def test_a_logit_that_is_no_number_is_a_wrong_bit():
    target = np.zeros((2, 2), int)
    score = tagging(target).score(answering(np.array([[-1, np.nan], [-1, -1]])))
    assert score.samples.tolist() == [0, 1]


def test_the_loss_of_no_opinion_is_one_bit():
    loss = tagging(np.ones((2, 3), int)).loss({"y": torch.zeros(2, 3)}, torch.ones(2, 3, dtype=torch.int64))
    assert loss.item() == pytest.approx(math.log(2))


def test_resampled_shares_are_those_of_the_rows_drawn():
    task = tagging(np.ones((3, 2), int))
    rows = np.array([1.0, 0, 1])
    assert task.statistics(rows, np.array([[3, 0, 0], [0, 3, 0], [1, 1, 1]])).tolist() == [1, 0, 2 / 3]
    assert task.statistic(rows) == 2 / 3


def test_what_is_no_bit_is_refused():
    with pytest.raises(DataError, match=r"task 'made': targets of train hold \[2\]; a bit at each step, 0 or 1"):
        tagging(np.array([[0, 2]]))
