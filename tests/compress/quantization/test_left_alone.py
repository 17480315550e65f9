"""What a quantizer leaves as it is, and says so: integers of somebody else, operators that are not ONNX's own."""

import onnxruntime as ort
import pytest

from compress.base import Context
from compress.own_arrays import task_of
from compress.quantization.left_alone import foreign_layers, is_quantized
from compress.quantization.quantize import Quantize
from export.load import load
from export.onnx_file import write
from export.session import onnx_runner
from models.records import example
from tests.compress.onnx_nets import conv_net, mlp


def data(model, rows=64):
    return example(model.inputs, {"N": rows}, seed=3)


@pytest.mark.parametrize("mode", ["auto", "static", "weights"])
def test_an_int8_file_is_called_so(mode):
    model = conv_net()
    made = Quantize(mode="static")(model, Context(calibration=[data(model)])).model
    assert is_quantized(made) and not is_quantized(model)
    again = Quantize(mode=mode)(made, Context(calibration=[data(model)]))
    said = [again.facts.get("why", ""), *(note.text for note in again.skipped)]
    assert any("the network is quantized already" in text for text in said)


def test_layers_that_the_runtime_made_its_own_are_named(tmp_path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    write(conv_net(), tmp_path / "net.onnx")
    ort.InferenceSession(str(tmp_path / "net.onnx"), options, providers=["CPUExecutionProvider"])
    model = load(tmp_path / "optimized.onnx")
    named = {note.layer for note in foreign_layers(model)}
    assert named and not list(foreign_layers(conv_net()))
    outcome = Quantize(mode="static")(model, Context(calibration=[data(model)]))
    assert named <= {note.layer for note in outcome.skipped if "of com.microsoft is left alone" in note.text}


def test_labels_that_float_does_not_know_do_not_judge():
    """They are off by one: accuracy could not fall, whatever became of the network."""
    model = mlp()
    x = data(model, 400)
    right = onnx_runner(model)(x)["y"].argmax(1)
    classes = model.outputs[0].dims[-1]
    judged = {
        name: Quantize()(model, Context(task=task_of(x, labels, model, source="d.npz"))).facts["judged_on"]
        for name, labels in {"right": right, "wrong": (right + 1) % classes}.items()
    }
    assert judged["right"] == "validation split of d.npz"
    assert "no better than always the most frequent class" in judged["wrong"]
