"""Every operator of the table against the cases that ONNX itself publishes for it, run by ONNX Runtime."""

import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

import compress  # noqa: F401
from export.from_onnx import FUNCTIONS, Interpreter
from export.onnx_layers import LAYERS
from models.errors import LiftError
from models.records import InputSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases

    CASES = list(collect_testcases(None))

KNOWN = {*LAYERS, *FUNCTIONS}
NEWEST = 23  # opset; what ONNX Runtime and ONNX's converters both know well
# operators whose further inputs say how, and are constants in every file
HOW = {*LAYERS, "Resize", "Upsample", "Pad", "OneHot", "Clip", "Dropout"}
NOT_OURS = (
    "uint16 uint32 uint64 string "  # torch does not compute with these
    "same_values out_of_range empty_set einsum_scalar "  # order of equal elements, and what no network does
    "resize_downsample_sizes_linear_pytorch_half_pixel"  # differs from torch where a side of one pixel is left
).split()


def chosen() -> list:
    """Cases of a single known operator, each operator's first few, in a form ONNX Runtime runs."""
    found, counted = [], {}
    for case in CASES:
        operators = [n.op_type for n in case.model.graph.node]
        if len(operators) != 1 or operators[0] not in KNOWN or any(word in case.name for word in NOT_OURS):
            continue
        if counted.get(operators[0], 0) < (30 if operators[0] in ("Resize", "Conv", "Slice", "Pad") else 7):
            counted[operators[0]] = counted.get(operators[0], 0) + 1
            found.append(case)
    return found


CHOSEN = chosen()


def as_a_file(case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The case with its data as input, and as constants what says how to compute."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    arrays = [np.asarray(a) for a in case.data_sets[0][0]]
    feeds, kept = {}, []
    for i, (value, array) in enumerate(zip(case.model.graph.input, arrays, strict=False)):
        if i and (model.graph.node[0].op_type in HOW or (array.dtype.kind in "iu" and arrays[0].dtype.kind == "f")):
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            feeds[value.name] = array
            kept.append(value)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = min(model.ir_version, 10)
    model.opset_import[0].version = min(model.opset_import[0].version, NEWEST)
    return model, feeds


def test_the_cases_cover_the_table():
    tried = {case.model.graph.node[0].op_type for case in CHOSEN}
    assert len(CHOSEN) > 350
    assert len(tried & KNOWN) > 110


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_it_computes_what_the_runtime_computes(case):
    model, feeds = as_a_file(case)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        expected = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, feeds)
    except Exception:
        pytest.skip("ONNX Runtime does not run this case")
    specs = [InputSpec(name=n, dtype=str(a.dtype), dims=a.shape) for n, a in feeds.items()]
    try:
        module = Interpreter(ir.from_proto(model), specs, {})
        found = module(*[torch.from_numpy(np.array(a)) for a in feeds.values()])
    except LiftError as error:
        assert error.operation, "a refusal names the operator"
        return
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        tolerance = 2e-3 if theirs.dtype == np.float16 else 1e-4
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=tolerance, atol=1e-5)
