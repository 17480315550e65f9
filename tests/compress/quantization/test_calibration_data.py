"""What is calibrated with: samples kept apart from those to judge on, in pieces, on disk where there are many."""

import gc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.base import Context
from compress.own_arrays import task_of
from compress.quantization.calibration import histograms
from compress.quantization.calibration_data import (
    Joined,
    Kept,
    all_alike,
    count,
    distinct,
    gather,
    pieces,
    too_few,
    validation_of,
)
from compress.quantization.loss import ByAgreement
from compress.quantization.quantize import Quantize
from export.session import onnx_runner
from export.stream import stream as runs_of
from models.errors import DataError
from models.records import InputSpec, example
from tests.compress.onnx_nets import mlp, stream


def batches(model, rows, seed=100):
    return [example(model.inputs, {"N": n}, seed=seed + i) for i, n in enumerate(rows)]


def test_a_model_of_a_fixed_batch_gets_it():
    inputs = (InputSpec(name="x", dtype="float32", dims=(4, 2)),)
    cut = list(pieces({"x": np.zeros((12, 2))}, inputs))
    assert [piece["x"].shape for piece in cut] == [(4, 2)] * 3
    assert cut[0]["x"].dtype == np.float32
    assert len(list(pieces({"x": np.zeros((6, 2))}, inputs))) == 1, "a rest is left out"
    with pytest.raises(DataError, match="takes 4 samples at a time, and a calibration batch has 3"):
        list(pieces({"x": np.zeros((3, 2))}, inputs))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"y": np.zeros((2, 32))}, r"no array for the input 'x'; it has y\. Name the arrays"),
        ({"x": np.zeros((2, 31))}, r"the input 'x' takes \[N,32\], and the calibration data has \[2,31\]"),
        ({"x": np.zeros((2, 32, 1))}, r"the input 'x' takes \[N,32\], and the calibration data has \[32,1\]"),
        ({"x": np.full((2, 32), np.nan)}, r"holds nan in 'x' at \[0, 0\], sample 1\. Clean the data"),
        ({"x": np.full((2, 32), -np.inf)}, r"holds -inf in 'x'"),
    ],
)
def test_data_that_do_not_fit_are_refused(arrays, text):
    with pytest.raises(DataError, match=text):
        histograms(mlp(), ["x"], [arrays])


@pytest.mark.parametrize(
    ("rows", "wanted", "used", "left"),
    [([400], 256, 256, 64), ([64] * 8, 256, 256, 64), ([20], 256, 16, 4), ([1], 256, 1, 1)],
)
def test_samples_to_judge_on_are_others(rows, wanted, used, left):
    model = mlp()
    data = batches(model, rows)
    seen, unseen = gather(model, Context(calibration=data), wanted)
    assert (count(seen), count(unseen)) == (used, left)
    if rows != [1]:
        together = np.concatenate([b["x"] for b in (*seen, *unseen)])
        np.testing.assert_array_equal(together, np.concatenate([b["x"] for b in data])[: used + left])


@pytest.mark.parametrize(
    ("wanted", "room", "found"), [(5, 1 << 20, 5), (1000, 1 << 20, 60), (1000, 32 * 4 * 30, 30), (5, 0, 0)]
)
def test_validation_rows_are_taken_without_labels_up_to_a_number_and_a_size(wanted, room, found):
    x, y = np.random.default_rng(0).standard_normal((400, 32)).astype("float32"), np.arange(400) % 8
    task = task_of({"x": x}, y, mlp(), source="made", batch_size=6)
    taken = validation_of(mlp(), task, wanted, room)
    assert count(taken) == found
    if found:
        rows = np.concatenate([batch["x"] for batch in taken])
        np.testing.assert_array_equal(rows, np.concatenate([inputs["x"] for inputs, _ in task.validation])[:found])


@pytest.mark.parametrize("wanted", [0, -10])
def test_no_validation_rows_are_asked_for_where_there_are_enough(wanted):
    task = task_of({"x": np.ones((100, 32), np.float32)}, None, mlp(), source="made")
    assert len(validation_of(mlp(), task, wanted)) == 0


def test_a_last_batch_that_is_too_small_ends_the_validation_rows():
    model = replace(mlp(), inputs=(InputSpec(name="x", dtype="float32", dims=(8, 32)),))
    task = SimpleNamespace(validation=[({"x": np.ones((n, 32), np.float32)}, None) for n in (8, 5)])
    assert count(validation_of(model, task, 100)) == 8


def test_the_validation_rows_of_a_network_with_states_are_a_sequence_of_their_own():
    """Also where they come in other batches than the rows before them: 'N' is no one number then."""
    model = stream()
    first, second = (batches(model, [n] * 3, seed=n) for n in (4, 2))
    task = SimpleNamespace(validation=[({"x": batch["x"]}, None) for batch in second])
    more = validation_of(model, task, 100)
    judge = ByAgreement(model, Joined([{"x": batch["x"]} for batch in first], more), 1.0)
    alone = list(runs_of(onnx_runner(model), model.inputs, [{"x": batch["x"]} for batch in second], model.outputs))
    for found, wanted in zip(judge.float[3:], alone, strict=True):
        np.testing.assert_array_equal(found["h_next"], wanted["h_next"])


