"""Carriers that start from float tensors: joins to the very same numbers, sums where `wide` asks for it."""

import json
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from compress.base import Context
from compress.console import plain
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.carriers import CARRIERS, EXACT
from compress.quantization.decisions import document, read
from compress.quantization.field import Field
from compress.quantization.layer_times import LayerTimes
from compress.quantization.loss import Loss
from compress.quantization.placement import place
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from compress.quantization.study import Study, explore
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import InputSpec, example
from tests.compress.onnx_nets import IMAGE, Net, conv_net, residual_net

STATIC = Way(kind="static")
WIDE = replace(STATIC, wide=True)


def data(model, batches=3, rows=32, seed=100):
    return [example(model.inputs, {"N": rows}, seed=seed + i) for i in range(batches)]


def maker_of(model, device="any"):
    folded = fold(model)
    ranges, _ = look(folded, data(folded), wide=True).ranges()
    return Maker(folded, scheme_for(find_device(device)), ranges)


def transposed(net, x, cin, cout, *, name, k=2):
    weight = net.const(f"{name}.weight", net.rng.standard_normal((cin, cout, k, k)) / np.sqrt(cin))
    return net.op("ConvTranspose", x, weight, name=name, strides=[k, k])


def unet():
    """Down, up by a transposed convolution, which has no integer kernel, and joined with the map from before."""
    net = Net(7)
    skip = net.conv("x", 3, 16, name="down")
    low = net.conv(net.op("MaxPool", skip, name="pool", kernel_shape=[2, 2], strides=[2, 2]), 16, 16, name="low")
    joined = net.op("Concat", transposed(net, low, 16, 16, name="up"), skip, name="join", axis=1)
    net.conv(net.conv(joined, 32, 16, name="after"), 16, 4, name="last", relu="")
    return net.model(IMAGE, {"y": ("N", 4, 16, 16)})


def vocoder():
    """Up by a transposed convolution, then two residual blocks with leaky activations in front."""
    net = Net(8)
    x = transposed(net, "x", 3, 16, name="up", k=1)
    for block in ("a", "b"):
        y = net.op("LeakyRelu", x, name=f"{block}.act", alpha=0.1)
        x = net.op("Add", x, net.conv(y, 16, 16, name=block, relu=""), name=f"{block}.sum")
    net.conv(net.op("LeakyRelu", x, name="act", alpha=0.1), 16, 4, name="last", relu="")
    return net.model(IMAGE, {"y": ("N", 4, 16, 16)})


def carriers(model, starting):
    return {node.name for node in place(fold(model).network.clone(), starting=starting).carriers}


def test_a_join_with_a_map_in_float_is_done_in_integers():
    assert carriers(unet(), ()) == {"pool"}
    assert carriers(unet(), EXACT) == {"pool", "join"}
    made = maker_of(unet()).make(STATIC)
    graph = optimized_graph(made.model)
    assert graph["QLinearConcat"] == 1 and "Concat" not in graph
    assert (graph["QuantizeLinear"], graph["DequantizeLinear"]) == (2, 2)  # x and the map; for it, and the output


def test_joining_in_integers_gives_the_very_same_numbers():
    maker = maker_of(unet())
    float_join = replace(maker, scheme=replace(maker.scheme, fuses=False))
    before, after = float_join.make(STATIC).model, maker.make(STATIC).model
    assert "Concat" in optimized_graph(before)
    (x,) = data(maker.model, 1, seed=7)
    np.testing.assert_array_equal(onnx_runner(before)(x)["y"], onnx_runner(after)(x)["y"])


def test_what_is_rounded_for_a_join_alone_has_its_grid_and_what_others_read_its_own():
    placement = place(fold(unet()).network, starting=EXACT)
    shared = {value.name: root.name for value, root in placement.shares.items()}
    assert shared["up_out"] == "join_out"
    assert "down.act_out" not in shared  # the pool reads it too


def joined(left, right):
    """Two maps past these activations, joined for a convolution."""
    net = Net(9)
    both = [net.conv("x", 3, 8, name=name, relu=act) for name, act in (("left", left), ("right", right))]
    net.conv(net.op("Concat", *both, name="join", axis=1), 16, 4, name="last", relu="")
    return net.model(IMAGE, {"y": ("N", 4, 16, 16)})


@pytest.mark.parametrize(
    ("acts", "shared"),
    [(("Relu", "Relu"), {"left.act_out", "right.act_out"}), (("Relu", ""), {"right_out"}), (("", ""), 2)],
)
def test_a_relu_is_the_work_of_a_shared_grid_only_where_that_ends_at_zero(acts, shared):
    model = joined(*acts)
    network = fold(model).network
    placement = place(network)
    found = {value.name for value, root in placement.shares.items() if root.name == "join_out"}
    assert found == ({"left_out", "right_out"} if shared == 2 else shared)
    maker = maker_of(model)
    (x,) = data(model, 1, seed=7)
    made = maker.make(STATIC).model
    assert "Relu" not in optimized_graph(made)
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(made)(x)["y"]) > 28


