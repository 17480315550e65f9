"""Products of two activations, as attention has them: rounded on both sides where the target gains, else in float."""

import pytest

from compress.base import Context
from compress.quantization.placement import of_activations, place
from compress.quantization.quantize import Quantize
from export.folded import fold
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import example
from tests.compress.onnx_nets import attention


def data(model, seed=0):
    return [example(model.inputs, {"N": 16, "T": 9}, seed=seed)]


def sources(outcome, name):
    (node,) = [node for node in outcome.model.network.graph if node.name == name]
    return [value.producer().op_type for value in node.inputs]


@pytest.mark.parametrize("device", ["tensorrt", "stm32h743"])
def test_a_target_that_gains_gets_both_operands_rounded(device):
    model = attention()
    outcome = Quantize(mode="static")(model, Context(calibration=data(model), device=device))
    for name in ("scores", "mix"):
        assert sources(outcome, name) == ["DequantizeLinear", "DequantizeLinear"]
        assert f"{name}: MatMul in int8, ranges from calibration" in {f"{n.layer}: {n.text}" for n in outcome.changed}
    x = data(model, 5)[0]
    wanted, found = (onnx_runner(m)(x)["logits"] for m in (model, outcome.model))
    assert sqnr_db(wanted, found) > 25


def test_on_a_processor_they_stay_in_float_and_the_table_says_why():
    model = attention()
    outcome = Quantize(mode="static")(model, Context(calibration=data(model)))
    assert "DequantizeLinear" not in sources(outcome, "scores")
    notes = {note.layer: note.text for note in outcome.skipped}
    assert notes["scores"] == notes["mix"]
    assert "in integers it is no faster on a processor" in notes["scores"]


def test_a_product_with_a_constant_is_a_layer_and_no_such_product():
    network = fold(attention()).network
    named = {node.name for node in network.graph if of_activations(node)}
    assert named == {"scores", "mix"}
    assert {node.name for node in place(network, products=True).products} == named
    assert not place(network, products=True, skip=("scores", "mix")).products
