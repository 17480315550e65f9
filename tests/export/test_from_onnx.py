import copy

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import compress  # noqa: F401
from export.from_onnx import lift_onnx
from export.parity import verify
from export.to_onnx import to_onnx
from models.errors import LiftError
from models.records import Form, InputSpec, Model, OutputSpec, example, sizes_of
from models.recurrent import ResetFirstGRU
from tests.compress.dead_units import dead_and_cut, outputs_of
from tests.export.exported import BY_NAME, TRIED, exported, lifted_back

every = pytest.mark.parametrize("architecture", TRIED, ids=lambda a: a.name)


@every
def test_the_lifted_network_agrees_with_the_runtime_at_several_sizes(architecture):
    assert verify(exported(architecture)[1], lifted_back(architecture)).sqnr_db > 100  # another order of summation


@every
def test_layers_are_real_and_carry_the_users_names(architecture):
    kinds = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd, nn.RNNBase)
    wanted = {n: m for n, m in exported(architecture)[0].network.named_modules() if isinstance(m, kinds)}
    network = lifted_back(architecture).network
    for name, layer in wanted.items():
        found = network.get_submodule(name)
        assert isinstance(found, kinds), name
        assert isinstance(layer, nn.RNNBase) or found.weight.shape == layer.weight.shape, name


@every
def test_every_parameter_is_reached_by_a_gradient(architecture):
    lifted = lifted_back(architecture)
    network = copy.deepcopy(lifted.network)
    inputs = [torch.from_numpy(a) for a in example(lifted.inputs, {**sizes_of(lifted), "N": 3}).values()]
    outputs = network(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(((o - 0.3) ** 2).sum() for o in outputs if o.is_floating_point()).backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert len(unreached) <= len(architecture.untrained) + 1, unreached  # a bias before a norm has none


@pytest.mark.parametrize("name", ["tied", "gru-both", "dict"])
def test_it_goes_to_onnx_again_with_the_same_signature(name):
    verify(exported(BY_NAME[name])[1], to_onnx(lifted_back(BY_NAME[name])))


def floats(*shape) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def onnx_model(nodes, arrays, *, x=("N", 4, 8), y=None, opset=17, dtype="float32") -> Model:
    y = y or x
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [helper.make_tensor_value_info("x", kind, list(x))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(y))]
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4 if opset < 13 else 8)
    specs = (InputSpec(name="x", dtype=dtype, dims=tuple(x)),), (OutputSpec(name="y", dtype="float32", dims=tuple(y)),)
    return Model(ir.from_proto(proto), *specs, name="net")


node = helper.make_node


def test_batch_norms_of_a_file_train_again():
    arrays = {"bn.weight": floats(4), "bn.bias": floats(4), "bn.mean": floats(4), "bn.var": np.abs(floats(4)) + 0.5}
    arrays["conv.weight"] = floats(4, 4, 3)
    nodes = [
        node("Conv", ["x", "conv.weight"], ["v"], name="/conv/Conv", pads=[1, 1]),
        node(
            "BatchNormalization",
            ["v", *[n for n in arrays if n.startswith("bn")]],
            ["y"],
            name="/bn/BatchNormalization",
        ),
    ]
    lifted = lift_onnx(onnx_model(nodes, arrays)).network
    assert isinstance(lifted.get_submodule("conv"), nn.Conv1d)
    norm = lifted.get_submodule("bn")
    assert isinstance(norm, nn.BatchNorm1d)
    before = norm.running_mean.clone()
    lifted.train()(torch.randn(8, 4, 8))
    assert not torch.equal(norm.running_mean, before)


