"""What labels mean beside a network's outputs; scores are held against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score
from torch import nn

from compress.data_argument import task_for
from compress.label_tasks import ByElement, Places
from compress.own_arrays import task_of
from compress.own_tasks import Regression
from export.session import runner_for
from export.wrap import Model
from models.errors import DataError
from models.records import Arrays
from models.tasks import IGNORED, Classification, NextToken

RNG = np.random.default_rng(0)
ROWS = 60
X = RNG.standard_normal((ROWS, 1, 6, 6)).astype(np.float32)


class Outputs(nn.Module):
    """An input's numbers through one layer each, shaped as asked; a row's answer follows from the row alone."""

    def __init__(self, *shapes, after=None):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(36, int(np.prod(shape, dtype=int))) for shape in shapes)
        self.shapes, self.after = shapes, after or (lambda each: each)

    def forward(self, x):
        made = [
            self.after(layer(x.flatten(1))).reshape(-1, *s) for layer, s in zip(self.layers, self.shapes, strict=True)
        ]
        return made[0] if len(made) == 1 else tuple(made)


def model_of(*shapes, after=None):
    return Model(Outputs(*shapes, after=after).eval(), inputs=["x:float32[N,1,6,6]"], name="net")


def task_with(model, target, x=X):
    return task_of({"x": x}, target, model, source="d.npz")


def answers(task, model, output=0):
    """What the model says to the test split, and the labels there."""
    run = runner_for(model)
    found = [(list(run(inputs).values())[output], target) for inputs, target in task.test]
    return (np.concatenate(each) for each in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.bool_, np.float32])
@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
@pytest.mark.parametrize("inner", [(1,), ()])
@pytest.mark.parametrize("after", [None, torch.sigmoid])
def test_flags_beside_one_number_a_row_are_yes_or_no(kind, shape, inner, after):
    model = model_of(inner, after=after)
    task = task_with(model, RNG.integers(0, 2, shape).astype(kind))
    assert isinstance(task, ByElement)
    found, target = answers(task, model)
    threshold = 0.0 if after is None else 0.5
    expected = accuracy_score(target.ravel(), found.ravel() > threshold)
    score = task.score(runner_for(model))
    assert (score.value, score.unit) == (pytest.approx(expected), "accuracy")
    assert score.samples.tolist() == (target.ravel() == (found.ravel() > threshold)).tolist()


def test_minus_one_and_one_are_flags():
    task = task_with(model_of((1,)), RNG.integers(0, 2, ROWS) * 2 - 1)
    assert isinstance(task, ByElement) and task.threshold == 0 and set(np.unique(task.train.target)) == {0, 1}


def test_whole_numbers_beside_one_number_a_row_are_values():
    task = task_with(model_of((1,)), RNG.integers(18, 90, ROWS))
    assert isinstance(task, Regression)
    found, target = answers(task, model_of((1,)))
    assert task.score(runner_for(model_of((1,)))).value == pytest.approx(np.sqrt(np.mean((found[:, 0] - target) ** 2)))


def test_classes_are_about_the_output_that_has_as_many():
    model = model_of((16,), (4,))
    task = task_with(model, np.arange(ROWS) % 4)
    assert isinstance(task, Classification) and task.output == list(runner_for(model)({"x": X[:1]}))[1]
    found, target = answers(task, model, 1)
    assert task.score(runner_for(model)).value == pytest.approx(accuracy_score(target, found.argmax(1)))


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_rows_of_one_and_zeros_are_classes_and_rows_of_several_are_flags(kind):
    model = model_of((4,))
    task = task_with(model, np.eye(4, dtype=kind)[np.arange(ROWS) % 4])
    assert isinstance(task, Classification) and set(np.unique(task.train.target)) <= {0, 1, 2, 3}
    several = RNG.integers(0, 2, (ROWS, 4)).astype(kind)
    task = task_with(model, several)
    assert isinstance(task, ByElement)
    found, target = answers(task, model)
    assert task.score(runner_for(model)).value == pytest.approx(np.mean((found > 0) == target))


def test_shares_of_one_whole_are_classes():
    soft = RNG.dirichlet(np.ones(4), ROWS).astype(np.float32)
    task = task_with(model_of((4,)), soft)
    assert isinstance(task, Classification)


@pytest.mark.parametrize(("inner", "axis"), [((3, 6, 6), 1), ((6, 6, 3), -1)])
@pytest.mark.parametrize("void", [255, -1, IGNORED])
def test_maps_of_classes_are_scored_as_segmentation_is(inner, axis, void):
    model = model_of(inner)
    target = RNG.integers(0, 3, (ROWS, 6, 6))
    target[:, 0] = void
    task = task_with(model, target)
    assert isinstance(task, Places) and task.axis == axis
    found, wanted = answers(task, model)
    counts = wanted != IGNORED
    assert counts.sum() == counts.size * 5 / 6
    score = task.score(runner_for(model))
    expected = jaccard_score(wanted[counts], found.argmax(axis)[counts], average="macro")
    assert (score.value, score.unit) == (pytest.approx(expected), "mean IoU")
    assert task.score(runner_for(model), reference=runner_for(model)).value == 1
    logits = {"o": torch.from_numpy(found).requires_grad_()}
    task.loss(logits | {task.output: logits["o"]}, torch.from_numpy(wanted)).backward()
    assert logits["o"].grad.abs().sum() > 0


def test_classes_along_a_signal_are_shares_of_right_places():
    model = model_of((3, 36))
    task = task_with(model, RNG.integers(0, 3, (ROWS, 36)))
    found, target = answers(task, model)
    score = task.score(runner_for(model))
    assert (score.value, score.unit) == (pytest.approx(np.mean(found.argmax(1) == target)), "accuracy")


def test_whole_outputs_are_the_decisions_themselves():
    class Decides(Outputs):
        def forward(self, x):
            return super().forward(x).argmax(-1)

    model = Model(Decides((6, 3)).eval(), inputs=["x:float32[N,1,6,6]"])
    task = task_with(model, RNG.integers(0, 3, (ROWS, 6)))
    assert isinstance(task, ByElement) and task.threshold is None
    found, target = answers(task, model)
    assert task.score(runner_for(model)).value == pytest.approx(np.mean(found == target))
    with pytest.raises(DataError, match="cannot be trained"):
        task.loss({task.output: torch.from_numpy(found)}, torch.from_numpy(target))


def test_tokens_of_a_network_of_words_are_scored_in_bits():
    net = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7))
    ids = RNG.integers(0, 7, (ROWS, 6))
    task = task_of({"x": ids[:, :-1]}, ids[:, 1:], Model(net, inputs=["x:int64[N,T]"]), source="d.npz")
    assert isinstance(task, NextToken)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (np.zeros((ROWS, 5), np.int64), r"int64\[N,5\], and no output of the model answers them; it gives .*\[N,4\]"),
        (RNG.standard_normal((ROWS, 3)).astype(np.float32), r"float32\[N,3\], and no output"),
        (np.arange(ROWS), "labels y run from 0 to 59, and the model tells 4 classes apart, 0 to 3"),
    ],
)
def test_labels_that_no_output_answers_are_refused_but_for_a_metric_of_the_users(target, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    np.savez("d.npz", x=X, y=target)
    with pytest.raises(DataError, match=said):
        task_for("d.npz", model_of((4,)))
    if "no output" in said:
        (tmp_path / "unfit_metric.py").write_text("def half(outputs, target):\n    return 0.5\n", encoding="utf-8")
        task = task_for("d.npz", model_of((4,)), metric="unfit_metric:half")
        assert task.score(runner_for(model_of((4,)))).value == 0.5


def test_a_list_that_happens_to_be_as_long_as_the_rows_answers_nothing():
    class Lists(nn.Module):
        def forward(self, x):
            return x.flatten()[:16].reshape(16, 1) + x.mean()

    model = Model(Lists().eval(), inputs=["x:float32[N,1,6,6]"], outputs=["o"])
    with pytest.raises(DataError, match="nothing with a row for each"):
        task_for_arrays(model, {"x": X}, RNG.integers(0, 2, ROWS))


def task_for_arrays(model, arrays: Arrays, target):
    np.savez("lists.npz", **arrays, y=target)
    return task_for("lists.npz", model)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_classes_of_positions_that_are_no_words_are_places():
    """A tagger reads words and says something else of each: how many it gets right, and no bits of a next one."""
    net = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 3))
    ids, tags = RNG.integers(0, 7, (ROWS, 6)), RNG.integers(0, 3, (ROWS, 6))
    model = Model(net.eval(), inputs=["x:int64[N,T]"])
    task = task_of({"x": ids}, tags, model, source="d.npz")
    assert isinstance(task, Places)
    found, target = answers(task, model)
    assert task.score(runner_for(model)).value == pytest.approx(np.mean(found.argmax(-1) == target))
