import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional as F

from models.batches import ArrayBatches
from models.errors import DataError
from models.intervals import bootstrap, paired_difference, wilson
from models.tasks import Classification, NextToken, Reconstruction


def same(kind, inputs, target, **options):
    batches = ArrayBatches(inputs={"x": inputs}, target=target, batch_size=7)
    return kind(name="made", train=batches, validation=batches, test=batches, **options)


def classes(rows=60, count=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((rows, count)).astype(np.float32)
    return logits, rng.integers(0, count, rows)


def as_is(inputs):
    return {"logits": inputs["x"]}


def test_wilson_interval_is_that_of_the_literature():
    # Newcombe 1998 (Stat. Med. 17:857), table I, method 3: 81 of 263, and 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_wilson_interval_holds_the_fraction_and_stays_within_0_and_1(n, share):
    hits = round(share * n)
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1


def test_bootstrap_of_a_mean_is_as_wide_as_the_normal_approximation():
    rows = np.random.default_rng(0).standard_normal(2000)
    low, high = bootstrap(lambda counts: counts @ rows / len(rows), len(rows))
    # 1000 resamples know the width of 2 * 1.96 * deviation / sqrt(n) to some percent
    assert high - low == pytest.approx(2 * 1.96 * rows.std() / math.sqrt(len(rows)), rel=0.15)
    assert low < rows.mean() < high


def test_accuracy_counts_the_right_rows_also_per_class():
    logits, target = classes()
    score = same(Classification, logits, target, labels=("a", "b", "c")).score(as_is)
    right = logits.argmax(1) == target
    assert score.value == right.mean() and score.n == 60 and score.unit == "accuracy" and score.higher_is_better
    assert (score.low, score.high) == wilson(right.sum(), 60)
    assert score.per_class == {name: right[target == i].mean() for i, name in enumerate("abc")}
    np.testing.assert_array_equal(score.samples, right)


def test_agreement_is_with_the_reference_and_not_with_the_labels():
    logits, target = classes()
    task = same(Classification, logits, target)
    score = task.score(as_is, reference=lambda inputs: {"y": -inputs["x"]})
    assert score.unit == "agreement"
    assert score.value == (logits.argmax(1) == logits.argmin(1)).mean() == 0
    assert task.score(as_is, reference=as_is).value == 1


def test_a_row_of_nan_is_a_wrong_row_even_where_the_answer_is_class_0():
    logits, target = classes()
    task = same(Classification, logits, np.zeros_like(target))
    assert task.score(lambda inputs: {"logits": np.full_like(inputs["x"], np.nan)}).value == 0


def test_the_judged_output_can_be_named():
    logits, target = classes()
    task = same(Classification, logits, target, output="second")
    assert (
        task.score(lambda inputs: {"first": -inputs["x"], "second": inputs["x"]}).value
        == (logits.argmax(1) == target).mean()
    )


def test_bits_of_a_uniform_predictor_are_log2_of_the_vocabulary():
    target = np.random.default_rng(0).integers(0, 65, (11, 8))
    score = same(NextToken, np.zeros((11, 8)), target).score(
        lambda inputs: {"logits": np.zeros((*inputs["x"].shape, 65), np.float32)}
    )
    assert score.value == pytest.approx(math.log2(65), rel=1e-12)
    assert (score.low, score.high) == pytest.approx((math.log2(65),) * 2)
    assert score.n == 88 and score.unit == "bits per character" and not score.higher_is_better


def test_bits_are_the_log_loss():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((11, 8, 5)).astype(np.float32)
    target = rng.integers(0, 5, (11, 8))
    score = same(NextToken, logits, target).score(as_is)
    independent = log_loss(target.ravel(), torch.from_numpy(logits).double().softmax(-1).flatten(0, 1)) / math.log(2)
    assert score.value == pytest.approx(independent, rel=1e-5)


def test_a_network_that_gives_no_numbers_needs_infinite_bits():
    task = same(NextToken, np.zeros((11, 8)), np.zeros((11, 8), np.int64))
    score = task.score(lambda inputs: {"logits": np.full((*inputs["x"].shape, 5), np.nan, np.float32)})
    assert score.value == score.low == score.high == math.inf


def test_agreement_on_tokens():
    logits = np.random.default_rng(0).standard_normal((11, 8, 5)).astype(np.float32)
    task = same(NextToken, logits, np.zeros((11, 8), np.int64))
    half = task.score(
        as_is, reference=lambda inputs: {"y": np.where(np.arange(8)[:, None] < 4, inputs["x"], -inputs["x"])}
    )
    assert half.value == 0.5 and half.higher_is_better and half.unit == "agreement"


def images(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((rows, 6)).astype(np.float32), np.arange(rows) % 4 // 3


def test_auc_is_the_share_of_ordered_pairs():
    inputs, is_anomaly = images()
    drawn = np.round(inputs, 1)  # ties are likely
    score = same(Reconstruction, inputs, is_anomaly).score(lambda inputs: {"drawn": np.round(inputs["x"], 1)})
    error = ((drawn.astype(np.float64) - inputs) ** 2).mean(1)
    odd, usual = error[is_anomaly == 1][:, None], error[is_anomaly == 0]
    assert score.value == pytest.approx(((odd > usual) + (odd == usual) / 2).mean(), rel=1e-12)
    assert score.low < score.value < score.high and score.unit == "AUC" and score.n == 40


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_auc_of_many_resamplings_at_once_is_that_of_each(data):
    n = data.draw(st.integers(2, 12))
    errors = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), float)
    kinds = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    inputs, is_anomaly = images()
    task = same(Reconstruction, inputs, is_anomaly)
    samples = np.stack([errors, kinds], axis=1)
    counts = np.random.default_rng(n).multinomial(n, [1 / n] * n, size=5)
    for value, count in zip(task.statistics(samples, counts), counts, strict=True):
        drawn = np.repeat(samples, count, axis=0)
        if len(np.unique(drawn[:, 1])) == 1:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(drawn[:, 1], drawn[:, 0]))


