import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.data_argument import calibration_from, is_named, parse_preprocess, task_for, task_from_factory
from compress.own_arrays import FEWEST_ROWS, task_of
from compress.own_tasks import Measured, Regression, Unlabelled
from export.session import runner_for
from export.wrap import Model
from models import DATA, find
from models.errors import CompressError, DataError, UsageError
from models.records import InputSpec, OutputSpec, Preprocess
from models.tasks import Classification, NextToken

CODE = """
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
x, y = rng.standard_normal((30, 1, 4, 4), np.float32), rng.integers(0, 3, 30)

def loader():
    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=8)

def named():
    return [{"x": x[:10], "y": y[:10]}, {"x": x[10:], "y": y[10:]}]

def inputs_alone():
    yield x[:20]
    yield x[20:]

def nothing():
    return []

def uneven():
    yield x[:4], y[:4]
    yield x[:4, :, :2], y[:4]

def words():
    yield np.array(["a"]), y[:1]

def right(outputs, target):
    return (outputs.argmax(1) == target).astype(float)

def error(outputs, target):
    return float(np.abs(outputs.argmax(1) - target).mean())

error.higher_is_better = False

def square(outputs, target):
    return np.zeros((3, 3))
"""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    return Model(net, inputs=["x:float32[N,1,4,4]"], name="net")


