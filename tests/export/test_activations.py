"""An activation written out by simpler operators is the runtime's own one, and the same numbers."""

import numpy as np
import pytest
from torch import nn

from export.to_onnx import to_onnx
from export.wrap import Model
from tests.export.written import close, operators, prepared, run, written

RELU6 = ["p = Add(three, x)", "c = Clip(p, zero, six)"]


@pytest.mark.parametrize("sixth", ["y = Div(c, six)", "y = Mul(c, sixth)"])
def test_a_clipped_sum_over_six_is_a_hard_sigmoid(sixth):
    model = written(*RELU6, sixth)
    after = prepared(model)
    assert operators(after) == {"HardSigmoid": 1}
    close(model, after)


@pytest.mark.parametrize(
    "end",
    [
        ["m = Mul(x, c)", "y = Div(m, six)"],
        ["m = Mul(c, x)", "y = Mul(sixth, m)"],
        ["m = Div(c, six)", "y = Mul(x, m)"],
    ],
)
def test_so_is_the_gate_of_a_hard_swish(end):
    model = written(*RELU6, *end)
    after = prepared(model)
    assert operators(after) == {"HardSigmoid": 1, "Mul": 1}
    close(model, after)


def test_limits_that_were_attributes_are_read_too():
    model = written("p = Add(x, three)", "c = Clip(p, min=0.0, max=6.0)", "y = Div(c, six)", opset=9)
    after = prepared(model)
    assert operators(after) == {"HardSigmoid": 1}
    close(model, after)


@pytest.mark.parametrize("lines", [[*RELU6, "y = Div(c, six)"], ["a = Abs(x)", "p = Add(a, one)", "y = Div(x, p)"]])
def test_in_double_precision_the_runtime_has_neither(lines):
    model = written(*lines, dtype=np.float64)
    after = prepared(model)
    assert not {"HardSigmoid", "Softsign"} & set(operators(after))
    close(model, after)


@pytest.mark.parametrize(
    "lines",
    [
        ["p = Add(x, two)", "c = Clip(p, zero, six)", "y = Div(c, six)"],
        ["p = Add(x, three)", "c = Clip(p, zero, limit)", "y = Div(c, six)"],
        [*RELU6, "y = Div(six, c)"],
        [*RELU6, "m = Div(c, six)", "y = Mul(m, c)"],
    ],
)
def test_other_numbers_are_no_hard_sigmoid(lines):
    assert "HardSigmoid" not in operators(prepared(written(*lines)))


@pytest.mark.parametrize("one", ["q = Add(a, one)", "q = Add(one, a)"])
def test_softsign(one):
    model = written("a = Abs(x)", one, "y = Div(x, q)")
    after = prepared(model)
    assert operators(after) == {"Softsign": 1}
    close(model, after)


def test_a_softplus_needs_no_line_from_twenty_on():
    model = written("s = Softplus(x)", "t = Greater(x, limit)", "y = Where(t, x, s)")
    after = prepared(model)
    assert operators(after) == {"Softplus": 1}
    close(model, after)
    x = np.linspace(-30, 60, 3 * 7 * 16, dtype=np.float32).reshape(3, 7, 16)
    np.testing.assert_allclose(run(after, x), np.logaddexp(0, x.astype(np.float64)), rtol=3e-6, atol=1e-7)


def test_one_that_is_a_line_earlier_keeps_it():
    model = written("s = Softplus(x)", "t = Greater(x, six)", "y = Where(t, x, s)")
    assert "Where" in operators(prepared(model))


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.Softplus(), ["FusedGemm"]),
        (nn.Softsign(), ["FusedGemm"]),
        (nn.GroupNorm(2, 8), ["Gemm", "InstanceNormalization"]),
    ],
)
def test_what_torch_exports_has_no_casts_and_no_branches(layer, wanted):
    exported = to_onnx(Model(nn.Sequential(nn.Linear(6, 8), layer).eval(), ["x:float32[N,6]"]))
    found = operators(exported)
    assert set(wanted) <= set(found) and not {"Cast", "CastLike", "Where"} & set(found)
