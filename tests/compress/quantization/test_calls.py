"""Calls of one layer: they have its name and read its weight; two that differ in either are two layers."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.base import Context
from compress.quantization.calibrated import look
from compress.quantization.calls import calls
from compress.quantization.candidates import Maker
from compress.quantization.onnx_weights import array
from compress.quantization.origins import origins, ranges_by_origin, ranges_by_reader
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.forms import MAIN
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import Form, InputSpec, example
from tests.compress.onnx_nets import IMAGE, Net

X = (InputSpec(name="x", dtype="float32", dims=("N", 6)),)


def gemms(*layers, width=6, seed=0):
    """A chain of dense layers, each (its node's name, its weight's name); weights of one name are one."""
    net, y = Net(seed), "x"
    made = {}
    for i, (node, weight) in enumerate(layers):
        if weight not in made:
            drawn = np.random.default_rng(sum(weight.encode())).standard_normal((width, width)) / np.sqrt(width)
            made[weight] = net.const(weight, drawn), net.const(f"{weight}.bias", np.zeros(width))
        y = net.op("Gemm", y, *made[weight], name=node, transB=1)
        y = net.op("Relu", y, name=f"relu{i}") if i + 1 < len(layers) else y
    return net.model(X, {"y": ("N", width)})


def test_one_weight_that_is_read_twice_is_one_layer():
    found = calls({MAIN: gemms(("fc/Gemm", "w"), ("fc/Gemm_1", "w")).onnx})[MAIN]
    assert found == {"fc/Gemm": ("fc", 0), "fc/Gemm_1": ("fc", 0)}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["w", "v", "u"]), min_size=1, max_size=5))
def test_under_one_scope_there_are_as_many_layers_as_weights(weights):
    names = ["net/Gemm", *(f"net/Gemm_{i}" for i in range(1, len(weights)))]
    found = calls({MAIN: gemms(*zip(names, weights, strict=True)).onnx})[MAIN]
    assert len(set(found.values())) == len(set(weights))
    assert all(
        (found[a] == found[b]) == (v == w)
        for a, v in zip(names, weights, strict=True)
        for b, w in zip(names, weights, strict=True)
    )


def test_a_weight_under_two_names_of_layers_is_two():
    found = calls({MAIN: gemms(("a/Gemm", "w"), ("b/Gemm", "w")).onnx})[MAIN]
    assert len(set(found.values())) == 2


def test_another_form_has_the_same_layer_where_the_numbers_are_the_same_whatever_they_are_called():
    main, step = gemms(("m/Gemm", "w"), ("m/Gemm_1", "v")).onnx, gemms(("m/Gemm", "v")).onnx
    step.graph.initializers["v"].name = "c0"
    found = calls({MAIN: main, "step": step})
    assert found["step"]["m/Gemm"] == found[MAIN]["m/Gemm_1"] != found[MAIN]["m/Gemm"]


def test_a_matrix_that_is_stored_turned_for_another_operator_is_the_same():
    main, net = gemms(("m/Gemm", "w")).onnx, Net()
    net.op("MatMul", "x", net.const("w", array(main.graph.initializers["w"]).T), name="m/MatMul")
    found = calls({MAIN: main, "step": net.model(X, {"y": ("N", 6)}).onnx})
    assert found["step"]["m/MatMul"] == found[MAIN]["m/Gemm"]


def test_a_weight_and_the_same_one_turned_are_two_layers():
    net = Net()
    weight = net.weight("w", 4, 6)
    net.op("Gemm", net.op("Gemm", "x", weight, name="m/Gemm", transB=1), weight, name="m/Gemm_1")
    found = calls({MAIN: net.model(X, {"y": ("N", 6)}).onnx})[MAIN]
    assert found["m/Gemm"] != found["m/Gemm_1"]


def scoped(widths, between):
    """Convolutions of these widths, named as TensorFlow names those of one scope where `between` is a stroke."""
    net, y, channels = Net(7), "x", 3
    for i, width in enumerate(widths):
        name = f"net{between}Conv" + (f"_{i}" if i else "")
        weight = net.weight(f"k{i}", width, channels, 3, 3, gain=1.4)
        bias = net.const(f"b{i}", net.rng.standard_normal(width) * 0.1)
        y = net.op("Relu", net.op("Conv", y, weight, bias, name=name, pads=[1] * 4), name=f"relu{i}")
        channels = width
    return net.model(IMAGE, {"y": ("N", channels, 16, 16)})


def test_how_layers_are_named_changes_nothing_of_what_is_made_of_them():
    for widths in ([8, 12, 8], [8, 8, 8]):
        models = [scoped(widths, between) for between in "/."]
        seen = [example(IMAGE, {"N": 8}, seed=i) for i in range(3)]
        made = [Quantize(mode="static")(model, Context(calibration=seen)).model for model in models]
        x = example(IMAGE, {"N": 4}, seed=9)
        scope, dotted = (onnx_runner(model)(x)["y"] for model in made)
        np.testing.assert_array_equal(scope, dotted)
        assert sqnr_db(onnx_runner(models[0])(x)["y"], scope) > 25


def with_step():
    """Two layers under one scope, of which a further form has the second alone, under the first's name."""
    model, step = gemms(("m/Gemm", "m.w"), ("m/Gemm_1", "m.v")), gemms(("m/Gemm", "m.v"))
    return replace(model, forms={"step": Form(inputs=step.inputs, outputs=step.outputs, network=step.network)})


def maker_of(model, **settings):
    ranges, of_forms = look(model, [example(model.inputs, {"N": 16}, seed=1)], counted=False).ranges()
    return Maker(model, scheme_for(find_device("any")), ranges, (), of_forms, **settings)


def test_a_further_form_takes_the_shift_of_its_weight_and_not_of_its_name():
    shifts = {"m/Gemm": np.full(6, 1.0), "m/Gemm_1": np.full(6, 2.0)}
    made = maker_of(with_step(), correction=lambda network, key, *, rest: {} if rest else shifts).make(
        Way(kind="static")
    )
    zero = {"x": np.zeros((1, 6), np.float32)}
    found = onnx_runner(made.model, form="step")(zero)["y"]  # its bias, which was zero
    np.testing.assert_allclose(found, -2.0, atol=0.02)


def test_a_layer_that_stays_in_float_in_one_form_takes_no_other_of_its_scope_with_it():
    made = maker_of(with_step(), floats={"m/Gemm": "as a test says"}).make(Way(kind="static"))
    pairs = [n.op_type for n in made.model.forms["step"].network.graph]
    assert "QuantizeLinear" in pairs


def test_ranges_of_two_tensors_under_one_scope_stay_two():
    model = with_step()
    ranges, _ = look(model, [example(model.inputs, {"N": 16}, seed=1)], counted=False).ranges()
    ids = {}
    known = ranges_by_origin(model.onnx, ranges, ids)
    numbers = origins(model.onnx, ids)
    for value, number in numbers.items():
        assert value.name not in ranges or known[number] == ranges[value.name]
    (first, second) = ranges_by_reader(model.onnx, ranges)
    assert first != second