@pytest.fixture(scope="module")
def two():
    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left.sum(1, keepdim=True) * right

    return Model(Two(), inputs=["left:float32[N,T]", "right:float32[N,T]"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_data.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("my_data", None)


def images(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 1, 4, 4), np.float32), rng.integers(0, 3, count)


def test_arrays_with_labels_are_classes_split_by_the_seed(model):
    x, y = images()
    np.savez("d.npz", x=x, y=y)
    task = task_for("d.npz", model)
    assert isinstance(task, Classification)
    parts = [task.train, task.validation, task.test]
    assert [part.rows for part in parts] == [28, 6, 6]
    rows = np.concatenate([part.inputs["x"] for part in parts])
    np.testing.assert_array_equal(np.sort(rows.ravel()), np.sort(x.ravel()))  # each row once
    for part in parts:  # labels went with their rows
        for row, label in zip(part.inputs["x"], part.target, strict=True):
            assert y[np.flatnonzero((x == row).all((1, 2, 3)))[0]] == label
    again, other = task_for("d.npz", model), task_for("d.npz", model, seed=1)
    np.testing.assert_array_equal(again.test.inputs["x"], task.test.inputs["x"])
    assert not np.array_equal(other.test.inputs["x"], task.test.inputs["x"])


@pytest.mark.parametrize("count", [FEWEST_ROWS, 4, 7])
def test_few_rows_still_give_three_splits(model, count):
    x, y = images(count)
    np.savez("d.npz", x=x, y=y)
    task = task_for("d.npz", model)
    assert task.train.rows + task.validation.rows + task.test.rows == count
    assert min(task.train.rows, task.validation.rows, task.test.rows) >= 1
    np.savez("d.npz", x=x[:2], y=y[:2])
    with pytest.raises(DataError, match="has 2 rows, and at least 3"):
        task_for("d.npz", model)


def test_several_inputs_are_told_by_name_and_share_their_letters(two):
    left, right = np.ones((9, 5), np.float32), np.full((9, 5), 2, np.float64)
    np.savez("d.npz", right=right, left=left, y=np.full((9, 5), 10.0))
    task = task_for("d.npz", two)
    assert isinstance(task, Regression)
    assert task.train.inputs["right"].dtype == np.float32  # numpy's own doubles are taken as what they were meant for
    assert task.score(runner_for(two)).value == 0.0
    np.savez("d.npz", right=right[:, :4], left=left)
    with pytest.raises(DataError, match=r"array 'right' is float64\[9, 4\].*float32\[N,T\]"):
        task_for("d.npz", two)
    np.savez("d.npz", left=left)
    with pytest.raises(DataError, match=r"has left\[9, 5\].*takes left:float32\[N,T\], right:float32\[N,T\]"):
        task_for("d.npz", two)


def test_a_number_that_the_model_takes_is_the_same_for_all_rows():
    """A sample rate, beside rows of sound."""
    inputs = (InputSpec(name="x", dtype="float32", dims=("N", 4)), InputSpec(name="rate", dtype="int64", dims=()))
    outputs = (OutputSpec(name="y", dtype="float32", dims=("N", 3)),)

    class Sounds(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(4, 3)

        def forward(self, x, rate):
            return self.head(x) * rate

    sound, rates = np.zeros((20, 4), np.float32), np.asarray(16000, np.int32)
    task = task_of({"x": sound, "rate": rates}, np.arange(20) % 3, Model(Sounds(), inputs, outputs), source="d.npz")
    batches = [*task.train, *task.validation, *task.train.epoch(0, 1)]
    assert all(batch["rate"].shape == () and batch["rate"] == 16000 for batch, _ in batches)
    assert sum(len(batch["x"]) for batch, _ in task.test) == 3


def test_labels_that_numpy_made_floats_are_classes_still(model):
    x, y = images()
    for labels in (y.astype(np.float64), y.astype(np.float64)[:, None]):
        np.savez("d.npz", x=x, y=labels)
        assert isinstance(task_for("d.npz", model), Classification)


def test_tokens_are_labelled_at_every_place():
    net = torch.nn.Sequential(torch.nn.Embedding(7, 8), torch.nn.Linear(8, 7))
    model = Model(net, inputs=["input:int64[N,T]"])
    ids = np.random.default_rng(0).integers(0, 7, (12, 6)).astype(np.int32)
    np.savez("d.npz", input=ids[:, :-1], y=ids[:, 1:])
    task = task_for("d.npz", model)
    assert isinstance(task, NextToken) and task.train.inputs["input"].dtype == np.int64
    assert task.score(runner_for(model)).unit.startswith("bits")


def test_arrays_without_labels_are_judged_by_agreement(model):
    np.save("d.npy", images()[0])
    task = task_for("d.npy", model)
    assert isinstance(task, Unlabelled) and task.choices == ("y",)
    score = task.score(runner_for(model))
    assert (score.value, score.n, score.unit) == (1.0, 6, "agreement")
    ruined = task.score(lambda arrays: {"y": -runner_for(model)(arrays)["y"]})
    assert ruined.value == 0.0 and ruined.low <= ruined.value <= ruined.high
    assert all(target is None for _, target in task.train)
    with pytest.raises(DataError, match="nothing but a teacher"):
        task.loss({}, None)


def test_agreement_of_values_is_the_share_of_the_power_that_varies():
    model = Model(torch.nn.Flatten(), inputs=["x:float32[N,1,4,4]"])
    np.save("d.npy", 1000 + images()[0])
    task = replace(task_for("d.npy", model), choices=())
    same = runner_for(model)
    assert task.score(same).value == 1.0
    rows = np.concatenate([same(inputs)["y"] for inputs, _ in task.test])
    off = task.score(lambda arrays: {"y": same(arrays)["y"] - 0.1 * (same(arrays)["y"] - rows.mean(0))})
    assert off.value == pytest.approx(0.99, abs=1e-4)  # an error of a tenth has a hundredth of the power
    assert task.score(lambda arrays: {"y": np.broadcast_to(rows.mean(0), same(arrays)["y"].shape)}).value < 0.5
    assert task.score(lambda arrays: {"y": np.nan * same(arrays)["y"]}).value == 0.0


def test_a_metric_needs_labels(model):
    np.save("d.npy", images()[0])
    with pytest.raises(DataError, match=r"'my_data:right' is given labels, and data 'd\.npy' has none: add y"):
        task_for("d.npy", model, metric="my_data:right").score(runner_for(model))


def test_agreement_looks_at_all_outputs_but_states(model):
    np.save("d.npy", images()[0])
    task = replace(task_for("d.npy", model), reference=both, answers=("a", "b"), choices=("a",))
    assert task.score(both).value == 1.0
    off = task.score(lambda arrays: {**both(arrays), "b": np.zeros((len(arrays["x"]), 2))})
    assert off.value < 0.6 and off.samples.shape == (6,)
    assert task.statistics(off.samples, np.ones((1, 6)))[0] == pytest.approx(off.value)
    assert task.score(lambda arrays: {**both(arrays), "b": np.zeros(3)}).value == 0.0


def both(arrays):
    rows = arrays["x"].reshape(len(arrays["x"]), -1)
    return {"a": rows[:, :3], "b": 100 + rows[:, 3:5]}


def test_digits_come_as_images_or_as_rows():
    wide = Model(torch.nn.Linear(64, 10), inputs=["x:float32[N,64]"])
    tall = Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), inputs=["x:float32[N,1,8,8]"])
    for model, shape in ((wide, (64,)), (tall, (1, 8, 8)), (None, (1, 8, 8))):
        task = task_for("digits", model)
        inputs, _ = next(iter(task.train))
        assert next(iter(inputs.values())).shape[1:] == shape
    assert task.labels == tuple("0123456789") and is_named("digits") and not is_named("d.npz")