def test_flags_alike_are_counted_against_the_reference():
    inputs, is_anomaly = images()
    task = same(Reconstruction, inputs, is_anomaly)

    def ruined(inputs):
        return {"drawn": np.full_like(inputs["x"], np.nan)}

    def good(inputs):
        return {"drawn": np.round(inputs["x"], 1)}

    assert task.score(good, reference=good).value == 1
    assert task.score(ruined, reference=good).value < 1
    assert task.score(ruined).value == 0.5  # every row looks the same


def test_losses_are_torchs_own():
    logits, target = classes()
    task = same(Classification, logits, target)
    torch.testing.assert_close(
        task.loss({"y": torch.from_numpy(logits)}, torch.from_numpy(target)),
        -F.log_softmax(torch.from_numpy(logits), 1).gather(1, torch.from_numpy(target)[:, None]).mean(),
    )
    drawn, wanted = torch.rand(5, 6), torch.rand(5, 6)
    inputs, is_anomaly = images()
    torch.testing.assert_close(
        same(Reconstruction, inputs, is_anomaly).loss({"y": drawn}, wanted), ((drawn - wanted) ** 2).mean()
    )
    flat = torch.zeros(2, 3, 4)
    tokens = same(NextToken, np.zeros((3, 3)), np.zeros((3, 3), np.int64))
    assert tokens.loss({"y": flat}, torch.zeros(2, 3, dtype=torch.int64)).item() == pytest.approx(math.log(4))


def test_a_difference_is_known_better_than_its_parts():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 600)
    right = np.eye(2, dtype=np.float32)[target]
    shared = rng.random(600) < 0.2  # rows that both get wrong
    worse = shared.copy()
    worse[np.flatnonzero(~shared)[:6]] = True
    a = np.where(shared[:, None], 1 - right, right)
    b = np.where(worse[:, None], 1 - right, right)
    task = same(Classification, np.stack([a, b], axis=1), target)
    first = task.score(lambda inputs: {"y": inputs["x"][:, 0]})
    second = task.score(lambda inputs: {"y": inputs["x"][:, 1]})
    difference, low, high = paired_difference(task, first, second)
    assert difference == pytest.approx(-0.01)
    assert low < difference < high < 0 < first.high - first.low
    assert high - low < (first.high - first.low) / 2
    assert paired_difference(task, first, second) == (difference, low, high)  # the same draws
    assert paired_difference(task, first, first) == (0, 0, 0)


def test_a_task_that_knows_no_shortcut_gives_the_same_difference():
    logits, target = classes()
    task = same(Classification, logits, target)

    class Foreign:
        name, statistic = "foreign", staticmethod(task.statistic)

    a, b = task.score(as_is), task.score(lambda inputs: {"y": -inputs["x"]})
    assert paired_difference(Foreign(), a, b) == pytest.approx(paired_difference(task, a, b))


def test_scores_of_other_rows_have_no_paired_difference():
    few, many = (same(Classification, *classes(rows)) for rows in (10, 20))
    with pytest.raises(DataError, match=r"rows of shapes \(10,\) and \(20,\). Score both models on the same split"):
        paired_difference(few, few.score(as_is), many.score(as_is))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.array([0, 1, 3]), "labels of train run from 0 to 3; they must be 0 to 2"),
        (np.array([0, -1, 1]), "labels of train run from -1 to 1"),
        (np.array([0.0, 1.0, 1.0]), "labels of train are float64; whole numbers are needed"),
    ],
)
def test_refuses_labels_that_are_no_classes(target, message):
    with pytest.raises(DataError, match=message):
        same(Classification, np.zeros((3, 3)), target, labels=("a", "b", "c"))


def test_refuses_anomalies_of_one_kind_only():
    with pytest.raises(DataError, match=r"targets of validation are \[0\]; 0 \(usual\) and 1 \(anomaly\)"):
        same(Reconstruction, np.zeros((3, 3)), np.zeros(3, np.int64))