def test_sums_and_activations_start_from_float_only_when_asked():
    model = vocoder()
    assert carriers(model, EXACT) == set()
    assert carriers(model, CARRIERS) == {"a.act", "a.sum", "b.act", "b.sum", "act"}
    maker = maker_of(model)
    narrow, wide = (optimized_graph(maker.make(way).model) for way in (STATIC, WIDE))
    assert narrow["Add"] == 2 and narrow["QuantizeLinear"] > 1
    assert (wide["QLinearAdd"], wide["QLinearLeakyRelu"]) == (2, 3)
    assert (wide["QuantizeLinear"], wide["DequantizeLinear"]) == (1, 1)


@pytest.mark.parametrize("build", [unet, vocoder, conv_net, residual_net], ids=lambda b: b.__name__)
@pytest.mark.parametrize("operators", [False, True])
def test_wide_answers_as_float_does(build, operators):
    model = build()
    made = maker_of(model).make(replace(WIDE, operators=operators)).model
    (x,) = data(model, 1, seed=7)
    name = model.outputs[0].name
    assert sqnr_db(onnx_runner(model)(x)[name], onnx_runner(made)(x)[name]) > 25


@pytest.mark.parametrize("build", [conv_net, residual_net], ids=lambda b: b.__name__)
def test_where_all_comes_from_integers_wide_is_the_same_file(build):
    maker = maker_of(build())
    assert to_bytes(maker.make(STATIC).model) == to_bytes(maker.make(WIDE).model)


@pytest.mark.parametrize("device", ["tensorrt", "stm32h743"])
def test_vendors_tools_get_joins_in_float_as_before(device):
    kinds = [node.op_type for node in maker_of(unet(), device).make(WIDE).model.network.graph]
    (join,) = (n for n in maker_of(unet(), device).make(WIDE).model.network.graph if n.op_type == "Concat")
    assert "Concat" in kinds
    assert [value.producer().op_type for value in join.inputs] == ["ConvTranspose", "DequantizeLinear"]


def test_a_sum_with_a_mask_of_infinities_stays_in_float():
    """Such a tensor has no grid; looking for its range must not refuse the network."""
    net = Net(10)
    floor = net.op("Log", net.op("Relu", "x", name="above"), name="floor")  # of nothing it is minus infinity
    total = net.op("Add", net.conv("x", 1, 8, name="one", relu=""), net.op("Tile", floor, net.const(
        "times", [1, 8, 1, 1], np.int64), name="mask"), name="sum")  # fmt: skip
    net.conv(net.op("Sigmoid", total, name="soft"), 8, 4, name="two", relu="")
    model = net.model((InputSpec(name="x", dtype="float32", dims=("N", 1, 8, 8)),), {"y": ("N", 4, 8, 8)})
    ranges = maker_of(model)
    assert "mask_out" not in ranges.ranges
    graph = optimized_graph(ranges.make(WIDE).model)
    assert graph["Add"] == 1 and graph["QLinearConv"] == 2


def test_a_table_of_a_wide_file_is_replayed_to_the_same_bytes(tmp_path):
    model = vocoder()
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    table = plain(made.decisions)
    assert table["way"]["wide"] is False
    table["way"]["wide"] = True
    path = tmp_path / "t.json"
    path.write_text(json.dumps(table))
    again = [Quantize(decisions=str(path))(model, Context()).model for _ in range(2)]
    assert to_bytes(again[0]) == to_bytes(again[1]) != to_bytes(made.model)
    assert optimized_graph(again[0])["QLinearAdd"] == 2


def test_a_table_from_before_is_read_and_gives_the_same_numbers(tmp_path):
    """It knows neither the word nor the ranges of what could be rounded now."""
    model = fold(unet())
    ranges, _ = look(model, data(model)).ranges()
    maker = Maker(model, scheme_for(find_device("any")), ranges)
    before = replace(maker, scheme=replace(maker.scheme, fuses=False)).make(STATIC)
    table = document(before, maker, (), device="any")
    del table["way"]["wide"]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(plain(table)))
    assert read(path).way == STATIC
    (x,) = data(model, 1, seed=7)
    replayed = Quantize(decisions=str(path))(model, Context()).model
    np.testing.assert_array_equal(onnx_runner(before.model)(x)["y"], onnx_runner(replayed)(x)["y"])


def keeps(_):
    return Loss(points=0.0, text="", keeps=True)


@pytest.mark.parametrize(("build", "timed", "offered"), [(vocoder, True, 2), (vocoder, False, 0), (conv_net, True, 0)])
def test_auto_is_offered_it_where_it_goes_further_and_a_clock_can_tell(build, timed, offered):
    maker = maker_of(build())
    field = Field(maker, keeps)
    whole = maker.make(STATIC)
    looked = Study(
        whole, maker.placing.place(maker.model.network, {}), times=LayerTimes({}, {}, {}, {}, {}) if timed else None
    )
    explore(field, looked)
    found = [one for one in field.candidates.values() if one.way.wide]
    assert len(found) == offered
    assert [one.name for one in found] == ["static per channel, wide", "static per channel QOperator, wide"][:offered]


def test_the_network_that_is_placed_is_untouched():
    model = fold(vocoder())
    before = ir.to_proto(model.network).SerializeToString()
    place(model.network, starting=CARRIERS)
    assert ir.to_proto(model.network).SerializeToString() == before
