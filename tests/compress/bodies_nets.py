"""Small ONNX networks whose layers lie in the bodies of If, Scan and Loop, as exported voice detectors have them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from models.records import InputSpec, Model, OutputSpec
from tests.compress.onnx_nets import Net

_F = TensorProto.FLOAT


def _model(nodes: list[onnx.NodeProto], net: Net, inputs: tuple[InputSpec, ...], dims: tuple[int | str, ...]) -> Model:
    kinds = {"float32": _F, "int64": TensorProto.INT64}
    given = [helper.make_tensor_value_info(s.name, kinds[s.dtype], s.dims) for s in inputs]
    graph = helper.make_graph(nodes, "net", given, [helper.make_tensor_value_info("y", _F, dims)], net.constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return Model(ir.from_proto(proto), inputs, (OutputSpec(name="y", dtype="float32", dims=dims),), name="net")


def _branch(net: Net, width: int, tag: str) -> onnx.GraphProto:
    """Two convolutions over time, an LSTM and a head; all branches use the same names for what they compute."""
    net.nodes = []
    y = "x"
    for layer, cin in (("one", 16), ("two", width)):
        weight = net.weight(f"{tag}.{layer}.weight", width, cin, 3, gain=1.4)
        bias = net.const(f"{tag}.{layer}.bias", net.rng.standard_normal(width) * 0.1)
        y = net.op("Conv", y, weight, bias, name=layer, kernel_shape=[3], pads=[1, 1])
        y = net.op("Relu", y, name=f"{layer}.act")
    y = net.op("Transpose", y, name="time_first", perm=[2, 0, 1])
    parts = [net.weight(f"{tag}.W", 1, 4 * width, width), net.weight(f"{tag}.R", 1, 4 * width, width)]
    net.nodes.append(helper.make_node("LSTM", [y, *parts], ["", "last"], name="lstm", hidden_size=width))
    y = net.op("Squeeze", "last", net.const(f"{tag}.axes", [0], np.int64), name="squeeze")
    y = net.linear(y, width, 4, name=f"{tag}.head")
    return helper.make_graph(net.nodes, tag, [], [helper.make_tensor_value_info(y, _F, None)])


def voice(*, nested: bool = False) -> Model:
    """One network for each sample rate, inside an If; `nested`: in an If of an If."""
    net = Net(7)
    wide, narrow = _branch(net, 32, "wide"), _branch(net, 24, "narrow")
    if nested:
        inner = helper.make_node("If", ["fast"], ["chosen"], name="inner", then_branch=wide, else_branch=narrow)
        wide = helper.make_graph([inner], "outer", [], [helper.make_tensor_value_info("chosen", _F, None)])
        narrow = _branch(net, 8, "other")
    net.const("at", 16000, np.int64)
    nodes = [
        helper.make_node("Equal", ["rate", "at"], ["fast"], name="compare"),
        helper.make_node("If", ["fast"], ["y"], name="choose", then_branch=wide, else_branch=narrow),
    ]
    specs = (
        InputSpec(name="x", dtype="float32", dims=("N", 16, "T")),
        InputSpec(name="rate", dtype="int64", dims=(), high=1),
    )
    return _model(nodes, net, specs, ("N", 4))


def listener(width: int = 24) -> Model:
    """One step of a voice detector: a convolution, an LSTM whose states come in and go out, and a head."""
    net = Net(10)
    y = net.op(
        "Relu", net.op("Conv", "x", net.weight("conv.weight", width, 16, 3), name="conv", pads=[1, 1]), name="act"
    )
    y = net.op("Transpose", y, name="time_first", perm=[2, 0, 1])
    parts = [net.weight("lstm.W", 1, 4 * width, width), net.weight("lstm.R", 1, 4 * width, width)]
    node = helper.make_node("LSTM", [y, *parts, "", "", "h", "c"], ["", "hn", "cn"], name="lstm", hidden_size=width)
    y = net.op("Squeeze", "hn", net.const("axes", [0], np.int64), name="squeeze")
    net.nodes.insert(-1, node)
    head = net.linear(y, width, 4, name="head")
    net.nodes.append(helper.make_node("Identity", [head], ["y"], name="out"))
    x = InputSpec(name="x", dtype="float32", dims=("N", 16, "T"))
    states = tuple(InputSpec(name=name, dtype="float32", dims=(1, "N", width)) for name in "hc")
    made = _model(net.nodes, net, (x, *states), ("N", 4))
    proto = ir.to_proto(made.onnx)
    proto.graph.output.extend(helper.make_tensor_value_info(n, _F, [1, "N", width]) for n in ("hn", "cn"))
    after = tuple(OutputSpec(name=name, dtype="float32", dims=(1, "N", width)) for name in ("hn", "cn"))
    return Model(ir.from_proto(proto), made.inputs, (*made.outputs, *after), name="listener")


def scanned(hidden: int = 32, *, backwards: bool = False) -> Model:
    """A hand-written recurrent cell in the body of a Scan, over time first; reads its own state."""
    net = Net(8)
    inside = net.matmul("step", 16, hidden, name="input")
    again = net.matmul("h", hidden, hidden, name="again")
    new = net.op("Tanh", net.op("Add", inside, again, name="sum"), name="tanh")
    net.op("Identity", new, name="told")
    values = {name: helper.make_tensor_value_info(name, _F, None) for name in ("step", "h", new, "told_out")}
    body = helper.make_graph(net.nodes, "body", [values["h"], values["step"]], [values[new], values["told_out"]])
    start = net.const("start", np.zeros((1, hidden)))
    ways = {"scan_input_directions": [1], "scan_output_directions": [1]} if backwards else {}
    nodes = [
        helper.make_node("Scan", [start, "x"], ["last", "all"], name="scan", body=body, num_scan_inputs=1, **ways),
        helper.make_node("Identity", ["all"], ["y"], name="out"),
    ]
    spec = InputSpec(name="x", dtype="float32", dims=("T", 1, 16))
    return _model(nodes, net, (spec,), ("T", 1, hidden))


def decoder(width: int = 16, *, inside: str = "") -> Model:
    """Four turns of a decoder: a state, all states so far with a product over them, and what each turn gives.

    Args:
        width: of the state.
        inside: "If" or "Loop" that holds the Loop; a Loop of two turns, of which the second begins where the first
            ended.
    """
    net = Net(11)
    new = net.op("Tanh", net.matmul("state", width, width, name="again"), name="tanh")
    one = net.op("Unsqueeze", new, net.const("behind", [1], np.int64), name="one")
    grown = net.op("Concat", "so_far", one, name="grown", axis=1)
    mean = net.op("ReduceMean", net.matmul(grown, width, width, name="over_all"), name="mean", axes=[1], keepdims=0)
    told = net.linear(mean, width, 4, name="head")
    net.op("Identity", "go", name="goes")
    values = {name: helper.make_tensor_value_info(name, _F, None) for name in ("state", "so_far", new, grown, told)}
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "goes_out")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    body = helper.make_graph(
        net.nodes,
        "body",
        [turn, flags[0], values["state"], values["so_far"]],
        [flags[1], values[new], values[grown], values[told]],
    )
    turns = net.const("turns", 4, np.int64)
    start = helper.make_node("Unsqueeze", ["x", "behind"], ["x_one"], name="start")
    loop = helper.make_node("Loop", [turns, "", "x", "x_one"], ["last", "all", "told"], name="loop", body=body)
    net.nodes = []
    net.op("Transpose", "told", name="rows_first", perm=[1, 0, 2])
    nodes = [start, loop, *net.nodes]
    nodes = _held(nodes, net, inside) if inside else nodes
    nodes.append(helper.make_node("Identity", [nodes[-1].output[0]], ["y"], name="out"))
    return _model(nodes, net, (InputSpec(name="x", dtype="float32", dims=("N", width)),), ("N", 4, 4))


def _held(nodes: list[onnx.NodeProto], net: Net, inside: str) -> list[onnx.NodeProto]:
    """The nodes in the body of one more If or Loop."""
    result = helper.make_tensor_value_info(nodes[-1].output[0], _F, None)
    if inside == "If":
        no = helper.make_graph([helper.make_node("Expand", ["zero", "shape"], ["no"])], "no", [], [
            helper.make_tensor_value_info("no", _F, None)
        ])  # fmt: skip
        net.const("zero", 0.0)
        net.const("shape", [1, 4, 4], np.int64)
        net.const("yes", True, np.bool_)
        yes = helper.make_graph(nodes, "yes_body", [], [result])
        return [helper.make_node("If", ["yes"], ["held"], name="hold", then_branch=yes, else_branch=no)]
    for node in nodes:
        node.input[:] = ["x_now" if name == "x" else name for name in node.input]
    given = [
        helper.make_tensor_value_info("outer_turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("outer_go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x_now", _F, None),
        helper.make_tensor_value_info("earlier", _F, None),
    ]
    goes = helper.make_node("Identity", ["outer_go"], ["outer_goes"], name="outer_goes")
    told = [
        helper.make_tensor_value_info("outer_goes", TensorProto.BOOL, []),
        helper.make_tensor_value_info("last", _F, None),
        result,
    ]
    body = helper.make_graph([goes, *nodes], "outer", given, told)
    net.const("twice", 2, np.int64)
    net.const("nothing", np.zeros((1, 4, 4)))
    outputs = ["outer_last", "held"]
    return [helper.make_node("Loop", ["twice", "", "x", "nothing"], outputs, name="hold", body=body)]
