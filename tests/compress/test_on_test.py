"""The score that a command tells is of the split by which nothing was chosen, and is paired by its rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from compress.on_test import OnTest, score_on_test
from compress.own_arrays import task_of
from export.to_onnx import to_onnx
from export.wrap import Model
from models.records import Score
from tests.compress.small_tasks import CountingTask, digits


def constant(digit):
    """Answers one digit, whatever it sees."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.eye(10)[digit])
    return replace(
        Model(net, inputs=["x:float32[N,1,8,8]"], name="net"), sample={"x": np.zeros((64, 1, 8, 8), np.float32)}
    )


@pytest.mark.parametrize("crossed", [False, True])
def test_the_scores_are_the_shares_of_the_digits_on_test_and_their_difference(crossed):
    task = CountingTask()
    target = np.concatenate([target for _, target in task.task.test])
    three, five = ((target == digit).mean() for digit in (3, 5))
    told = score_on_test(task, constant(3), to_onnx(constant(5)) if crossed else constant(5))
    assert set(task.scored) == {"test"}
    assert (told.before.value, told.after.value) == pytest.approx((three, five))
    assert told.drop == pytest.approx(three - five)
    assert told.drop_low < told.drop < told.drop_high
    assert f"{five:.4g} on test, {three:.4g} before ({five - three:+.3g}, " in told.text
    assert told.text.endswith(f"; {len(target)} samples)")


def test_the_same_network_loses_nothing_and_no_zero_has_a_sign():
    told = score_on_test(digits(), constant(3), constant(3))
    assert "(+0, +0 to +0; " in told.text


def test_a_network_that_does_no_better_than_one_class_is_told():
    target = np.concatenate([target for _, target in digits().test])
    counts = np.bincount(target)
    most, least = int(counts.argmax()), int(counts.argmin())
    told = score_on_test(digits(), constant(least), constant(least))
    assert f"accuracy {counts[least] / len(target):.4g} on test" in told.doubt
    assert f"would have {counts[most] / len(target):.4g}" in told.doubt
    assert score_on_test(digits(), constant(most), constant(most)).doubt != ""


def test_a_network_that_knows_more_is_not():
    class Knows(torch.nn.Module):
        """Of the mean of each digit, which is the nearest."""

        def __init__(self):
            super().__init__()
            batches = list(digits().train)
            x = np.concatenate([inputs["x"] for inputs, _ in batches]).reshape(-1, 64)
            y = np.concatenate([target for _, target in batches])
            self.middles = torch.nn.Parameter(torch.from_numpy(np.stack([x[y == d].mean(0) for d in range(10)])))

        def forward(self, x):
            return -torch.cdist(x.flatten(1), self.middles)

    model = Model(Knows().eval(), inputs=["x:float32[N,1,8,8]"])
    told = score_on_test(digits(), model, model)
    assert told.before.value > 0.7 and told.doubt == ""


def test_more_points_than_allowed_are_told():
    counts = np.bincount(np.concatenate([target for _, target in digits().test]))
    better, worse = constant(int(counts.argmax())), constant(int(counts.argmin()))
    told = score_on_test(digits(), better, worse)
    lost = 100 * (counts.max() - counts.min()) / counts.sum()
    assert lost > 0 and f"loses {lost:.2f} points, and 0 were allowed" in told.beyond(0.0)
    assert told.beyond(lost + 0.01) == "" and score_on_test(digits(), worse, better).beyond(0.0) == ""


def test_without_labels_the_noise_is_told_beside_the_decisions():
    """The largest of four numbers stays, and the numbers do not."""

    def layer(noise):
        net = torch.nn.Linear(8, 4, bias=False)
        with torch.no_grad():
            net.weight.copy_(torch.eye(4, 8) + noise)
        return Model(net.eval(), inputs=["x:float32[N,8]"])

    x = np.eye(8, dtype=np.float32)[np.arange(80) % 4] * 100
    task = task_of({"x": x}, None, layer(0.0), source="d.npz")
    told = score_on_test(task, layer(0.0), layer(0.1))
    assert told.after.value == 1.0
    test = np.concatenate([inputs["x"] for inputs, _ in task.test])
    wanted, found = (test @ (np.eye(4, 8) + noise).T for noise in (0.0, 0.1))
    power = np.mean((wanted - wanted.mean(0)) ** 2)
    assert told.text.endswith(f", outputs at {10 * np.log10(power / np.mean((found - wanted) ** 2)):.1f} dB")
    assert "outputs at" not in score_on_test(task, layer(0.0), layer(0.0)).text


@pytest.mark.parametrize(("flipped", "warned"), [(0, False), (1, False), (2, True)])
def test_a_single_row_of_few_is_no_more_than_a_point(flipped, warned):
    """Of forty rows each is 2.5 points: the judge of a candidate forgives one, and so does the warning."""

    def score(rows):
        return Score(value=float(rows.mean()), low=0.0, high=1.0, n=40, unit="agreement", samples=rows)

    before, after = score(np.ones(40)), score(np.where(np.arange(40) < flipped, 0.0, 1.0))
    told = OnTest(before=before, after=after, drop=flipped / 40, drop_low=0.0, drop_high=0.1)
    assert bool(told.beyond(1.0)) == warned