def test_every_named_set_is_named_and_its_arrays_are_those_of_the_model():
    assert DATA and all(is_named(name) for name in DATA)
    entry = find("gru-fsdd")
    model = Model(entry.tiny(), inputs=entry.inputs, outputs=entry.outputs)
    inputs, _ = next(iter(task_for("fsdd", model).train))
    assert set(inputs) == {"x"}
    with pytest.raises(UsageError, match=r"named 'fsd'\. Did you mean 'fsdd'"):
        task_for("fsd", model)


@pytest.mark.parametrize("layout", ["classes", "flat"])
def test_a_folder_of_images_becomes_what_the_network_takes(folder, layout):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 6 * 5, 2))
    how = Preprocess(resize=(6, 5), layout="NCHW", mean=(10.0, 20.0, 30.0), scale=(0.5,))
    model = replace(Model(net, inputs=["input:float32[N,3,6,5]"]), preprocess=how)
    for number, name in enumerate(["cat", "dog"] * 4):
        place = folder / "pictures" / (name if layout == "classes" else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 12), (100, 120, 140 if name == "cat" else 40)).save(place / f"{number}.png")
    task = task_for("pictures", model)
    inputs, target = next(iter(task.train))
    assert inputs["input"].shape[1:] == (3, 6, 5)
    np.testing.assert_allclose(inputs["input"][:, :2].mean((0, 2, 3)), [(100 - 10) / 2, (120 - 20) / 2])
    if layout == "flat":
        assert target is None and isinstance(task, Unlabelled)
        return
    assert task.labels == ("cat", "dog")
    np.testing.assert_allclose(inputs["input"][:, 2, 0, 0], np.where(target == 0, (140 - 30) / 2, (40 - 30) / 2))


def test_a_folder_of_images_is_refused_without_a_preprocess(folder, model):
    (folder / "pictures").mkdir()
    (folder / "pictures" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"does not say how.*--preprocess"):
        task_for("pictures", model)
    with pytest.raises(DataError, match=r"image 'pictures/broken\.png' cannot be read"):
        task_for("pictures", model, preprocess=parse_preprocess("scale=0.01,mean=3"))


@pytest.mark.parametrize(
    ("channels", "text", "said"),
    [
        (3, "mean=1:2,scale=0.0039", "mean=1:2 has 2 numbers, and the images are read with 3 channels"),
        (3, "mean=1,scale=1:2:3:4", "scale=1:2:3:4 has 4 numbers"),
        (1, "mean=1:2:3", "mean=1:2:3 has 3 numbers, and the images are read with 1 channel. Give one"),
    ],
)
def test_a_preprocess_has_a_number_for_each_channel_or_one_for_all(folder, channels, text, said):
    model = Model(torch.nn.Flatten(), inputs=[f"x:float32[N,{channels},6,5]"])
    for number in range(3):
        Image.new("RGB", (5, 6)).save(folder / f"{number}.png")
    with pytest.raises(UsageError, match=f"{re.escape(said)}.*--preprocess"):
        task_for(".", model, preprocess=parse_preprocess(text))
    with pytest.raises(UsageError, match="numbers, and the images are read with 3 channels"):
        task_for(".", None, preprocess=parse_preprocess("resize=6x5,mean=1,scale=1:2"))


