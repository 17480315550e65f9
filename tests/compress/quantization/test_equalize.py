"""Equalization: the network computes what it did, and both sides of a junction reach as far."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.quantization.equalize import channel_reaches, factors, rescaled, shared_junctions
from compress.quantization.junctions import junctions
from export.folded import fold
from export.session import onnx_runner
from models.records import Form, InputSpec, example, sizes_of
from tests.compress.onnx_nets import IMAGE, Net, attention, conv_net, depthwise_net, mlp, recurrent, residual_net


def data(model, rows=8, seed=3):
    return [example(model.inputs, {**sizes_of(model), "N": rows}, seed=seed)]


def equalized(model, batches):
    """The model with its junctions rescaled by what the batches show; itself where it has none."""
    main = shared_junctions(model)
    return rescaled(model, factors(main, channel_reaches(model, main, batches))) if main else model


def outputs(model, batch):
    return onnx_runner(model)(batch)[model.outputs[0].name]


def spread(model, seed=0, deviation=2.0):
    """The same network with channels of very different reach."""
    rng = np.random.default_rng(seed)
    main = shared_junctions(model)
    sizes = {j.name: len(r) for j, r in zip(main, channel_reaches(model, main, data(model)).values(), strict=True)}
    return rescaled(model, {name: np.exp(deviation * rng.standard_normal(n)) for name, n in sizes.items()})


@pytest.mark.parametrize(
    ("build", "count"),
    [(conv_net, 2), (depthwise_net, 3), (residual_net, 2), (mlp, 2), (attention, 1), (recurrent, 0)],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_the_network_computes_what_it_did(build, count):
    model = fold(build())
    assert len(junctions(model.onnx.graph)) == count
    wild = spread(model)
    made = equalized(wild, data(model))
    before = outputs(model, data(model)[0])
    for other in (wild, made):
        np.testing.assert_allclose(outputs(other, data(model)[0]), before, rtol=1e-3, atol=1e-4 * np.abs(before).max())


def test_two_layers_by_hand():
    net = Net()
    a, b = np.array([[8.0], [0.5]], np.float32), np.array([[0.5, 2.0]], np.float32)
    first = net.op("Gemm", "x", net.const("a", a), net.const("a.bias", [0.0, 0.0]), name="first", transB=1)
    net.op("Gemm", net.op("Relu", first, name="act"), net.const("b", b), name="second", transB=1)
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 1)),), {"y": ("N", 1)})
    # channels reach 8 and 0.5, are heard by 0.5 and 2: s = sqrt(8 / 0.5), sqrt(0.5 / 2)
    made = equalized(model, [{"x": np.array([[1.0], [-3.0]], np.float32)}])
    stored = {name: value.const_value.numpy() for name, value in made.onnx.graph.initializers.items()}
    np.testing.assert_allclose(stored["a"], [[2.0], [1.0]])
    np.testing.assert_allclose(stored["b"], [[2.0, 1.0]])


def test_what_was_spread_is_found_again_through_a_depthwise_pair():
    model = depthwise_net()
    once, again = (equalized(m, data(model)) for m in (model, spread(model)))
    for name, value in once.onnx.graph.initializers.items():
        other = again.onnx.graph.initializers[name].const_value.numpy()
        np.testing.assert_allclose(other, value.const_value.numpy(), rtol=0.02, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 3.0))
def test_both_sides_of_a_junction_reach_as_far(seed, deviation):
    model = spread(mlp(16), seed, deviation)
    main = shared_junctions(model)
    made = equalized(model, data(model))
    reaches = channel_reaches(made, main, data(model))
    for junction in shared_junctions(made):
        weight = junction.reads[0].value.const_value.numpy()
        heard, reach = np.abs(weight).max(axis=0), reaches[junction.name]
        alive = reach > 0
        np.testing.assert_allclose(reach[alive], heard[alive], rtol=0.01)


def test_a_dead_channel_stays_as_it_is():
    main = shared_junctions(mlp(16))
    found = factors(main, {junction.name: np.zeros(16) for junction in main})
    assert all(np.array_equal(by, np.ones(16)) for by in found.values())


def blocked(kind):
    """Two convolutions with something between them that no scale passes."""
    net = Net()
    x = net.conv("x", 3, 4, name="a", relu="")
    if kind == "clip at six":
        x = net.op("Clip", x, net.const("low", 0.0), net.const("high", 6.0), name="between")
    elif kind == "another reader":
        x = net.op("Relu", x, name="between")
        net.op("Add", net.conv(x, 4, 4, name="b"), x, name="sum")
        return net.model(IMAGE, {"y": ("N", 4, 16, 16)})
    elif kind == "sigmoid":
        x = net.op("Sigmoid", x, name="between")
    net.conv(x, 4, 4, name="b", group=2 if kind == "groups" else 1)
    return net.model(IMAGE, {"y": ("N", 4, 16, 16)})


@pytest.mark.parametrize("kind", ["clip at six", "another reader", "sigmoid", "groups"])
def test_no_scale_passes(kind):
    model = blocked(kind)
    assert junctions(model.onnx.graph) == []
    assert equalized(model, data(model)) is model


def test_a_tensor_that_is_an_output_and_a_weight_that_two_layers_share_stay():
    model = mlp(16)
    inner = junctions(model.onnx.graph)[0].tensor
    shown = model.onnx.clone()
    shown.graph.outputs.append(next(v for n in shown.graph for v in n.outputs if v.name == inner.name))
    assert len(junctions(shown.graph)) == len(junctions(model.onnx.graph)) - 1
    shared = model.onnx.clone()
    shared.graph.append(ir.node("Neg", [junctions(shared.graph)[0].gives[0].value]))
    assert len(junctions(shared.graph)) == len(junctions(model.onnx.graph)) - 1


def test_all_forms_are_rescaled_alike_or_none():
    model = spread(mlp(16))
    same = Form(inputs=model.inputs, outputs=model.outputs, network=model.onnx.clone())
    made = equalized(replace(model, forms={"same": same}), data(model))
    weights = {name: value.const_value.numpy() for name, value in made.onnx.graph.initializers.items()}
    for name, value in made.forms["same"].network.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), weights[name])
    other = model.onnx.clone()
    first = junctions(other.graph)[0]
    other.graph.outputs.append(first.tensor)  # given in this form, so that it must stay
    part = replace(model, forms={"other": replace(same, network=other)})
    assert first.name not in {junction.name for junction in shared_junctions(part)}


def stacked():
    """Products with a matrix for each head, as many numbers in as out: the axis of their channels is the last."""
    net = Net()
    y = net.op("Relu", net.op("MatMul", "x", net.weight("heads", 2, 8, 8), name="heads"), name="act")
    net.op("MatMul", y, net.weight("last", 8, 4), name="last")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", 2, 3, 8)),), {"y": ("N", 2, 3, 4)})


def rowwise():
    """A bias for each row, of which there are as many as channels."""
    net = Net()
    given = net.op("Gemm", "x", net.weight("w", 4, 4), net.const("rows", np.ones((4, 1))), name="first")
    net.op("Gemm", net.op("Relu", given, name="act"), net.weight("v", 4, 4), name="last")
    return net.model((InputSpec(name="x", dtype="float32", dims=(4, 4)),), {"y": (4, 4)})


@pytest.mark.parametrize("build", [stacked, rowwise])
def test_what_is_no_matrix_with_a_vector_is_no_junction(build):
    assert junctions(build().onnx.graph) == []
