"""Weights without a sign: all eight bits for processors that would clip sums of signed ones, tried where those lose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.base import Context
from compress.quantization.int8 import weight_grid
from compress.quantization.onnx_weights import weights_of
from compress.quantization.quantize import Quantize
from compress.quantization.used_bits import used_bits
from compress.quantization.ways import Way
from export.profile import optimized_graph
from export.session import onnx_runner
from tests.compress.onnx_nets import attention, depthwise_net, mlp, recurrent
from tests.compress.quantization.test_static_int8 import data, maker_of

WEIGHTS = arrays(np.float32, (3, 7), elements=st.floats(-8, 8, width=32))


@given(WEIGHTS, st.booleans())
def test_without_a_sign_a_weight_is_the_same_number_as_with_all_eight_bits(weight, per_channel):
    axes = (0,) if per_channel else ()
    signed, unsigned = weight_grid(weight, axes), weight_grid(weight, axes, pairs_fit=True, unsigned=True)
    names = unsigned.quantize(weight)
    assert names.dtype == np.uint8
    np.testing.assert_array_equal(unsigned.dequantize(names), signed.dequantize(signed.quantize(weight)))


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        *((build, kind) for build in (mlp, attention) for kind in ("static", "dynamic")),
        (depthwise_net, "static"),
        (lambda: recurrent("LSTM"), "dynamic"),
    ],
    ids=["mlp-static", "mlp-dynamic", "attention-static", "attention-dynamic", "depthwise", "lstm"],
)
def test_it_computes_what_signed_weights_of_eight_bits_do_in_as_many_integer_nodes(build, kind):
    model = build()
    signed = maker_of(model, "x86-vnni").make(Way(kind=kind)).model
    unsigned = maker_of(model).make(Way(kind=kind, unsigned=True)).model
    assert optimized_graph(unsigned) == optimized_graph(signed)
    feed, name = data(model, 1, rows=4, seed=7)[0], model.outputs[0].name
    wanted, found = onnx_runner(signed)(feed)[name], onnx_runner(unsigned)(feed)[name]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_it_is_tried_only_where_narrow_weights_lose_too_much():
    model = mlp()

    def tried(max_drop, device):
        outcome = Quantize(mode="auto", max_drop=max_drop)(model, Context(calibration=data(model), device=device))
        return {row["name"] for row in outcome.facts["candidates"]}

    assert not any("unsigned" in name for name in tried(5.0, "any"))
    strict = tried(1e-4, "any")
    assert {"static per channel unsigned", "dynamic unsigned"} <= strict
    assert not any("unsigned" in name for name in tried(1e-4, "x86-vnni"))


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_table_tells_that_all_bits_are_used(kind):
    maker = maker_of(mlp())
    layers = {node.name: weights_of(node)[0] for node in maker.model.onnx.graph if weights_of(node)}

    def bits(unsigned):
        made = maker.make(Way(kind=kind, unsigned=unsigned)).model.onnx.graph
        return [used_bits(node, layers[node.name]) for node in made if node.name in layers]

    assert bits(True) == pytest.approx([8.0] * 3) and max(bits(False)) < 7.8
