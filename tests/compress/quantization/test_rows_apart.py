"""Rows of the data that are no samples to the network: told, and never where they are."""

import numpy as np
import pytest
import torch

from compress.base import Context
from compress.own_arrays import task_of
from compress.pruning.prune import Prune
from compress.quantization.calibrated import look
from compress.quantization.quantize import Quantize
from compress.quantization.rows_apart import mixed_rows
from compress.quantization.watched import watched
from compress.recipe import run
from export.folded import fold
from export.parity import sqnr_db
from export.session import onnx_runner
from export.stepped import any_batch
from export.stopwatch import Stopwatch
from export.wrap import Model
from models.errors import DataError
from models.records import example, sizes_of
from models.tasks import Classification
from tests.compress.onnx_nets import attention, conv_net, depthwise_net, mlp, recurrent, stream
from tests.export.test_whole_samples import time_first


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rows", ["N", 6])
def test_a_network_that_takes_time_first_is_told(last, rows):
    model = time_first(last=last, rows=rows)
    x = {"x": np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32)}
    outcome = Quantize(mode="weights")(model, Context(calibration=[x]))
    assert "time first?" in outcome.facts["warning"]
    assert f"(samples, T, {rows}, 8)" in outcome.facts["warning"]


@pytest.mark.parametrize("mode", ["auto", "static", "dynamic"])
@pytest.mark.parametrize("last", [False, True])
def test_samples_that_are_whole_inputs_are_calibrated_judged_and_timed_with(last, mode):
    model = time_first(last=last)
    x = {"x": np.random.default_rng(0).normal(size=(60, 6, 1, 8)).astype(np.float32)}
    outcome = Quantize(mode=mode)(model, Context(calibration=[x], measure=Stopwatch(seconds=0.02)))
    assert "warning" not in outcome.facts and outcome.facts["calibration_samples"] == 48
    assert outcome.changed
    found, wanted = (onnx_runner(each)({"x": x["x"][:8]})["y"] for each in (outcome.model, model))
    assert sqnr_db(wanted, found) > 20


def test_ranges_are_those_of_each_sample_by_itself():
    model = fold(time_first())
    x = np.random.default_rng(0).normal(size=(50, 6, 1, 8)).astype(np.float32)
    flat = next(node.outputs[0].name for node in model.onnx.graph if node.op_type == "Squeeze")
    (seen,) = [look(model, [{"x": part} for part in np.split(x, 2)]).ranges()[0][flat]]
    states = onnx_runner(watched(model, [flat]))({"x": x})[flat]
    assert (seen.low, seen.high) == pytest.approx((min(0, states.min()), states.max()))


def test_labels_of_whole_samples_are_scored():
    model = time_first(last=True)
    x = np.random.default_rng(0).normal(size=(60, 6, 1, 8)).astype(np.float32)
    right = onnx_runner(model)({"x": x})["y"][:, 0].argmax(1)
    task = task_of({"x": x}, np.where(np.arange(60) % 4 == 0, (right + 1) % 4, right), model, source="d.npz")
    assert isinstance(task, Classification)
    target = np.concatenate([target for _, target in task.test])
    answers = np.concatenate([onnx_runner(model)(inputs)["y"][:, 0].argmax(1) for inputs, _ in task.test])
    assert task.score(any_batch(model), "test").value == pytest.approx(np.mean(target == answers))


def test_they_are_no_batches_to_train_on():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    model = Model(net, inputs=["x:float32[T,N,8]"])
    x = np.random.default_rng(0).normal(size=(30, 6, 1, 8)).astype(np.float32)
    task = task_of({"x": x}, None, model, source="d.npz")
    with pytest.raises(DataError, match="prune: the data have one dimension more"):
        run([Prune(ratio=0.5, recover=2)], model, Context(task=task))


@pytest.mark.parametrize("build", [conv_net, depthwise_net, mlp, recurrent, attention, stream])
@pytest.mark.parametrize("mode", ["weights", "dynamic"])
def test_a_network_whose_rows_are_samples_is_not(build, mode):
    model = build()
    x = example(model.inputs, {**sizes_of(model), "N": 8}, seed=1)
    outcome = Quantize(mode=mode)(model, Context(calibration=[x]))
    assert "warning" not in outcome.facts
    assert mixed_rows(outcome.model, [x]) == ""  # nor where rows share the range of the moment


def test_two_rows_are_too_few_to_tell():
    model = time_first()
    assert mixed_rows(model, [{"x": np.zeros((2, 6, 8), np.float32)}]) == ""
