"""What integer kernels ask of a layer: what they would compute otherwise stays in float, and says why."""

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.kernel_fit import unfit
from compress.quantization.onnx_weights import weights_of
from compress.quantization.quantize import Quantize
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import InputSpec, example
from tests.compress.onnx_nets import IMAGE, Net


def gemm(bias):
    net = Net()
    net.op("Gemm", "x", net.weight("w", 16, 16), net.const("bias", bias), name="layer")
    return net.model((InputSpec(name="x", dtype="float32", dims=(16, 16)),), {"y": (16, 16)})


@pytest.mark.parametrize(("shape", "fits"), [((16,), True), ((1, 16), True), ((16, 1), False), ((16, 16), False)])
def test_a_bias_is_one_number_for_each_channel(shape, fits):
    (node, *_) = gemm(np.ones(shape)).onnx.graph
    assert (unfit(node, weights_of(node)[0]) is None) == fits


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_bias_for_each_row_is_added_to_rows(mode):
    model = gemm(10 * np.random.default_rng(0).standard_normal((16, 1)))
    made = Quantize(mode=mode)(model, Context(calibration=[example(model.inputs, {}, seed=i) for i in range(4)]))
    assert [note.text for note in made.skipped if note.layer == "layer"] == ["its bias is not one constant per channel"]
    x = example(model.inputs, {}, seed=9)
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(made.model)(x)["y"]) > 60


def test_a_layer_that_reads_a_constant_is_looked_at_by_nobody():
    """What is large and read elsewhere too is not computed before: it has no output to calibrate on."""
    net = Net()
    table = net.weight("table", 1, 8, 16, 16)
    made = net.op("Conv", table, net.weight("v", 8, 8, 1, 1), name="constant", kernel_shape=[1, 1])
    net.op("Add", net.op("Add", net.conv("x", 3, 8, name="layer", relu=""), made, name="sum"), table, name="again")
    model = net.model(IMAGE, {"y": ("N", 8, 16, 16)})
    outcome = Quantize(mode="static")(model, Context(calibration=[example(model.inputs, {"N": 40})]))
    said = {note.layer: note.text for note in outcome.skipped}
    assert said["constant"] == "all that it reads is constant"
    assert [note.layer for note in outcome.changed] == ["layer"]
