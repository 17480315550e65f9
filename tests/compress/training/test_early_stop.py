import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.base import Context
from compress.training.early_stop import Best, EarlyStop, is_due
from compress.training.engine import train
from compress.training.recovery import recover
from compress.training.settings import Recovery
from models.errors import UsageError
from models.records import Training
from tests.compress.small_tasks import Plain, convolutional, digits, lifted, same

LINE = Plain([(torch.ones(4, 1), torch.ones(4, 1))])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000))
def test_there_are_twenty_looks_or_one_a_step_and_the_last_is_at_the_end(steps):
    looks = [step for step in range(1, steps + 1) if is_due(step, steps)]
    assert len(looks) == min(20, steps) and looks[-1] == steps
    gaps = {b - a for a, b in zip([0, *looks], looks, strict=False)}
    assert max(gaps) - min(gaps) <= 1


def test_the_best_is_kept_and_what_is_no_number_is_no_better():
    best, network = Best(), nn.Linear(1, 1)
    for step, score in enumerate((0.5, float("nan"), 0.5, 0.4), 1):
        nn.init.constant_(network.weight, step)
        best.take(score, step, network)
    assert (best.score, best.step, best.stale) == (0.5, 1, 3) and best.weights["weight"].item() == 1


def run(scores, steps=20, **options):
    """Train one weight with a score that was written down before, and a draw in each look."""
    left = iter(scores)
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, 0.0)
    seen = []

    def score(network):
        seen.append(copy.deepcopy(network.state_dict()))
        torch.rand(1)
        return next(left)

    stop = EarlyStop(score=score, patience=3)
    log = train(network, LINE, Training(), inputs=["x"], outputs=["y"], steps=steps, early_stop=stop, **options)
    return network, log, seen


def test_it_stops_after_as_many_looks_in_vain_and_keeps_the_best_weights():
    network, log, seen = run([1, 3, 2, 3, 2, 9])
    assert (log.steps, log.stopped_at, log.best_step, len(seen)) == (20, 5, 2, 5)
    assert all(torch.equal(seen[1][name], value) for name, value in network.state_dict().items())
    assert log.losses[-1][0] == 5


def dropping(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 1))


def fit(network, score=None, patience=3, **options):
    """Eight weights that are to add up to 4, twenty steps of SGD, with dropout."""
    data = Plain([(torch.ones(4, 8), torch.full((4, 1), 4.0))])
    stop = None if score is None else EarlyStop(score=score, patience=patience)
    training = Training(optimizer="sgd", learning_rate=0.01, clip_norm=0.0)
    names = {"inputs": ["x"], "outputs": ["y"]}
    return train(network, data, training, **names, steps=20, early_stop=stop, **options)


def test_looks_that_draw_disturb_neither_dropout_nor_order():
    plain, looked_at = dropping(), dropping()
    fit(plain)
    rising = itertools.count()
    log = fit(looked_at, lambda network: next(rising) + float(torch.rand(1)) / 2)
    assert log.best_step == 20 and same(plain, looked_at)


def fit_sum(network):
    return float(network[1].weight.detach().sum())


def test_resumed_it_stops_at_the_same_step_with_the_same_weights(tmp_path):
    path, start = tmp_path / "run.pt", dropping()
    middle = lambda network: -abs(fit_sum(network) - 1.5)  # noqa: E731 rises, and falls once the sum is past 1.5
    undisturbed, stopped = copy.deepcopy(start), copy.deepcopy(start)
    log = fit(undisturbed, middle)
    assert 0 < log.best_step < log.stopped_at == log.best_step + 3 < 20

    def stop(network, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] == log.stopped_at - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(stopped, middle, checkpoint=path, checkpoint_seconds=0.0, after_step=stop)
    for _ in range(2):  # the second time from a run that is finished
        resumed = copy.deepcopy(start)
        again = fit(resumed, middle, checkpoint=path, checkpoint_seconds=0.0, resume=True)
        assert same(resumed, undisturbed)
        assert (again.stopped_at, again.best_step) == (log.stopped_at, log.best_step)


def test_a_recovery_looks_at_the_validation_score():
    chosen = Recovery(learning_rate=1e-2, patience=19, average=0.9, precision="off")
    _, facts = recover(lifted(convolutional()), Context(task=digits(320)), chosen, steps=20)
    assert facts["patience"] == 19 and 1 <= facts["best_step"] <= 20 and facts["stopped_at"] == 0
    assert facts["validation_after"] >= facts["validation_before"]


def test_without_a_score_to_look_at_it_is_refused():
    data = [{"x": torch.zeros(2, 1, 8, 8).numpy()}]
    model = lifted(convolutional())
    with pytest.raises(UsageError, match="prune: patience=2 needs a score on a validation split"):
        recover(model, Context(calibration=data, teacher=model), Recovery(patience=2), steps=1, what="prune")
