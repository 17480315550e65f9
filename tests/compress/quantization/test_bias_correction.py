"""Bias correction: a mean error that was put in is taken out, and the mean of the outputs comes nearer to float's."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.base import Context
from compress.quantization.bias_correction import BiasCorrection, _layers, shift
from compress.quantization.calibrated import look
from compress.quantization.calibration_data import gather
from compress.quantization.channel_means import channel_means
from compress.quantization.level_by_level import Walk
from compress.quantization.placement import place
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from compress.quantization.static_int8 import write_qdq
from export.device import find_device
from export.folded import fold
from export.onnx_file import to_bytes
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import InputSpec, OutputSpec, example, sizes_of
from tests.compress.onnx_nets import IMAGE, Net, attention, conv_net, depthwise_net, in_half, mlp, residual_net, stream


def data(model, batches=3, rows=16, seed=100):
    return [example(model.inputs, {**sizes_of(model), "N": rows}, seed=seed + i) for i in range(batches)]


def static(model, batches, device="any", per_channel=True):
    network = model.onnx.clone()
    ranges, _ = look(model, batches, counted=False).ranges()
    write_qdq(network, place(network), ranges, scheme_for(find_device(device)), per_channel=per_channel)
    return replace(model, network=network)


def corrected(model, made, batches):
    network = made.onnx.clone()
    shift(network, BiasCorrection(model, batches)(network, "once"))
    return replace(made, network=network)


def mean_error(model, made, batches):
    name, errors = model.outputs[0].name, []
    for batch in batches:
        errors.append(onnx_runner(made)(batch)[name] - onnx_runner(model)(batch)[name])
    error = np.concatenate(errors)
    return np.abs(
        error.mean(axis=tuple(a for a in range(error.ndim) if a != (1 if error.ndim == 4 else error.ndim - 1)))
    )


@pytest.mark.parametrize("build", [conv_net, depthwise_net, residual_net, mlp, attention], ids=lambda b: b.__name__)
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_mean_of_the_outputs_comes_nearer_to_floats(build, per_channel):
    model = fold(build())
    batches = data(model)
    made = static(model, batches, per_channel=per_channel)
    better = corrected(model, made, batches)
    assert mean_error(model, better, batches).mean() < mean_error(model, made, batches).mean()
    assert optimized_graph(better) == optimized_graph(made)


def one_layer(kind):
    net = Net()
    if kind == "Gemm":
        net.linear("x", 6, 4, name="layer")
    else:
        net.matmul("x", 6, 4, name="layer")
    return fold(net.model((InputSpec(name="x", dtype="float32", dims=("N", 6)),), {"y": ("N", 4)}))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["Gemm", "MatMul"]), st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4))
def test_a_planted_error_is_found_exactly(kind, planted):
    model = one_layer(kind)
    batches = [{"x": b["x"] - b["x"].mean(1, keepdims=True) + 1} for b in data(model)]  # each row sums up to 6
    wrong = model.onnx.clone()
    weight = wrong.graph.initializers["layer.weight"]
    numbers, error = weight.const_value.numpy(), np.float32(planted) / 6
    weight.const_value = ir.tensor(numbers + (error[:, None] if kind == "Gemm" else error), name="layer.weight")
    made = static(replace(model, network=wrong), batches)
    assert mean_error(model, made, batches).max() >= max(map(abs, planted)) - 0.05
    # what is left is less than a step of the bias
    assert mean_error(model, corrected(model, made, batches), batches).max() < 1e-3


def test_a_convolution_without_bias_is_given_one_and_stays_fused():
    net = Net()
    weight = net.weight("w", 4, 3, 3, 3)
    net.op("Relu", net.op("Conv", "x", weight, name="layer", kernel_shape=[3, 3]), name="act")
    model = fold(net.model(IMAGE, {"y": ("N", 4, 14, 14)}))
    batches = [{name: array + 1 for name, array in batch.items()} for batch in data(model)]
    made = static(model, batches)
    better = corrected(model, made, batches)
    assert optimized_graph(better) == optimized_graph(made)
    assert mean_error(model, better, batches).mean() < mean_error(model, made, batches).mean()


def test_channel_means_are_numpys():
    model = fold(conv_net())
    batches = data(model)
    node = next(n for n in model.onnx.graph if n.op_type == "Conv")
    channels = node.inputs[1].shape[0]
    means, fed = channel_means(model, {node.name: (channels, 1, 1)}, batches)
    found = means[node.name]
    np.testing.assert_array_equal(np.concatenate([run["x"] for run in fed]), np.concatenate([b["x"] for b in batches]))
    watched = model.onnx.clone()
    watched.graph.outputs.append(next(v for n in watched.graph if n.name == node.name for v in n.outputs))
    run = onnx_runner(replace(model, network=watched))
    seen = np.concatenate([run(batch)[node.outputs[0].name] for batch in batches])
    np.testing.assert_allclose(found, seen.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [conv_net, depthwise_net, residual_net, mlp, attention], ids=lambda b: b.__name__)
def test_a_walk_finds_what_the_whole_graph_gives_layer_by_layer(build):
    """The slow way: the whole network again for each layer, those before it corrected."""
    model = fold(build())
    batches = data(model)
    made = static(model, batches).onnx
    found = BiasCorrection(model, batches)(made, "once")
    slow, dims = made.clone(), {layer.name: layer.dims for layer in _layers(made)}
    assert dims
    wanted, _ = channel_means(model, dims, batches)
    for name in (node.name for node in made.graph if node.name in dims):
        mean = channel_means(replace(model, network=slow), {name: dims[name]}, batches)[0][name]
        by = mean - wanted[name]
        # what is fused rounds a few sums the other way
        np.testing.assert_allclose(found[name], by, atol=0.02 * np.abs(wanted[name]).max() + 1e-4)
        shift(slow, {name: by})


def test_a_layer_that_is_called_twice_is_walked_through_again():
    net = Net(4)
    weight, bias = net.weight("w", 6, 6), net.const("b", np.full(6, 0.1))
    y = net.op("Relu", net.op("Gemm", "x", weight, bias, name="layer/Gemm", transB=1), name="relu")
    y = net.op("Gemm", y, weight, bias, name="layer/Gemm_1", transB=1)
    net.linear(net.op("Relu", y, name="relu2"), 6, 4, name="head")
    model = fold(net.model((InputSpec(name="x", dtype="float32", dims=("N", 6)),), {"y": ("N", 4)}))
    batches = data(model)
    made = static(model, batches)
    shifts = BiasCorrection(model, batches)(made.onnx, "once")
    np.testing.assert_array_equal(shifts["layer/Gemm"], shifts["layer/Gemm_1"])
    assert (
        mean_error(model, corrected(model, made, batches), batches).mean()
        < 0.3 * mean_error(model, made, batches).mean()
    )


def test_weights_that_are_only_stored_in_int8_are_corrected_too():
    """A convolution on inputs with a mean: the rounding of its weights shifts what it gives."""
    net = Net(9)
    y = net.conv(net.op("Abs", "x", name="positive"), 3, 32, name="stem")
    net.op("Conv", y, net.weight("out.weight", 8, 32, 3, 3), name="out", kernel_shape=[3, 3])
    model = fold(net.model(IMAGE, {"y": ("N", 8, 14, 14)}))
    batches = data(model)
    plain = Quantize(mode="weights", correct=False)(model, Context(calibration=batches))
    made = Quantize(mode="weights")(model, Context(calibration=batches))
    assert mean_error(model, made.model, batches).mean() < 0.1 * mean_error(model, plain.model, batches).mean()
    assert optimized_graph(made.model) == optimized_graph(plain.model)
    assert set(made.decisions["stored_shifts"]) == {"stem", "out"}
    assert not made.decisions["shifts"]


@pytest.mark.parametrize("bias", ["computed", "given", "an output"])
def test_a_bias_that_is_no_constant_of_its_own_is_left(bias):
    net = Net(5)
    weight = net.weight("w", 24, 32)
    c = net.const("c", np.full(24, 0.1)) if bias == "an output" else "c"
    if bias == "computed":
        c = net.op("Slice", "x", *[net.const(n, [i], np.int64) for n, i in (("a", 0), ("b", 24), ("d", 1))], name="c")
    net.op("Gemm", "x", weight, c, name="layer", transB=1)
    x = InputSpec(name="x", dtype="float32", dims=("N", 32))
    given = (x, InputSpec(name="c", dtype="float32", dims=("N", 24))) if bias == "given" else (x,)
    model = net.model(given, {"y": ("N", 24)})
    if bias == "an output":
        model.onnx.graph.outputs.append(model.onnx.graph.initializers["c"])
        model = replace(model, outputs=(*model.outputs, OutputSpec(name="c", dtype="float32", dims=(24,))))
    batches = [{name: abs(array) for name, array in batch.items()} for batch in data(model)]
    for mode in ("weights", "static", "dynamic"):
        made = Quantize(mode=mode)(model, Context(calibration=batches)).model
        found = onnx_runner(made)(batches[0])
        if bias == "an output":
            np.testing.assert_array_equal(found["c"], np.full(24, 0.1, np.float32))


@pytest.mark.parametrize("beta", [0.1, 10.0, 0.0])
def test_a_bias_that_is_scaled_takes_a_shift_that_is_scaled_back(beta):
    net = Net(6)
    weight, bias = net.weight("w", 24, 32), net.const("c", np.full(24, 0.1))
    net.op("Gemm", "x", weight, bias, name="layer", transB=1, beta=beta)
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"y": ("N", 24)})
    batches = [{name: abs(array) for name, array in batch.items()} for batch in data(model)]
    context = Context(calibration=batches)
    seen, _ = gather(model, context, 256)  # on these the mean is taken away whole
    found = [
        mean_error(model, Quantize(mode="weights", correct=each)(model, context).model, seen).mean()
        for each in (False, True)
    ]
    assert found[1] < (1e-3 if beta else 1.01) * found[0]


def test_weights_that_become_floats_again_are_not_kept_for_each_run():
    model = fold(mlp(64))
    made = Quantize(mode="weights")(model, Context(calibration=data(model)))
    walk = Walk(made.model.onnx, {"second"}, [{"x": b["x"][:1]} for b in data(model)])
    walk._advance(0)
    assert all(array.nbytes < 64 * 64 for kept in walk.kept for array in kept.values())


def test_a_streaming_network_is_stepped():
    model = fold(stream())
    batches = data(model, rows=1)
    made = static(model, batches)
    shifts = BiasCorrection(model, batches)(made.onnx.clone(), "once")
    assert shifts and all(np.isfinite(by).all() and by.any() for by in shifts.values())
    corrected(model, made, batches)


def test_a_further_form_takes_the_shifts_of_the_layers_it_has():
    model = fold(mlp(16))
    batches = data(model)
    made = static(model, batches)
    other = made.onnx.clone()
    shifts = BiasCorrection(model, batches)(made.onnx, "way")
    shift(other, {**shifts, "no such layer": np.zeros(3)})
    assert to_bytes(replace(made, network=other)) == to_bytes(corrected(model, made, batches))


def test_what_was_found_once_is_not_looked_for_again():
    model = fold(mlp(16))
    batches = data(model)
    network = static(model, batches).onnx
    correction = BiasCorrection(model, batches)
    first = correction(network, "way")
    correction.batches = []  # a sweep over nothing would find no mean
    assert correction(network, "way") is first


def scoped(*weights):
    """Products under one scope, as TensorFlow and the older exporter name them; weights of one name are one."""
    net, y = Net(4), "x"
    made = {}
    for i, (weight, rows, columns) in enumerate(weights):
        if weight not in made:
            made[weight] = net.weight(weight, columns, rows), net.const(f"{weight}.b", np.full(columns, 0.1))
        y = net.op("Gemm", y, *made[weight], name="net/Gemm" + (f"_{i}" if i else ""), transB=1)
        y = net.op("Relu", y, name=f"relu{i}")
    return fold(net.model((InputSpec(name="x", dtype="float32", dims=("N", 6)),), {"y": ("N", weights[-1][2])}))


@pytest.mark.parametrize("widths", [(6, 6, 6), (6, 9, 4)], ids=["alike", "different"])
def test_layers_of_one_scope_are_corrected_each_for_itself(widths):
    model = scoped(("u", 6, widths[0]), ("v", widths[0], widths[1]), ("w", widths[1], widths[2]))
    batches = data(model)
    made = static(model, batches)
    shifts = BiasCorrection(model, batches)(made.onnx, "once")
    assert [len(by) for by in shifts.values()] == list(widths)
    means = [by.mean() for by in shifts.values()]
    assert len(set(means)) == len(means)
    assert mean_error(model, corrected(model, made, batches), batches).mean() < mean_error(model, made, batches).mean()


def test_two_calls_of_one_layer_have_one_shift():
    model = scoped(("w", 6, 6), ("w", 6, 6))
    batches = data(model)
    first, second = BiasCorrection(model, batches)(static(model, batches).onnx, "once").values()
    np.testing.assert_array_equal(first, second)


def test_a_bias_that_a_layer_in_half_is_given_is_in_half():
    """One that only stores eight bits computes in the type that it came in, and so does its bias."""
    net = Net()
    net.op("Gemm", "x", net.weight("w", 32, 32), name="layer")
    model = in_half(net.model((InputSpec(name="x", dtype="float32", dims=("N", 32)),), {"y": ("N", 32)}))
    batch = {"x": (1 + np.random.default_rng(0).standard_normal((64, 32))).astype(np.float16)}
    made = Quantize(mode="weights")(model, Context(calibration=[batch], device="cuda")).model
    assert made.onnx.graph.initializers["layer.bias"].dtype == ir.DataType.FLOAT16
    assert np.isfinite(onnx_runner(made)(batch)["y"]).all()
