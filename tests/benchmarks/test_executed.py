"""Shares are checked on files made by ONNX Runtime's own quantizer, counts by hand."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.executed import executed, macs_of
from models.errors import DeviceError
from models.records import InputSpec, Model, example, sizes_of

IMAGE = InputSpec(name="x", dtype="float32", dims=("N", 3, 8, 8))


def network(nodes, inputs, outputs, constants):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", *values, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(proto)
    specs = tuple(InputSpec(name=name, dtype="float32", dims=dims) for name, dims in inputs.items())
    return Model(ir.from_proto(proto), specs, name="net")


def convolution_and_head():
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((16, 3, 3, 3)).astype("f"),
        "h": rng.standard_normal((16, 10)).astype("f"),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "h"], ["y"], name="head"),
    ]
    return network(nodes, {"x": ("N", 3, 8, 8)}, {"y": ("N", 10)}, constants)


def lstm():
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((1, 64, 8)).astype("f"),
        "r": rng.standard_normal((1, 64, 16)).astype("f"),
    }
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], name="lstm", hidden_size=16)]
    return network(nodes, {"x": ("T", "N", 8)}, {"y": ("T", 1, "N", 16)}, constants)


def quantized(model, tmp_path, how):
    from onnxruntime import quantization

    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(ir.to_proto(model.network), source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime's quantizer calls what onnx deprecates
        if how == "dynamic":
            quantization.quantize_dynamic(source, target)
        else:
            batches = iter([example(model.inputs, sizes_of(model), seed=seed) for seed in range(4)])
            reader = type(
                "Reader", (quantization.CalibrationDataReader,), {"get_next": lambda self: next(batches, None)}
            )
            quantization.quantize_static(source, target, reader(), op_types_to_quantize=[how])
    return replace(model, network=ir.load(target))


def run(model, **sizes):
    return executed(model, example(model.inputs, sizes_of(model, **sizes)))


@pytest.mark.parametrize("batch", [1, 3])
def test_counts_the_convolution_and_the_matrix(batch):
    found = run(convolution_and_head(), N=batch)
    assert found.macs == batch * (16 * 64 * 27 + 160)
    assert (found.integer_macs_share, found.nodes_fallen_back) == (0, 0)


def test_a_recurrent_layer_counts_every_step():
    assert run(lstm(), T=5, N=2).macs == 5 * 2 * 64 * (8 + 16)


def test_a_convolution_in_int8_leaves_the_share_of_the_head_in_float(tmp_path):
    found = run(quantized(convolution_and_head(), tmp_path, "Conv"))
    assert found.integer_macs_share == pytest.approx(16 * 64 * 27 / (16 * 64 * 27 + 160))


def test_dynamic_int8_of_an_lstm_is_all_in_integers(tmp_path):
    found = run(quantized(lstm(), tmp_path, "dynamic"), T=5, N=2)
    assert (found.macs, found.integer_macs_share) == (5 * 2 * 64 * (8 + 16), 1)


def test_a_network_that_multiplies_nothing_has_no_share():
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    found = run(network(nodes, {"x": ("N", 4)}, {"y": ("N", 4)}, {}))
    assert (found.macs, found.integer_macs_share) == (0, None)


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "macs"),
    [
        ("Conv", [[1, 8, 5, 5], [8, 1, 3, 3]], [[1, 8, 5, 5]], 8 * 25 * 9),  # depthwise
        ("ConvTranspose", [[1, 8, 5, 5], [8, 4, 2, 2]], [[1, 4, 10, 10]], 8 * 25 * 4 * 4),
        ("Gemm", [[2, 30], [30, 7]], [[2, 7]], 2 * 30 * 7),
        ("Gemm", [[30, 2], [7, 30], [7]], [[2, 7]], 2 * 30 * 7),  # both transposed
        ("QGemm", [[2, 30], [], [], [30, 7]], [[2, 7]], 2 * 30 * 7),
        ("MatMul", [[4, 5, 6], [4, 6, 7]], [[4, 5, 7]], 4 * 5 * 6 * 7),
        ("QLinearConv", [[1, 8, 8, 3], [], [], [16, 3, 3, 3]], [[1, 8, 8, 16]], 16 * 64 * 27),
        ("Attention", [[1, 5, 8], [8, 24], [24]], [[1, 5, 8]], 5 * 8 * 24 + 2 * 5 * 5 * 8),
        ("Relu", [[1, 5]], [[1, 5]], 0),
    ],
)
def test_counts_by_hand(op, inputs, outputs, macs):
    typed = [[{"float": shape} for shape in side] for side in (inputs, outputs)]
    assert macs_of({"op_name": op, "input_type_shape": typed[0], "output_type_shape": typed[1]}) == macs


def test_a_provider_that_is_not_there_is_a_device_error():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    model = convolution_and_head()
    with pytest.raises(DeviceError, match=r"no CUDAExecutionProvider\. Install the one that has: pip uninstall"):
        executed(model, example(model.inputs, {"N": 1}), provider="cuda")