@given(st.lists(st.integers(), max_size=5), st.lists(st.integers(), max_size=5))
def test_two_sequences_joined_are_one(first, second):
    both = Joined(first, second)
    assert list(both) == [*first, *second] == both[:]
    assert len(both) == len(first) + len(second)
    with pytest.raises(IndexError):
        both[len(both)]


def test_without_data_of_its_own_the_context_gives_the_models_sample():
    model = replace(mlp(), sample=batches(mlp(), [10])[0])
    seen, unseen = gather(model, Context(), 256)
    assert (count(seen), count(unseen)) == (8, 2)
    assert [len(part) for part in gather(mlp(), Context(), 256)] == [0, 0]


def test_what_does_not_fit_into_memory_lies_on_disk_and_is_the_same():
    data = [{"x": np.full((2, 8), i, np.float32), "a/b:c": np.arange(2)} for i in range(6)]
    kept = Kept(in_memory=200)
    for batch in data:
        kept.append(batch)
    folder = kept._folder
    assert len(list(folder.iterdir())) == 4
    assert (len(kept), kept.samples, count(kept[3:])) == (6, 12, 6)
    for _ in range(2):
        for batch, there in zip(data, kept, strict=True):
            assert list(there) == list(batch)
            np.testing.assert_array_equal(there["x"], batch["x"])
    part = kept[4:][1:]
    del kept
    gc.collect()
    assert part[0]["x"][0, 0] == 5
    del part
    gc.collect()
    assert not folder.exists()


def test_gathered_samples_beyond_what_memory_may_hold_are_the_same():
    seen, unseen = gather(mlp(), Context(calibration=batches(mlp(), [32] * 5)), 128, in_memory=5000)
    assert len(list(seen._owner._folder.iterdir())) == 4
    assert (count(seen), count(unseen)) == (128, 32)
    together = np.concatenate([batch["x"] for batch in (*seen, *unseen)])
    np.testing.assert_array_equal(together, np.concatenate([b["x"] for b in batches(mlp(), [32] * 5)]))


def test_the_sample_that_holds_no_number_is_counted_over_all_batches():
    data = batches(mlp(), [40, 40])
    data[1]["x"][35, 2] = np.inf
    with pytest.raises(DataError, match=r"holds inf in 'x' at \[35, 2\], sample 76\. Clean"):
        gather(mlp(), Context(calibration=data), 256)


def test_too_few_samples_are_told_with_the_risk():
    assert too_few(32) == ""
    assert too_few(9).startswith("calibrated with 9 samples: an input in 10 will leave the range")
    assert "with 1 sample: an input in 2" in too_few(1)


@pytest.mark.parametrize("samples", [1, 4, 19])
def test_the_risk_is_that_of_one_more_draw(samples):
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((40_000, samples + 1))
    beyond = (draws[:, -1] > draws[:, :-1].max(axis=1)).mean()
    deviation = np.sqrt(1 / (samples + 1) * (1 - 1 / (samples + 1)) / len(draws))
    assert abs(beyond - 1 / (samples + 1)) < 4 * deviation


def test_a_sample_that_comes_again_counts_once():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((6, 3)), np.arange(6.0)
    repeated = [{"x": x[[0, 1, 0]], "z": z[[0, 1, 0]]}, {"x": x[[1, 2]], "z": z[[1, 2]]}]
    assert (count(repeated), distinct(repeated)) == (5, 3)
    assert distinct([{"x": x[[0, 0]], "z": z[[0, 1]]}]) == 2  # the same in one input alone
    assert all_alike([{"x": x[[0, 0]]}, {"x": x[[0]]}]).startswith("all 3 samples")
    assert all_alike(repeated) == all_alike([{"x": x[:1]}]) == ""
    assert "(of 5, the others come again)" in too_few(3, 5)


def test_data_that_never_vary_are_told():
    model = mlp()
    x = {"x": np.repeat(np.random.default_rng(0).standard_normal((1, 32)), 60, axis=0).astype(np.float32)}
    outcome = Quantize(mode="static")(model, Context(calibration=[x]))
    assert "are the same" in outcome.facts["warning"]
    assert any("the others come again" in note.text for note in outcome.skipped)


@pytest.mark.parametrize("rows", [32, 40])
def test_one_batch_of_a_network_that_fixes_its_rows_serves_both(rows):
    model = replace(mlp(), inputs=(InputSpec(name="x", dtype="float32", dims=(32, 32)),))
    seen, unseen = gather(model, Context(calibration=[{"x": np.ones((rows, 32), np.float32)}]), 256)
    assert seen is unseen and [batch["x"].shape for batch in seen] == [(32, 32)]
