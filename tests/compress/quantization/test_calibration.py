"""Calibration: exact ranges from one sweep, in pieces, through states; and what is no number is named."""

from dataclasses import replace

import numpy as np
import pytest

from compress.quantization.calibrated import look
from compress.quantization.calibration import histograms, runs
from compress.quantization.calibration_data import Kept
from compress.quantization.histogram import Range
from export.prepare import strip
from export.session import onnx_runner
from export.stream import stream as runs_of
from models.errors import CompressError, DataError
from models.records import InputSpec, example
from tests.compress.onnx_nets import Net, cached, conv_net, mlp, stream


def batches(model, rows, seed=100):
    return [example(model.inputs, {"N": n}, seed=seed + i) for i, n in enumerate(rows)]


def ranges(*args, **options):
    return {name: one.seen for name, one in histograms(*args, **options).items()}


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


def test_a_cache_grows_as_it_does_in_use():
    """What attention reads is all that was remembered, and begins anew where the positions end."""
    model = cached(positions=4)
    x = np.random.default_rng(0).standard_normal((10, 2, 1, 8)).astype(np.float32)
    steps = [{"x": each} for each in x]
    run = onnx_runner(replace(model, forms={}))
    alone = [step for part in (steps[:4], steps[4:8], steps[8:]) for step in runs_of(run, model.inputs, part)]
    assert [step["present"].shape[1] for step in alone] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    found = list(runs(model, ["all_out", "present", "y"], steps))
    for (tensors, rows), wanted in zip(found, alone, strict=True):
        assert rows == 2 and tensors["past"].shape[1] == tensors["all_out"].shape[1] - 1
        np.testing.assert_array_equal(tensors["present"], wanted["present"])
        np.testing.assert_allclose(tensors["y"], wanted["y"], rtol=1e-5, atol=1e-6)
    kept = np.concatenate([step["present"].ravel() for step in alone])
    assert ranges(model, ["all_out"], steps)["all_out"] == Range(float(kept.min()), float(kept.max()))


def test_a_step_that_does_not_run_is_named():
    with pytest.raises(CompressError, match=r"model 'net' does not run on past .* indices element out of data bounds"):
        ranges(cached(3), ["y"], [{"x": np.ones((1, 1, 8), np.float32), "past": np.ones((1, 5, 8), np.float32)}])


def test_no_data_are_refused():
    with pytest.raises(DataError, match="holds no batch"):
        ranges(mlp(), ["x"], [])


def test_a_network_that_overflows_is_named_with_its_tensor():
    net = Net()
    net.op("Exp", "x", name="exp")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 1)),), {"y": ("N", 1)})
    with pytest.raises(DataError, match=r"'exp_out' becomes infinite at sample 1 of .* The float network overflows"):
        ranges(model, ["exp_out"], [{"x": np.full((1, 1), 100, np.float32)}])


def test_a_tensor_that_is_no_number_is_named_with_the_first_such_sample():
    net = Net()
    net.op("Log", "x", name="log")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 1)),), {"y": ("N", 1)})
    rows = np.ones((40, 1), np.float32)
    rows[37] = -1
    with pytest.raises(DataError, match="'log_out' becomes NaN at sample 43 of the calibration data"):
        histograms(model, ["log_out"], [{"x": np.ones((5, 1), np.float32)}, {"x": rows}])


def test_what_is_counted_does_not_depend_on_how_batches_are_cut():
    model = conv_net()
    x = np.concatenate([batch["x"] for batch in batches(model, [50, 43])])
    once = histograms(model, ["x"], [{"x": x}])["x"]
    again = histograms(model, ["x"], [{"x": x[80:]}, {"x": x[:80]}])["x"]
    np.testing.assert_array_equal(once.counts, again.counts)
    assert (once.seen, once.size, once.width) == (again.seen, x.size, again.width)


def test_progress_counts_samples_of_how_many():
    told, data = [], Kept()
    for batch in batches(mlp(), [40, 8]):
        data.append(batch)
    histograms(mlp(), ["x"], data, progress=lambda *done, detail: told.append(done))
    assert told[-1] == ("calibration", 48, 48)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_many_samples_take_no_more_memory_than_few():
    import tracemalloc

    model = conv_net()
    names = ["x", "stem_out", "stem.act_out", "body_out"]

    def peak(count):
        tracemalloc.start()
        histograms(model, names, (example(model.inputs, {"N": 32}, seed=i) for i in range(count)))
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    peak(1)
    few, many = peak(4), peak(16)
    assert many <= 1.1 * few


def masked():
    """What is greater than a threshold, the rest at minus infinity: a mask in booleans, a shape in integers."""
    net = Net()
    mask = net.op("Greater", "x", net.const("least", 0.0), name="mask")
    scores = net.op("Where", mask, "x", net.const("fill", -np.inf), name="scores")
    shape = net.op("Shape", "x", name="shape")
    shares = net.op("Reshape", net.op("Softmax", scores, name="shares", axis=-1), shape, name="same")
    net.matmul(shares, 4, 4, name="head")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", 4)),), {"y": ("N", 4)})


def test_of_all_that_is_computed_the_floats_are_looked_at_and_of_what_is_not_rounded_the_finite_ones():
    x = np.array([[1, -2, 3, -4], [-1, 2, -3, 0.5]], np.float32)
    model = masked()
    strip(model.onnx)  # as preparation leaves it: nobody says what is a boolean
    seen, _ = look(model, [{"x": x}], everything=True, counted=False).ranges()
    assert seen["scores_out"] == Range(0.0, 3.0)  # a range holds zero
    assert not {"mask_out", "shape_out"} & set(seen)
    assert {"shares_out", "same_out", "head_out"} <= set(seen)


def test_what_is_rounded_may_hold_no_infinity():
    net = Net()
    net.linear(net.op("Log", "x", name="log"), 4, 4, name="fc")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 4)),), {"y": ("N", 4)})
    with pytest.raises(DataError, match="'log_out' becomes infinite at sample 1"):
        look(model, [{"x": np.zeros((1, 4), np.float32)}], everything=True)
