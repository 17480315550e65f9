"""A layer that is left in float computes so, with its own weights, whatever the runtime makes of pairs around it."""

from dataclasses import replace

import numpy as np
import pytest

from compress.base import Context
from compress.quantization.calibrated import look
from compress.quantization.candidates import Maker
from compress.quantization.quantize import Quantize
from compress.quantization.schemes import scheme_for
from compress.quantization.ways import Way
from export.device import find_device
from export.folded import fold
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import example
from tests.compress.onnx_nets import IMAGE, Net

STATIC = Way(kind="static")


def data(model, seed=100):
    return [example(model.inputs, {"N": 32}, seed=seed)]


def maker_of(model, device="any"):
    folded = fold(model)
    return Maker(
        folded, scheme_for(find_device(device)), look(folded, data(folded)).ranges()[0], floats={"kept": "asked"}
    )


def net_of(build):
    """One layer in int8, what `build` makes of it in float, and one in int8 behind that."""
    net = Net(11)
    shape = build(net, net.conv("x", 3, 16, name="one"))
    return net.model(IMAGE, {"y": shape})


def plain(net, x, relu="Relu"):
    net.conv(net.conv(x, 16, 16, name="kept", relu=relu), 16, 4, name="two", relu="")
    return ("N", 4, 16, 16)


def bare(net, x):
    return plain(net, x, relu="")


def grouped(net, x):
    net.conv(net.conv(x, 16, 16, name="kept", group=4), 16, 4, name="two", relu="")
    return ("N", 4, 16, 16)


def pooled(net, x):
    plain(net, net.op("MaxPool", x, name="pool", kernel_shape=[2, 2], strides=[2, 2]))
    return ("N", 4, 8, 8)


def dense(net, x):
    flat = net.op("Flatten", net.op("GlobalAveragePool", x, name="gap"), name="flat")
    net.linear(net.op("Relu", net.linear(flat, 16, 16, name="kept"), name="act"), 16, 4, name="two")
    return ("N", 4)


def upwards(net, x):
    weight = net.const("kept.weight", net.rng.standard_normal((16, 8, 2, 2)) / 4)
    y = net.op("ConvTranspose", x, weight, name="kept", strides=[2, 2])
    net.conv(y, 8, 4, name="two", relu="")
    return ("N", 4, 32, 32)


def shared(net, x):
    """A second reader in float, of the tensor that is read back."""
    y = net.op("Tanh", x, name="other")
    net.conv(net.op("Add", net.conv(x, 16, 16, name="kept"), y, name="sum"), 16, 4, name="two", relu="")
    return ("N", 4, 16, 16)


@pytest.mark.parametrize("operators", [False, True])
@pytest.mark.parametrize("build", [plain, bare, grouped, pooled, dense, upwards, shared], ids=lambda b: b.__name__)
def test_a_layer_between_two_in_integers_computes_in_float(build, operators):
    model = net_of(build)
    made = maker_of(model).make(replace(STATIC, operators=operators)).model
    graph = optimized_graph(made)
    assert graph.get("QLinearConv", 0) + graph.get("QGemm", 0) == 2
    assert sum(graph.get(kind, 0) for kind in ("Conv", "FusedConv", "Gemm", "FusedGemm", "ConvTranspose")) == 1
    (x,) = data(model, seed=7)
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(made)(x)["y"]) > 28


def test_only_the_layer_has_a_scale_for_each_channel():
    """Where the runtime puts channels last, such a conversion is slower."""
    made = maker_of(net_of(shared)).make(STATIC).model
    reads = {node.name: node.inputs[0].producer() for node in made.network.graph if node.name in ("kept", "other")}
    dims = {name: pair.inputs[1].const_value.numpy().ndim for name, pair in reads.items()}
    assert dims == {"kept": 1, "other": 0}


def test_the_same_scale_for_each_channel_is_the_same_number():
    model = net_of(bare)
    made = maker_of(model).make(STATIC).model
    constants = {name: value.const_value.numpy() for name, value in made.network.graph.initializers.items()}
    (scales,) = (value for name, value in constants.items() if name.startswith("one.act_out_scale") and value.ndim)
    np.testing.assert_array_equal(scales, np.full(16, constants["one.act_out_scale"]))
    np.testing.assert_array_equal(
        constants["kept.weight"], fold(model).network.graph.initializers["kept.weight"].const_value
    )


@pytest.mark.parametrize("device", ["tensorrt", "stm32h743"])
def test_vendors_tools_get_one_scale(device):
    made = maker_of(net_of(plain), device).make(STATIC).model
    scales = [n.inputs[1].const_value.numpy() for n in made.network.graph if n.op_type == "QuantizeLinear"]
    assert all(scale.ndim == 0 for scale in scales)
    back = [n for n in made.network.graph if n.op_type == "DequantizeLinear" and n.inputs[0].const_value is None]
    assert all(n.inputs[1].const_value.numpy().ndim == 0 for n in back)


POOLS = {
    "counts a rounded-up end": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1,
                                "count_include_pad": 1},
    "skips": {"kernel_shape": [2, 2], "dilations": [2, 2]},
    "says that it skips none": {"kernel_shape": [2, 2], "dilations": [1, 1]},
}  # fmt: skip


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_that_the_integer_kernel_computes_otherwise_stays_in_float(kind):
    net = Net()
    pooled = net.op("AveragePool", net.conv("x", 3, 16, name="one"), name="pool", **POOLS[kind])
    net.conv(pooled, 16, 4, name="two", relu="")
    model = net.model(IMAGE, {"y": ("N", 4, "H", "W")}, opset=19)
    made = Quantize(mode="static")(model, Context(calibration=data(model)))
    integer = "says" in kind
    assert ("QLinearAveragePool" in optimized_graph(made.model)) == integer
    x = example(model.inputs, {"N": 2}, seed=7)
    assert sqnr_db(onnx_runner(model)(x)["y"], onnx_runner(made.model)(x)["y"]) > 30
