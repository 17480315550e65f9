import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import compress  # noqa: F401
from export import wrap as lifting
from export.profile import optimized_graph, profile
from export.session import (
    PROVIDERS,
    check_arrays,
    in_form,
    initial_state,
    onnx_runner,
    runner_for,
    session,
    stream,
)
from export.to_onnx import to_onnx
from models.errors import CompressError, DataError, DeviceError
from models.records import InputSpec, Model, OutputSpec

X = InputSpec(name="x", dtype="float32", dims=("N", 4))
STATE = InputSpec(name="sum_in", dtype="float32", dims=("N", 4), state_of="sum_out", initial=2.0)


def model(nodes, inputs, outputs, constants=()) -> Model:
    info = [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.dims)) for s in (*inputs, *outputs)]
    graph = helper.make_graph(nodes, "g", info[: len(inputs)], info[len(inputs) :], list(constants))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model(ir.from_proto(proto), tuple(inputs), tuple(outputs), name="net")


@pytest.fixture
def adder() -> Model:
    """A streaming model whose state is the sum of all it has seen."""
    node = helper.make_node("Add", ["x", "sum_in"], ["sum_out"], name="add")
    return model([node], [X, STATE], [OutputSpec(name="sum_out", dtype="float32", dims=("N", 4))])


@pytest.fixture
def two_layers() -> Model:
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.standard_normal((8, 4, 3, 3)).astype(np.float32), "conv.weight"),
        numpy_helper.from_array(np.zeros(8, np.float32), "conv.bias"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["v0"], name="conv/Conv"),
        helper.make_node("Relu", ["v0"], ["y"], name="Relu"),
    ]
    spec = InputSpec(name="x", dtype="float32", dims=("N", 4, 8, 8))
    return model(nodes, [spec], [OutputSpec(name="y", dtype="float32", dims=("N", 8, 6, 6))], constants)


def test_a_stream_feeds_outputs_back_from_the_initial_state(adder):
    ones = np.ones((3, 4), np.float32)
    sums = [out["sum_out"][0, 0] for out in stream(onnx_runner(adder), adder.inputs, [{"x": ones}] * 3)]
    assert sums == [3.0, 4.0, 5.0]


def test_a_batch_that_brings_its_state_begins_anew(adder):
    ones = np.ones((1, 4), np.float32)
    batches = [{"x": ones}, {"x": ones, "sum_in": 10 * ones}, {"x": ones}]
    assert [o["sum_out"][0, 0] for o in stream(onnx_runner(adder), adder.inputs, batches)] == [3.0, 11.0, 12.0]


def test_states_begin_as_large_as_the_batch():
    assert initial_state([X, STATE], {"x": np.zeros((5, 4), np.float32)})["sum_in"].shape == (5, 4)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "takes an input 'x', and the data hold nothing"),
        ({"y": np.zeros((1, 4), np.float32)}, "the data hold 'y'"),
        ({"x": np.zeros((1, 4))}, r"astype\('float32'\)"),
        ({"x": np.zeros(4, np.float32)}, r"shape \[4\]"),
        ({"x": np.zeros((1, 5), np.float32)}, r"float32\[N,4\].*shape \[1, 5\]"),
        ({"x": np.zeros((1, 4), np.float32), "z": np.zeros(1)}, "takes no input 'z'"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, says):
    with pytest.raises(DataError, match=says):
        check_arrays([X], arrays, "net")


def test_one_letter_has_one_size():
    arrays = {"x": np.zeros((2, 4), np.float32), "sum_in": np.zeros((3, 4), np.float32)}
    with pytest.raises(DataError, match="'N' is 2 in 'x' already"):
        check_arrays([X, STATE], arrays)