TAKES_APART = [node("Concat", ["b", "a"], ["y"], axis=1)]
HALF = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
OLD = {  # what opsets have written differently: the opset that wrote it so, the nodes, the output's dimensions
    "axes as attribute": (11, [
        node("ReduceMean", ["x"], ["v"], axes=[2], keepdims=0),
        node("Unsqueeze", ["v"], ["y"], axes=[2])], ("N", 4, 1)),
    "axes as input": (18, [node("ReduceMean", ["x", "axes"], ["y"], keepdims=1)], ("N", 4, 1)),
    "clip by attributes": (9, [node("Clip", ["x"], ["y"], min=-0.5, max=0.5)], None),
    "clip by inputs": (11, [node("Clip", ["x", "low", "high"], ["y"])], None),
    "pad by attribute": (10, [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 2], value=0.5)], ("N", 4, 11)),
    "pad by input": (13, [node("Pad", ["x", "pads"], ["y"], mode="edge")], ("N", 4, 11)),
    "slice by attributes": (9, [node("Slice", ["x"], ["y"], starts=[1], ends=[-1], axes=[2])], ("N", 4, 6)),
    "slice backwards": (13, [node("Slice", ["x", "minus", "least", "two", "minus"], ["y"])], None),
    "softmax over all that follows": (11, [node("Softmax", ["x"], ["y"], axis=1)], None),
    "softmax along one axis": (13, [node("Softmax", ["x"], ["y"], axis=1)], None),
    "split by attribute": (11, [node("Split", ["x"], ["a", "b"], axis=1, split=[1, 3]), *TAKES_APART], None),
    "split by input": (13, [node("Split", ["x", "parts"], ["a", "b"], axis=1), *TAKES_APART], None),
    "upsample": (9, [node("Upsample", ["x", "scales"], ["y"], mode="nearest")], ("N", 4, 16)),
    "upsample linear": (9, [node("Upsample", ["x", "scales"], ["y"], mode="linear")], ("N", 4, 16)),
    "resize of opset 10": (10, [node("Resize", ["x", "scales"], ["y"], mode="nearest")], ("N", 4, 16)),
    "resize": (13, [node("Resize", ["x", "", "scales"], ["y"], **HALF)], ("N", 4, 16)),
    "same padding": (11, [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2])], ("N", 4, 4)),
    "padding of one side": (11, [node("Conv", ["x", "w"], ["y"], pads=[2, 0])], None),
    "pool of one side": (11, [node("AveragePool", ["x"], ["y"], kernel_shape=[3], pads=[2, 0])], None),
    "pool counting its padding": (11, [
        node("AveragePool", ["x"], ["y"], kernel_shape=[3], pads=[1, 1], count_include_pad=1)], None),
    "pool rounding up": (12, [node("MaxPool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=1)], ("N", 4, 4)),
    "transposed, one side": (11, [node("ConvTranspose", ["x", "w"], ["y"], pads=[1, 0])], ("N", 4, 9)),
    "matrix with bias": (13, [node("MatMul", ["x", "m"], ["v"]), node("Add", ["row", "v"], ["y"])], ("N", 4, 5)),
    "shape arithmetic": (13, [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]), node("Unsqueeze", ["n", "zeros"], ["n1"]),
        node("Concat", ["n1", "rest"], ["t"], axis=0), node("Reshape", ["x", "t"], ["y"])], ("N", 32)),
    "norm of opset 17": (17, [node("LayerNormalization", ["x", "wide", "wide"], ["y"], axis=-1)], None),
    "norm of instances": (9, [node("InstanceNormalization", ["x", "four", "four"], ["y"])], None),
    "slope of each channel": (9, [node("PRelu", ["x", "slope"], ["y"])], None),
}  # fmt: skip
CONSTANTS = {
    "axes": np.array([2]), "low": np.float32(-0.5), "high": np.float32(0.5), "pads": np.array([0, 0, 1, 0, 0, 2]),
    "minus": np.array([-1]), "least": np.array([-(2**63)]), "two": np.array([2]), "parts": np.array([1, 3]),
    "scales": np.array([1, 1, 2], np.float32), "w": floats(4, 4, 3), "m": floats(8, 5), "row": floats(5),
    "zero": np.array(0), "zeros": np.array([0]), "rest": np.array([-1]), "wide": floats(8), "four": floats(4),
    "slope": floats(4, 1),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_each_opsets_way_of_writing_it(case):
    opset, nodes, dims = OLD[case]
    used = {name for n in nodes for name in n.input}
    model = onnx_model(nodes, {n: a for n, a in CONSTANTS.items() if n in used}, y=dims, opset=opset)
    assert verify(model, lift_onnx(model)).sqnr_db > 100


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_operators_become_layers(op, direction):
    gates, ways = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 1 + (direction == "bidirectional")
    arrays = {"W": floats(ways, gates * 6, 5), "R": floats(ways, gates * 6, 6), "B": floats(ways, 2 * gates * 6)}
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [node(op, ["x", "W", "R", "B"], ["y"], name="rnn", hidden_size=6, direction=direction, **more)]
    model = onnx_model(nodes, arrays, x=("T", "N", 5), y=("T", ways, "N", 6))
    lifted = lift_onnx(model)
    assert verify(model, lifted).sqnr_db > 100
    assert any(type(m).__name__ == op for m in lifted.network.modules())


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_gru_that_resets_first_is_a_layer_that_is_cut_and_written_back(direction):
    arrays = {"W": floats(1, 18, 5), "R": floats(1, 18, 6) / 2, "B": floats(1, 36), "head": floats(6, 4)}
    nodes = [
        node("GRU", ["x", "W", "R", "B"], ["s"], name="rnn", hidden_size=6, direction=direction),
        node("Squeeze", ["s", "one"], ["q"]),
        node("MatMul", ["q", "head"], ["y"], name="head"),
    ]
    model = onnx_model(nodes, {**arrays, "one": np.array([1])}, x=("T", "N", 5), y=("T", "N", 4))
    lifted = lift_onnx(model)
    assert verify(model, lifted).sqnr_db > 100
    assert isinstance(lifted.network.get_submodule("rnn"), ResetFirstGRU)
    dead, smaller = dead_and_cut(lifted)
    assert smaller.network.get_submodule("rnn").hidden_size == 3
    torch.testing.assert_close(outputs_of(smaller)["y"], outputs_of(dead)["y"], rtol=0, atol=1e-5)
    again = to_onnx(smaller)
    assert [n.attributes["linear_before_reset"].value for n in again.network.graph if n.op_type == "GRU"] == [0]
    assert verify(smaller, again).sqnr_db > 100


def test_a_matrix_and_its_bias_are_one_linear_and_tied_tables_stay_tied():
    nodes = [
        node("Gather", ["table", "x"], ["e"], name="emb/Gather"),
        node("Transpose", ["table"], ["t"], perm=[1, 0]),
        node("MatMul", ["e", "t"], ["v"], name="head/MatMul"),
        node("Add", ["v", "offset"], ["y"], name="head/Add"),
    ]
    model = onnx_model(
        nodes, {"table": floats(20, 6), "offset": floats(20)}, x=("N", "T"), y=("N", "T", 20), dtype="int64"
    )
    network = lift_onnx(model).network
    assert isinstance(network.get_submodule("head"), nn.Linear)
    assert network.get_submodule("head").bias is not None
    assert network.get_submodule("emb").weight is network.get_submodule("head").weight


REFUSED = {
    "has no torch form": [node("NonZero", ["x"], ["z"], name="find"), node("Cast", ["z"], ["y"], to=1)],
    "linear_before_reset=0": [
        node("GRU", ["x", "W", "R"], ["y"], name="find", hidden_size=6, direction="bidirectional")],
    "quantized already": [
        node("QuantizeLinear", ["x", "s", "z8"], ["q"], name="find"),
        node("DequantizeLinear", ["q", "s", "z8"], ["y"])],
    "depends on the data": [
        node("Cast", ["x"], ["i"], to=7), node("Abs", ["i"], ["k"]), node("Reshape", ["k", "minus"], ["f"]),
        node("Expand", ["one", "f"], ["y"], name="find")],
}  # fmt: skip


@pytest.mark.parametrize("says", REFUSED)
def test_what_has_no_torch_form_is_named(says):
    arrays = {"W": floats(2, 18, 8), "R": floats(2, 18, 6), "s": np.float32(0.1), "z8": np.int8(0)}
    arrays |= {"minus": np.array([-1]), "one": np.ones((), np.float32)}
    used = {name for n in REFUSED[says] for name in n.input}
    model = onnx_model(REFUSED[says], {n: a for n, a in arrays.items() if n in used}, x=(1, 1, 8))
    with pytest.raises(LiftError, match=says) as raised:
        lift_onnx(model)
    assert "'find'" in str(raised.value)
    assert raised.value.operation
    assert "\n" not in str(raised.value)


def test_several_forms_are_not_made_one_again():
    model = onnx_model([node("Relu", ["x"], ["y"])], {})
    with_form = Model(
        model.network, model.inputs, model.outputs, forms={"step": Form(inputs=(), outputs=())}, name="net"
    )
    with pytest.raises(LiftError, match="several forms"):
        lift_onnx(with_form)
