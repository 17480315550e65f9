"""Counts are known by hand; int8 files are made by ONNX Runtime's own quantizer; no test looks at a clock."""

import json
import logging
import subprocess
import sys
import warnings
from dataclasses import fields, replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.benchmark import benchmark, step_of
from benchmarks.record import Benchmark
from benchmarks.subject import as_shipped, subjects, weights_dtype
from export.device import find_device
from export.machine import machine
from models.errors import DataError, DeviceError, UsageError
from models.records import InputSpec, Model, OutputSpec, example
from tests.compress.onnx_nets import Net

QUICK = {"seconds": 0.02}


def network(nodes, inputs, outputs, constants, **facts):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", *values, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(proto)
    given = tuple(InputSpec(name=name, dtype="float32", dims=dims) for name, dims in inputs.items())
    made = tuple(OutputSpec(name=name, dtype="float32", dims=dims) for name, dims in outputs.items())
    return Model(ir.from_proto(proto), given, made, name="net", **facts)


def spotter(name="spotter", batch="N"):
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((16, 3, 3, 3)), "h": rng.standard_normal((16, 10))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "h"], ["y"], name="head"),
    ]
    return replace(network(nodes, {"x": (batch, 3, 8, 8)}, {"y": (batch, 10)}, constants), name=name)


def counter():
    """A streaming model: the state grows by its input at each step."""
    nodes = [helper.make_node("Add", ["x", "h"], ["next"], name="add")]
    made = network(nodes, {"x": ("N", 4), "h": ("N", 4)}, {"next": ("N", 4)}, {})
    state = replace(made.inputs[1], state_of="next")
    return replace(made, inputs=(made.inputs[0], state), name="counter")


def quantized(model, tmp_path):
    from onnxruntime import quantization

    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(ir.to_proto(model.network), source)
    batches = iter([example(model.inputs, {"N": 1}, seed=seed) for seed in range(4)])
    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda self: next(batches, None)})
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnxruntime's quantizer calls what onnx deprecates
            quantization.quantize_static(source, target, reader(), op_types_to_quantize=["Conv"])
    finally:
        logging.disable(logging.NOTSET)
    return replace(model, network=ir.load(target), name="int8")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    model = spotter()
    return benchmark([model, quantized(model, tmp_path_factory.mktemp("int8")), model], **QUICK)


def test_every_field_of_the_design_is_there():
    named = (
        "model, device, provider, threads, batch, shapes, dtype, runs, median_ms, p95_ms, p99_ms, low_ms, high_ms, "
        "load_ms, first_run_ms, peak_rss_bytes, model_rss_bytes, size_bytes, macs, parameters, integer_macs_share, "
        "nodes_fallen_back, machine, versions, estimated"
    )
    assert [field.name for field in fields(Benchmark)] == named.split(", ")


def test_a_row_says_what_was_measured_and_where(measured):
    row = measured.benchmarks[0]
    assert (row.model, row.device, row.provider, row.threads, row.batch) == ("spotter", "cpu", "cpu", 1, 1)
    assert (row.shapes, row.dtype, row.estimated) == ({"x": (1, 3, 8, 8)}, "float32", False)
    assert (row.macs, row.parameters) == (16 * 64 * 27 + 160, 16 * 27 + 160)
    assert 0 < row.low_ms <= row.median_ms <= row.high_ms and row.median_ms <= row.p99_ms and row.runs >= 6
    assert row.load_ms > 0 and row.first_run_ms > 0 and row.peak_rss_bytes > row.model_rss_bytes
    assert row.size_bytes > 4 * row.parameters and row.nodes_fallen_back == 0
    assert row.machine["instruction_set"] == machine()["instruction_set"] and row.machine["pinned"]
    assert row.versions["onnxruntime"]


def test_the_share_in_integers_is_that_of_what_the_runtime_fused(measured):
    as_float, as_int8, _ = measured.benchmarks
    assert as_float.integer_macs_share == 0
    # the convolution is in int8, the head is not
    assert as_int8.integer_macs_share == pytest.approx(16 * 64 * 27 / (16 * 64 * 27 + 160))
    assert as_int8.dtype == "int8"


