import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401
from export.parity import parity, same_signature, sqnr_db, verify
from export.trials import batches_for, trial_sizes
from models.errors import DataError, VerificationError
from models.records import InputSpec, Model, OutputSpec

X = InputSpec(name="x", dtype="float32", dims=("N", "T", 4))
Y = OutputSpec(name="y", dtype="float32", dims=("N", "T", 4))


def product(scale: float = 1.0, *, inputs=(X,), outputs=(Y,), **facts) -> Model:
    """y = x times a matrix, whose first column is scaled."""
    weight = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    weight[:, 0] *= scale
    names = (inputs[0].name, outputs[0].name)
    info = [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.dims)) for s in (*inputs, *outputs)]
    node = helper.make_node("MatMul", [names[0], "w"], [names[1]])
    graph = helper.make_graph([node], "g", info[:1], info[1:], [numpy_helper.from_array(weight, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model(ir.from_proto(proto), tuple(inputs), tuple(outputs), name="net", **facts)


def test_a_model_is_itself_at_several_sizes():
    found = verify(product(), product())
    assert found.max_abs == found.max_rel == found.decision_flip_rate == 0
    assert math.isinf(found.sqnr_db)
    shapes = [shape["x"] for shape in found.shapes]
    assert len({n for n, _, _ in shapes}) >= 3
    assert len({t for _, t, _ in shapes}) >= 3


def test_noise_of_a_hundredth_is_forty_decibels():
    a = np.random.default_rng(0).standard_normal(100_000)
    assert sqnr_db(a, a * 1.01) == pytest.approx(40, abs=1e-6)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_scale_of_both_changes_nothing(scale, other):
    a, b = np.array([1.0, 2.0, -3.0]), np.array([1.1, 2.0, -3.0])
    assert sqnr_db(scale * a, scale * b) == pytest.approx(sqnr_db(other * a, other * b))


def test_equal_infinities_differ_in_nothing_and_a_single_one_in_everything():
    a = np.array([1.0, np.inf, np.nan])
    assert sqnr_db(a, a) == math.inf
    assert sqnr_db(a, np.array([1.0, 5.0, np.nan])) == -math.inf
    assert sqnr_db(np.array([1.0]), np.array([np.nan])) == -math.inf


def test_of_several_outputs_the_worst_counts():
    def runner(error):
        return lambda arrays: {"large": 1000 * arrays["x"], "small": arrays["x"] + error}

    found = parity(runner(0.0), runner(1.0), [{"x": np.ones((1, 4), np.float32)}])
    assert found.sqnr_db == pytest.approx(0)
    assert found.max_abs == found.max_rel == 1.0


def test_flipped_decisions_are_counted_by_row():
    a = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    b = a[:, ::-1].copy()
    b[2:] = a[2:]
    assert parity(lambda _: {"y": a}, lambda _: {"y": b}, [{}]).decision_flip_rate == 0.5


def test_a_changed_weight_is_found():
    with pytest.raises(VerificationError, match=r"SQNR .* asked is 60 dB"):
        verify(product(), product(1.1))
    assert verify(product(), product(1.1), floor_db=10).sqnr_db < 60


def test_a_sample_is_used_in_place_of_random_inputs():
    sample = {"x": np.full((2, 5, 4), 3.0, np.float32)}
    batches = list(batches_for(product(sample=sample)))
    assert len(batches) == 1
    np.testing.assert_array_equal(batches[0]["x"], sample["x"])


def test_the_usual_sizes_come_first():
    sizes = trial_sizes(product(typical={"T": 10}))
    assert sizes[0] == {"N": 1, "T": 10}
    assert {s["N"] for s in sizes} == {1, 2, 3, 5}
    assert {s["T"] for s in sizes} == {5, 10, 13, 20}


def test_no_batch_is_an_error():
    with pytest.raises(DataError, match="no batch"):
        parity(lambda _: {}, lambda _: {}, [])


def renamed(**changes):
    return (InputSpec(**{"name": "x", "dtype": "float32", "dims": ("N", "T", 4), **changes}),)


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (product(inputs=renamed(name="z")), "inputs of the reference are 'x', the candidate's 'z'"),
        (product(inputs=renamed(dims=("N", 16, 4))), "'T' is no longer free"),
        (product(inputs=renamed(dims=("N", "T", "C"))), r"float32\[N,T,4\]"),
        (product(outputs=(OutputSpec(name="q", dtype="float32", dims=("N", "T", 4)),)), "the reference are 'y'"),
        (Model(product().network, renamed(dtype="float16"), (Y,)), "float16"),
    ],
)  # fmt: skip
def test_the_first_difference_of_signatures_is_told(candidate, says):
    with pytest.raises(VerificationError, match=says):
        same_signature(product(), candidate)


def test_letters_may_have_other_names():
    specs = renamed(dims=("batch", "time", 4)), (OutputSpec(name="y", dtype="float32", dims=("batch", "time", 4)),)
    assert verify(product(), product(inputs=specs[0], outputs=specs[1])).max_abs == 0


def test_a_missing_output_and_another_shape_are_named():
    batch = [{"x": np.ones(2)}]
    with pytest.raises(VerificationError, match="gives no output 'y'; it gives 'z'"):
        parity(lambda b: {"y": b["x"]}, lambda b: {"z": b["x"]}, batch)
    with pytest.raises(VerificationError, match=r"\[2\] of the reference and \[1\]"):
        parity(lambda b: {"y": b["x"]}, lambda b: {"y": b["x"][:1]}, batch)


def test_only_outputs_that_decide_have_decisions():
    wanted, found = (
        {"y": np.array([[0.0, 1.0]]), "z": np.zeros((1, 3))},
        {"y": np.array([[1.0, 0.0]]), "z": np.zeros((1, 3))},
    )
    for choices, rate in ((None, 1.0), (("y",), 1.0), (("z",), 0.0), ((), None)):
        found_rate = parity(lambda _: wanted, lambda _: found, [{}], choices=choices).decision_flip_rate
        assert found_rate == rate


def test_an_agreement_without_decisions_can_be_told():
    told = parity(lambda _: {"y": np.ones((2, 1))}, lambda _: {"y": np.ones((2, 1)) * 1.1}, [{}]).text
    assert told == "20.0 dB, largest difference 0.1"


def test_an_output_that_is_fixed_in_fact_may_be_called_free():
    """An exporter calls what it does not know by a name of its own; a letter of the inputs is free."""

    def said(*dims):
        return product(outputs=(OutputSpec(name="y", dtype="float32", dims=dims),))

    assert verify(said("N", "T", "y_dim_2"), product()).max_abs == 0
    with pytest.raises(VerificationError, match="'N' is no longer free"):
        verify(product(), said(1, "T", 4))
    with pytest.raises(VerificationError, match=r"'y' is float32\[N,3,4\] as the file says, and gave \[.*4\]"):
        verify(said("N", "y_dim_1", 4), said("N", 3, 4))