@pytest.mark.parametrize("has_images", [True, False])
def test_images_beside_the_folders_of_classes_are_not_left_out_in_silence(folder, has_images):
    model = Model(torch.nn.Flatten(), inputs=["x:float32[N,3,6,5]"])
    places = [folder / "pictures" / name for name in ("cat", "dog")]
    for place in places:
        place.mkdir(parents=True)
        for number in range(3 * has_images):
            Image.new("RGB", (5, 6)).save(place / f"{number}.png")
    (folder / "pictures" / "notes.txt").write_text("no image")
    how = parse_preprocess("scale=0.01")
    if has_images:
        assert task_for("pictures", model, preprocess=how).labels == ("cat", "dog")
    for name in ("b.png", "a.png"):
        Image.new("RGB", (5, 6)).save(folder / "pictures" / name)
    with pytest.raises(DataError, match=r"2 images \('a\.png' first\) beside the folders 'cat', 'dog'.*Move them"):
        task_for("pictures", model, preprocess=how)


def test_a_preprocess_is_read_from_its_text():
    made = parse_preprocess("resize=32x24,layout=NHWC,mean=1:2:3,scale=0.5")
    assert made == Preprocess(resize=(32, 24), layout="NHWC", mean=(1.0, 2.0, 3.0), scale=(0.5,))
    for wrong in ("resize=32", "layout=CHW", "mean=a", "size=3", ""):
        with pytest.raises(UsageError, match="is none of resize"):
            parse_preprocess(wrong)


@pytest.mark.parametrize("name", ["loader", "named"])
def test_a_loader_of_the_users_is_read_once_and_split(model, name):
    task = task_for(f"my_data:{name}", model)
    assert isinstance(task, Classification)
    assert task.train.rows + task.validation.rows + task.test.rows == 30


def test_a_generator_of_inputs_alone_is_unlabelled(model):
    assert isinstance(task_for("my_data:inputs_alone", model), Unlabelled)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "has no rows: it yields no batch"),
        ("uneven", r"rows of 'x' were float32\[1, 4, 4\], and then float32\[1, 2, 4\].*--task"),
        ("words", "is <U1"),
        ("x", "'x'|rows"),
        ("loder", r"has no 'loder'\. Did you mean 'loader'"),
    ],
)
def test_what_a_loader_yields_must_be_understood(model, name, said):
    with pytest.raises(CompressError, match=said):
        task_for(f"my_data:{name}", model)


def test_a_metric_of_the_users_scores_with_an_interval(model):
    task = task_for("my_data:loader", model, metric="my_data:right")
    plain = task_for("my_data:loader", model)
    assert isinstance(task, Measured)
    score, wanted = task.score(runner_for(model)), plain.score(runner_for(model))
    assert score.value == pytest.approx(wanted.value) and score.unit == "my_data:right"
    assert score.low <= score.value <= score.high and score.n == wanted.n
    lower = task_for("my_data:loader", model, metric="my_data:error").score(runner_for(model))
    assert not lower.higher_is_better
    with pytest.raises(DataError, match=r"shape \(3, 3\) for a batch of"):
        task_for("my_data:loader", model, metric="my_data:square").score(runner_for(model))


def test_a_task_of_the_users_must_be_one():
    with pytest.raises(UsageError, match=r"gives a list without train, validation, test, loss, score"):
        task_from_factory("my_data:nothing")


def test_calibration_is_the_train_split_mixed_and_not_augmented():
    entry = find("cnn-fsdd")
    task = entry.task(batch_size=32)
    found = calibration_from(task)
    first, again = next(iter(found))["x"], next(iter(found))["x"]
    np.testing.assert_array_equal(first, again)
    rows = {row.tobytes() for row in task.train.inputs["x"]}
    assert all(row.tobytes() in rows for row in first)
    assert not np.array_equal(first, task.train.inputs["x"][:32])