def test_each_model_is_compared_with_the_first_and_twins_get_numbers(measured):
    assert [(c.a, c.b) for c in measured.comparisons] == [("spotter", "int8"), ("spotter", "spotter (2)")]
    assert all(0 < c.low <= c.speedup <= c.high and c.turns >= 6 for c in measured.comparisons)
    assert {c.verdict for c in measured.comparisons} <= {"faster", "slower", "no difference", "cannot tell"}


def test_the_document_is_json_with_its_schema(measured):
    document = json.loads(json.dumps(measured.document()))
    assert document["schema"] == 1
    assert [row["model"] for row in document["benchmarks"]] == ["spotter", "int8", "spotter (2)"]
    assert document["comparisons"][0]["verdict"] == measured.comparisons[0].verdict


def test_batch_sizes_and_data_are_those_that_were_asked_for():
    (row,) = benchmark([spotter()], batch=3, **QUICK).benchmarks
    assert (row.batch, row.shapes["x"], row.macs) == (3, (3, 3, 8, 8), 3 * (16 * 64 * 27 + 160))
    (row,) = benchmark([spotter()], data={"x": np.zeros((2, 3, 8, 8), np.float32)}, **QUICK).benchmarks
    assert (row.batch, row.shapes["x"], row.macs) == (2, (2, 3, 8, 8), 2 * (16 * 64 * 27 + 160))


def spectrum(name, letter, **facts):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="head")]
    made = network(nodes, {"x": ("N", letter, 4)}, {"y": ("N", letter, 2)}, {"w": np.ones((4, 2))}, **facts)
    return replace(made, name=name)


def test_models_are_timed_on_one_length_also_where_only_one_of_them_knows_it():
    """A file as somebody wrote it says no usual length; what was made of it holds that of its data."""
    as_written = spectrum("as written", "T")
    rows = benchmark([as_written, spectrum("made of it", "time", typical={"time": 7})], **QUICK).benchmarks
    assert [row.shapes["x"] for row in rows] == [(1, 7, 4)] * 2
    assert [row.macs for row in rows] == [7 * 8] * 2
    rows = benchmark([as_written, spectrum("made of it", "T", typical={"T": 7})], sizes={"T": 9}, **QUICK).benchmarks
    assert [row.shapes["x"] for row in rows] == [(1, 9, 4)] * 2


def test_models_are_timed_on_the_same_numbers():
    first, second = spectrum("first", "T"), spectrum("second", "T")
    second = replace(second, inputs=(InputSpec(name="x", dtype="float32", dims=("N", "T", 4)),))
    a, b = subjects([first, second], 1, {}, None, 3)
    np.testing.assert_array_equal(a.inputs["x"], b.inputs["x"])


def test_a_streaming_model_carries_its_state_on():
    subject = as_shipped(counter(), "counter", 2, {}, {"x": np.ones((2, 4), np.float32)}, 0)
    step = step_of(subject, find_device("cpu"), 1)
    assert [float(step()[0][0, 0]) for _ in range(4)] == [1, 2, 3, 4]
    assert subject.inputs["h"][0, 0] == 0  # what the child starts from is untouched


def test_a_streaming_model_is_measured():
    (row,) = benchmark([counter()], **QUICK).benchmarks
    assert row.shapes == {"x": (1, 4), "h": (1, 4)} and row.macs == 0 and row.dtype == "float32"


def test_a_microcontroller_is_estimated_and_gets_a_bound_and_no_time():
    (row,) = benchmark([spotter()], device="stm32h743").benchmarks
    assert row.estimated and row.median_ms is None and row.peak_rss_bytes is None and row.runs == 0
    assert row.low_ms == pytest.approx(1000 * (16 * 64 * 27 + 160) / 960e6)
    assert (row.device, row.provider, row.machine["instruction_set"]) == ("stm32h743", "", "armv7e-m")


