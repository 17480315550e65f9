import os
import sys
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.memory import ask, memory_of
from models.errors import CompressError
from models.records import InputSpec, Model, example

LINUX_ONLY = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="exact only on Linux")


def matrix(width, name="matrix", op="MatMul"):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width]) for n in ("file", "y")]
    weight = numpy_helper.from_array(np.ones((width, width), np.float32), "w")
    graph = helper.make_graph([helper.make_node(op, ["file", "w"], ["y"])], "net", value[:1], value[1:], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    # named as an argument of numpy.savez, which must not matter
    return Model(ir.from_proto(proto), (InputSpec(name="file", dtype="float32", dims=("N", width)),), name=name)


def measured(model, batch=1):
    return memory_of(model, example(model.inputs, {"N": batch}))


@LINUX_ONLY
def test_a_matrix_is_held_once_or_a_few_times():
    weights = 1500 * 1500 * 4
    use = measured(matrix(1500))
    # the file as read, the initializer, the packed copy: between one and four times the weights, and the code's pages
    assert weights <= use.model_rss_bytes <= 4 * weights + 2**22
    assert use.model_rss_bytes < use.peak_rss_bytes
    assert use.load_ms > 0 and use.first_run_ms > 0


@LINUX_ONLY
def test_activations_count():
    batch = 4000
    small, large = measured(matrix(500)), measured(matrix(500), batch=batch)
    activations = batch * 500 * 4  # the output; the input lies in memory before the model does
    assert activations * 0.9 <= large.model_rss_bytes - small.model_rss_bytes <= 3 * activations


@LINUX_ONLY
def test_a_fresh_process_does_not_inherit_this_ones_memory():
    held = np.ones(300 * 2**20, np.uint8)
    use = measured(matrix(10))
    assert use.peak_rss_bytes < len(held) and use.model_rss_bytes < 2**24


def test_what_the_runtime_refuses_is_one_sentence():
    model = matrix(10, name="odd")
    with pytest.raises(CompressError) as caught:
        memory_of(model, {"file": np.zeros((1, 7), np.float32)})
    assert str(caught.value).startswith("benchmark: reading the memory of model 'odd': ")
    assert "\n" not in str(caught.value) and "invalid dimensions" in str(caught.value)


def test_a_graph_that_does_not_load_is_one_sentence():
    model = matrix(10, name="unknown", op="NoSuchOperator")
    with pytest.raises(CompressError, match=r"reading the memory of model 'unknown': .*NoSuchOperator"):
        measured(model)


def test_nothing_of_ours_and_no_torch_is_loaded_in_the_child(tmp_path, monkeypatch):
    for name in ("torch", "onnx", "compress", "models", "export"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imports {name}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert measured(matrix(10)).peak_rss_bytes > 0


def child(code, timeout_s=60):
    return ask([sys.executable, "-c", code], who="benchmark: reading the memory of model 'm'", timeout_s=timeout_s)


def test_a_killed_child_says_so():
    with pytest.raises(CompressError, match="model 'm': its process was ended by SIGKILL: most likely the machine ran"):
        child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_child_that_takes_too_long_is_ended():
    with pytest.raises(CompressError, match=r"model 'm' took longer than 0\.2 s and was ended"):
        child("import time; time.sleep(60)", timeout_s=0.2)


def test_a_child_that_fails_without_a_word_says_how():
    with pytest.raises(CompressError, match=r"its process failed with status 3 \(it said nothing\)"):
        child("raise SystemExit(3)")
    with pytest.raises(CompressError, match=r"failed with status 1 \(ModuleNotFoundError: No module named 'nothing'\)"):
        child("import nothing")


def test_a_command_that_does_not_exist_is_one_sentence():
    with pytest.raises(CompressError, match=r"no process could be started \(No such file or directory\)"):
        ask(["/nonexistent/python"], who="benchmark", timeout_s=1)


def test_forms_and_samples_are_left_out_of_what_is_loaded():
    model = replace(matrix(10), sample={"file": np.zeros((1, 10), np.float32)})
    assert measured(model).peak_rss_bytes > 0
