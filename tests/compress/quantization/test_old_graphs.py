"""Every row of the table of old and odd files is quantized, runs, and agrees with the float network."""

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.placement import place
from compress.quantization.quantize import Quantize
from export.folded import folded
from export.onnx_file import read, write
from export.parity import parity
from export.session import onnx_runner
from models.records import Model, example, sizes_of
from tests.export.old_graphs import TABLE

RATES = {"sr": (16000, 8000)}  # the numbers that a whole-number input means something by
PICTURE = {"no_small_example": {"h": 40, "h2": 40}}


def opened(folder, name: str) -> Model:
    path = folder / f"{name}.onnx"
    path.write_bytes(TABLE[name]().SerializeToString())
    return read(path)


def data(model: Model, name: str) -> list:
    """A few batches of many rows where the batch is free, else many of one."""
    sizes = {**sizes_of(model), **PICTURE.get(name, {})}
    first = {spec.dims[0] if spec.dims else None for spec in model.inputs}
    free = len(first) == 1 and isinstance(next(iter(first)), str)
    batches = [
        example(model.inputs, {**sizes, **({next(iter(first)): 48} if free else {})}, seed=i)
        for i in range(2 if free else 40)
    ]
    for i, batch in enumerate(batches):
        batch.update({n: np.asarray(RATES[n][i % 2]) for n in RATES if n in batch})
    return batches


@pytest.mark.parametrize("name", list(TABLE))
def test_int8_runs_and_agrees(name, tmp_path):
    model = opened(tmp_path, name)
    batches = data(model, name)
    outcome = Quantize(mode="static")(model, Context(calibration=batches))
    write(outcome.model, tmp_path / "out.onnx")
    found = parity(onnx_runner(model), onnx_runner(read(tmp_path / "out.onnx")), batches[:4])
    assert found.sqnr_db >= 20


@pytest.mark.parametrize("name", list(TABLE))
def test_weights_run_and_agree_without_data(name, tmp_path):
    model = opened(tmp_path, name)
    outcome = Quantize(mode="weights")(model, Context())
    write(outcome.model, tmp_path / "out.onnx")
    found = parity(onnx_runner(model), onnx_runner(read(tmp_path / "out.onnx")), data(model, name)[:2])
    assert found.sqnr_db >= 30


def stays_float(folder, name: str) -> set:
    made = folded(opened(folder, name)).model
    placement = place(made.onnx)
    return {note.layer for note in placement.refused if "several kinds" in note.text}


def test_layers_whose_results_of_several_kinds_meet_stay_in_float(tmp_path):
    assert len(stays_float(tmp_path, "detector_head")) == 2
    assert len(stays_float(tmp_path, "detector_head_in_one_convolution")) == 1


@pytest.mark.parametrize("name", ["face_detector_of_opset_nine", "sequences_inside", "caches_in_and_out", "many_grus"])
def test_boxes_and_scores_in_outputs_of_their_own_are_rounded(tmp_path, name):
    assert stays_float(tmp_path, name) == set()


def test_half_and_double_weights_are_stored_in_8_bits(tmp_path):
    for name in ("half_precision", "double_precision"):
        changed = Quantize(mode="weights")(opened(tmp_path, name), Context()).changed
        assert len([note for note in changed if note.layer]) == 2