def test_two_models_on_a_microcontroller_are_not_compared():
    result = benchmark([spotter("a"), spotter("b")], device="rp2040")
    assert len(result.benchmarks) == 2 and result.comparisons == ()


def test_progress_says_what_is_done():
    told = []
    benchmark([spotter()], progress=lambda what, done, total, detail="": told.append((what, done, total)), **QUICK)
    assert told == [("prepare", 0, 1), ("time by turns", 0, 1), ("time by turns", 1, 1), ("read memory", 0, 1), (
        "read memory", 1, 1)]  # fmt: skip


def refusal(kind, *models, **settings):
    with pytest.raises(kind) as caught:
        benchmark(list(models), **settings)
    return str(caught.value)


def test_refuses_what_it_cannot_time():
    away = "arm64" if machine()["instruction_set"].startswith("x86") else "x86-vnni"
    text = refusal(DeviceError, spotter(), device=away)
    assert f"'{away}' cannot be timed on this machine, which is {machine()['instruction_set']}" in text
    assert "'any' is every processor at once" in refusal(UsageError, spotter(), device="any")
    assert "Did you mean 'cpu'?" in refusal(UsageError, spotter(), device="cpuu")


def test_a_missing_provider_names_the_install_line():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    text = refusal(DeviceError, spotter(), device="cuda")
    assert "no CUDAExecutionProvider" in text and "pip install onnxruntime-gpu" in text and "\n" not in text


def test_refuses_a_wrong_call():
    assert refusal(UsageError) == "benchmark: no model to measure; name at least one."
    assert refusal(UsageError, spotter(), batch=0) == "benchmark: batch must be at least 1, and is 0."
    assert "seconds must be a number above 0" in refusal(UsageError, spotter(), seconds=0)
    assert "has no free dimension 'T'; it has N." in refusal(UsageError, spotter(), sizes={"T": 4})
    assert "the size of 'N' must be at least 1, and is 0." in refusal(UsageError, spotter(), sizes={"N": 0})
    text = refusal(UsageError, spotter(batch=1), batch=4)
    assert text.startswith("benchmark: batch 4 asked of model 'spotter', whose first dimension is fixed at 1.")
    assert "takes an input 'x', and the data hold 'y'" in refusal(DataError, spotter(), data={"y": np.zeros(1)})


def test_the_type_of_most_weights():
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    assert weights_dtype(network(nodes, {"x": (1,)}, {"y": (1,)}, {})) == "float32"
    assert weights_dtype(spotter()) == "float32"


def test_an_onnx_model_is_measured_without_torch(tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(ir.to_proto(spotter().network), file)
    code = (
        "import compress, sys; sys.modules['torch'] = None; from export.onnx_file import read;"
        f"print(len(compress.benchmark([read({str(file)!r})], seconds=0.02).benchmarks))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.returncode, child.stdout) == (0, "1\n"), child.stderr


def test_a_torch_model_is_exported_first():
    from export.wrap import from_entry
    from models import find

    (row,) = benchmark([from_entry(find("autoencoder"), weights=False, tiny=True)], batch=2, **QUICK).benchmarks
    assert (row.model, row.dtype, row.batch) == ("autoencoder", "float32", 2)
    assert row.median_ms > 0 and row.macs > 0


def test_a_cache_is_timed_at_one_length():
    """Fed back it would be longer at each call, and the time that of no length."""
    net = Net(3)
    net.op("Concat", "past", net.op("Unsqueeze", "x", net.const("axis", [1], np.int64), name="new"), name="all", axis=1)
    x = InputSpec(name="x", dtype="float32", dims=("N", 4))
    past = InputSpec(name="past", dtype="float32", dims=("N", "P", 4), state_of="present")
    model = net.model((x, past), {"present": ("N", "Q", 4)}, typical={"P": 6})
    step = step_of(as_shipped(model, "cache", 2, {}, None, 0), find_device("cpu"), 1)
    assert [step()[0].shape for _ in range(3)] == [(2, 7, 4)] * 3