def test_a_runner_refuses_what_does_not_fit(adder):
    with pytest.raises(DataError, match="'sum_in'"):
        onnx_runner(adder)({"x": np.zeros((1, 4), np.float32)})


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_an_absent_provider_is_never_the_cpu(adder, provider, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu") as raised:
        onnx_runner(adder, provider=provider)
    assert PROVIDERS[provider] in str(raised.value)


def test_an_unknown_provider_is_named(adder):
    with pytest.raises(DeviceError, match="no provider 'tpu'"):
        session(adder, provider="tpu")


def test_a_graph_the_runtime_refuses_is_one_sentence():
    bad = model(
        [helper.make_node("Nonsense", ["x"], ["y"], name="n")],
        [X],
        [OutputSpec(name="y", dtype="float32", dims=("N", 4))],
    )
    with pytest.raises(CompressError, match=r"does not take model 'net'.*Nonsense"):
        session(bad)


def test_an_unknown_form_is_named(adder):
    assert in_form(adder, "main") is adder
    with pytest.raises(CompressError, match="no form 'step'; it has main"):
        runner_for(adder, form="step")


def test_a_fused_node_is_profiled_under_the_name_it_began_with(two_layers):
    times = profile(two_layers, {"x": np.zeros((1, 4, 8, 8), np.float32)}, runs=3)
    conv = next(t for t in times if t.op == "Conv")
    assert conv.node == "conv/Conv"
    assert conv.provider == "CPUExecutionProvider"
    assert conv.microseconds >= 0


def test_the_optimized_graph_is_counted(two_layers):
    assert optimized_graph(two_layers)["Conv"] == 1
    assert "Relu" not in optimized_graph(two_layers)


def test_a_product_in_half_precision_behind_a_transpose_is_loaded_and_not_the_end_of_the_process():
    """onnxruntime 1.32 crashes where it fuses the two on a processor, which has no such kernel."""
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["half"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
    ]
    x = InputSpec(name="x", dtype="float32", dims=("N", "T", 4))
    y = OutputSpec(name="y", dtype="float32", dims=("T", "N", 4))
    weight = numpy_helper.from_array(2 * np.eye(4, dtype=np.float16), "w")
    given = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = onnx_runner(model(nodes, [x], [y], [weight]))({"x": given})["y"]
    np.testing.assert_array_equal(found, 2 * given.transpose(1, 0, 2))


def test_a_parameter_that_is_given_out_as_it_is_is_an_array_like_any_other():
    class Actor(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.log_std = nn.Linear(4, 3), nn.Parameter(torch.tensor([0.0, 1.0, 2.0]))

        def forward(self, x):
            mean = self.mean(x)
            return mean, self.log_std.expand_as(mean), self.log_std

    lifted = lifting.Model(Actor().eval(), inputs=[X])
    for made in (lifted, to_onnx(lifted)):
        _, wide, plain = runner_for(made)({"x": np.ones((2, 4), np.float32)}).values()
        np.testing.assert_array_equal(wide, [[0, 1, 2]] * 2)
        np.testing.assert_array_equal(plain, [0, 1, 2])


@pytest.mark.parametrize("made", ["given", "constant", "cast", "read"])
def test_so_is_one_whose_half_precision_lies_elsewhere(made):
    weight = np.ones((16, 8), np.float16)
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 4, 16])]
    constants = []
    if made == "constant":
        nodes.append(helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)))
    elif made == "cast":
        constants = [numpy_helper.from_array(weight.astype(np.float32), "wide")]
        nodes.append(helper.make_node("Cast", ["wide"], ["w"], to=TensorProto.FLOAT16))
    elif made == "given":
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT16, [16, 8]))
    else:
        constants = [numpy_helper.from_array(weight, "w")]
    nodes.append(helper.make_node("MatMul", ["t", "w"], ["y"]))
    shape = None if made == "read" else [4, "N", 8]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape)], constants
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    code = (
        "import sys, compress, numpy as np, onnx; from pathlib import Path; from export.onnx_file import read;"
        "from export.session import onnx_runner; from models.records import example; model = read(Path(sys.argv[1]));"
        "print(onnx_runner(model)(example(model.inputs, {'N': 3}))['y'].shape)"
    )
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, Path(folder) / "m.onnx")
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(folder) / "m.onnx")], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, "(4, 3, 8)\n"), done.stderr[-500:]
