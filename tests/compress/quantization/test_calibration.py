"""Calibration: exact ranges from one sweep, in pieces, through states; and data that are no data."""

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.calibration import Range, count, gather, pieces, ranges
from models.errors import DataError
from models.records import InputSpec, example
from tests.compress.onnx_nets import Net, conv_net, mlp, stream


def batches(model, rows, seed=100):
    return [example(model.inputs, {"N": n}, seed=seed + i) for i, n in enumerate(rows)]


def test_ranges_are_those_of_all_data_at_once():
    model = conv_net()
    data = batches(model, [50, 3, 40])
    seen = ranges(model, ["x", "stem_out", "stem.act_out"], data)
    x = np.concatenate([batch["x"] for batch in data])
    assert seen["x"] == Range(float(x.min()), float(x.max()))
    assert seen["stem.act_out"].low == 0.0
    assert seen["stem.act_out"].high == seen["stem_out"].high
    assert seen == ranges(model, ["x", "stem_out", "stem.act_out"], [{"x": x}])


def test_data_of_any_length_are_looked_at_once():
    model = mlp()
    taken = []

    def endless():
        for batch in batches(model, [32] * 5):
            taken.append(1)
            yield batch

    ranges(model, ["x"], endless())
    assert len(taken) == 5


def test_a_state_goes_on_from_step_to_step():
    net = Net()
    net.op("Add", "x", "h", name="sum")
    spec = InputSpec(name="x", dtype="float32", dims=("N", 1))
    model = net.model(
        (spec, InputSpec(name="h", dtype="float32", dims=("N", 1), state_of="h_next")), {"h_next": ("N", 1)}
    )
    steps = [{"x": np.ones((2, 1), np.float32)}] * 5
    assert ranges(model, ["h", "h_next"], steps) == {"h": Range(0.0, 4.0), "h_next": Range(1.0, 5.0)}


def test_a_state_begins_anew_when_the_number_of_streams_changes():
    model = stream()
    steps = [{"x": np.ones((n, 8), np.float32)} for n in (2, 3)]
    assert ranges(model, ["h"], steps[:1])["h"] == Range(0.0, 0.0)
    assert ranges(model, ["h"], steps)["h"] == Range(0.0, 0.0)


def test_a_model_of_a_fixed_batch_gets_it():
    inputs = (InputSpec(name="x", dtype="float32", dims=(4, 2)),)
    cut = list(pieces({"x": np.zeros((12, 2))}, inputs))
    assert [piece["x"].shape for piece in cut] == [(4, 2)] * 3
    assert cut[0]["x"].dtype == np.float32
    with pytest.raises(DataError, match="takes 4 samples at a time, and a calibration batch has 6"):
        list(pieces({"x": np.zeros((6, 2))}, inputs))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"y": np.zeros((2, 32))}, r"no array for the input 'x'; it has y\. Name the arrays"),
        ({"x": np.zeros((2, 31))}, r"the input 'x' takes \[N,32\], and the calibration data has \[2,31\]"),
        ({"x": np.zeros((2, 32, 1))}, r"has \[2,32,1\]"),
        ({"x": np.full((2, 32), np.nan)}, r"holds nan in 'x' at \[0, 0\]\. Clean the data"),
        ({"x": np.full((2, 32), -np.inf)}, r"holds -inf in 'x'"),
    ],
)
def test_data_that_do_not_fit_are_refused(arrays, text):
    with pytest.raises(DataError, match=text):
        ranges(mlp(), ["x"], [arrays])


def test_no_data_are_refused():
    with pytest.raises(DataError, match="holds no batch"):
        ranges(mlp(), ["x"], [])


def test_a_network_that_overflows_is_named_with_its_tensor():
    net = Net()
    net.op("Exp", "x", name="exp")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 1)),), {"y": ("N", 1)})
    with pytest.raises(DataError, match=r"'exp_out' becomes infinite in run 1 .* The float network overflows"):
        ranges(model, ["exp_out"], [{"x": np.full((1, 1), 100, np.float32)}])


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


def test_without_data_of_its_own_the_context_gives_the_models_sample():
    from dataclasses import replace

    model = replace(mlp(), sample=batches(mlp(), [10])[0])
    seen, unseen = gather(model, Context(), 256)
    assert (count(seen), count(unseen)) == (8, 2)
    assert gather(mlp(), Context(), 256) == ([], [])