@pytest.mark.parametrize("labelled", [True, False])
def test_where_all_inputs_are_states_no_rows_can_be_fed(model, labelled):
    specs = [("x", "out"), ("h", "h_next")]
    takes = tuple(InputSpec(name=name, dtype="float32", dims=("N", 4), state_of=of) for name, of in specs)
    target = np.arange(20) % 3 if labelled else None
    said = r"'d\.npz': no input of the model is left.*of its inputs, x=out, h=h_next are states; leave out the --state"
    with pytest.raises(DataError, match=said):
        task_of({"x": np.ones((20, 4), np.float32)}, target, replace(model, inputs=takes), source="d.npz")


def remembering(model):
    takes = [("x", ("N", 1, 4), None), ("h", ("N", 2), "h_next"), ("past", ("N", "P", 4), "present")]
    return replace(model, inputs=tuple(InputSpec(name=n, dtype="float32", dims=d, state_of=s) for n, d, s in takes))


def test_rows_that_give_states_begin_with_them(model):
    """Else they were left out without a word."""
    arrays = {"x": np.ones((20, 1, 4)), "h": np.arange(40).reshape(20, 2), "past": np.ones((20, 0, 4))}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    task = task_of(arrays, None, remembering(model), source="d.npz")
    first = next(iter(task.train))[0]
    assert {name: array.shape for name, array in first.items()} == {"x": (1, 1, 4), "h": (1, 2), "past": (1, 0, 4)}
    np.testing.assert_array_equal(np.concatenate([rows["h"] for rows, _ in task.train]), arrays["h"][:14])


def test_a_state_that_is_what_it_begins_with_may_be_there_once(model):
    arrays = {"x": np.ones((20, 1, 4), np.float32), "h": np.zeros((1, 2), np.float32)}
    assert set(next(iter(task_of(arrays, None, remembering(model), source="d.npz").train))[0]) == {"x"}
    arrays["h"] += 1
    with pytest.raises(DataError, match=r"array 'h' is float32\[1, 2\], and it is a state, which begins as 0 and then"):
        task_of(arrays, None, remembering(model), source="d.npz")


def test_where_all_is_given_once_no_rows_can_be_fed(model):
    takes = (InputSpec(name="rate", dtype="int64", dims=()),)
    with pytest.raises(DataError, match="could feed: what it takes is the same for all rows"):
        task_of({"rate": np.array(16000)}, None, replace(model, inputs=takes), source="d.npz")


def test_what_labels_are_called_is_said_where_an_array_is_one_too_many(model):
    x, y = images()
    np.savez("d.npz", x=x, labels=y)
    with pytest.raises(DataError, match=r"labels\[40\], and the model takes x:.*; labels are called 'y'"):
        task_for("d.npz", model)
    takes = tuple(InputSpec(name=name, dtype="float32", dims=("N", 1, 4, 4)) for name in "xy")
    np.savez("d.npz", x=x, y=x, target=y)
    with pytest.raises(DataError, match="labels are called 'labels'"):
        task_for("d.npz", replace(model, inputs=takes))


def test_an_input_called_y_is_no_label(model, tmp_path):
    takes = tuple(InputSpec(name=name, dtype="float32", dims=("N", 4)) for name in "xy")
    path = tmp_path / "towers.npz"
    arrays = {name: np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32) for name in "xy"}
    np.savez(path, **arrays, labels=np.arange(20) % 3)
    inputs, target = next(iter(task_for(str(path), replace(model, inputs=takes)).train))
    assert set(inputs) == {"x", "y"}
    assert set(target) == {0, 1, 2}


def test_an_array_of_just_the_shape_of_an_input_without_letters_is_the_same_for_all_rows(model):
    takes = (
        InputSpec(name="x", dtype="float32", dims=("N", 4)),
        InputSpec(name="speaker", dtype="float32", dims=(1, 16)),
        InputSpec(name="scales", dtype="float32", dims=(3,)),
    )
    arrays = {
        spec.name: np.ones((20 if spec.name == "x" else spec.dims[0], *spec.dims[1:]), np.float32) for spec in takes
    }
    task = task_of(arrays, np.arange(20) % 3, replace(model, inputs=takes), source="x.npz", batch_size=5)
    for inputs, _ in task.train:
        assert inputs["speaker"].shape == (1, 16)
        assert inputs["scales"].shape == (3,)
