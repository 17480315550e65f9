"""A layer that a library makes anew keeps the name that its user knows."""

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.quantization.quantize import Quantize
from export.folded import fold
from export.node_names import kept_names
from models.errors import UsageError
from models.records import InputSpec, example
from tests.compress.onnx_nets import IMAGE, Net


def two_layers(*, norm=False):
    """Convolutions whose biases of zeros a rule takes off, the first with a norm behind it."""
    net = Net()
    zeros = [net.const(f"zeros{i}", np.zeros(8)) for i in range(2)]
    stem = net.op("Conv", "x", net.weight("w0", 8, 3, 3, 3), zeros[0], name="stem/conv", pads=[1] * 4)
    if norm:
        ones = [net.const(f"n{i}", np.ones(8)) for i in range(4)]
        stem = net.op("BatchNormalization", stem, *ones, name="stem/norm")
    stem = net.op("Relu", stem, name="stem/act")
    net.op("Conv", stem, net.weight("w1", 8, 8, 3, 3), zeros[1], name="head/conv", pads=[1] * 4)
    return net.model(IMAGE, {"y": ("N", 8, 16, 16)})


def test_a_layer_without_its_bias_of_zeros_is_the_same_layer():
    assert [node.name for node in fold(two_layers()).onnx.graph] == ["stem/conv", "stem/act", "head/conv"]


def test_what_is_told_again_is_told_by_operator_and_weight_then_by_what_it_gives():
    network = two_layers().onnx.clone()
    convs = [node for node in network.graph if node.op_type == "Conv"]
    with kept_names(network):
        for old in convs:
            made = ir.Node("", "Conv", old.inputs[:2], old.attributes.values(), num_outputs=1, name=f"rule{id(old)}")
            ir.convenience.replace_nodes_and_values(network.graph, old, [old], [made], old.outputs, made.outputs)
        act = next(node for node in network.graph if node.op_type == "Relu")
        act.name = None
    assert [node.name for node in network.graph][:3] == ["stem/conv", "stem/act", "head/conv"]


@pytest.mark.parametrize("mode", ["static", "weights"])
def test_a_layer_that_is_skipped_by_the_name_in_the_file_stays(mode):
    model = two_layers()
    context = Context(calibration=[example(model.inputs, {"N": 40})])
    made = Quantize(mode=mode, skip=("stem/conv",))(model, context)
    assert {row.layer: row.decision for row in made.layers}["stem/conv"] == "float"


def test_a_norm_that_went_into_a_layer_may_be_named_and_a_layer_that_was_computed_may_not():
    """Nothing of a norm is left to quantize; of a layer it would be taken for granted that it stays in float."""
    model = two_layers(norm=True)
    context = Context(calibration=[example(model.inputs, {"N": 40})])
    assert Quantize(mode="static", skip=("stem/norm",))(model, context).changed
    net = Net()
    weight = net.op("MatMul", net.weight("left", 4, 4), net.weight("right", 4, 4), name="constant")
    net.op("MatMul", "x", weight, name="layer")
    computed = net.model((InputSpec(name="x", dtype="float32", dims=("N", 4)),), {"y": ("N", 4)})
    with pytest.raises(UsageError, match=r"skip 'constant' is another layer after preparation of model 'net'.*layer"):
        Quantize(mode="weights", skip=("constant",))(computed, Context())
