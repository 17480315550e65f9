"""GELU in any order of its factors is one node of the runtime, and the same numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from export.to_onnx import to_onnx
from export.wrap import Model
from tests.export.written import close, operators, prepared, run, written

ERF = ["d = Div(x, root2)", "e = Erf(d)", "a = Add(e, one)"]
BY_PRODUCT = ["d = Mul(inverse, x)", "e = Erf(d)", "a = Add(one, e)"]
TANH = [
    "c = Pow(x, three)",
    "q = Mul(c, cubic)",
    "p = Add(x, q)",
    "z = Mul(p, slope)",
    "e = Tanh(z)",
    "a = Add(e, one)",
]
CUBE = ["s = Mul(x, x)", "c = Mul(s, x)", *TANH[1:]]
FACTORED = [
    *("u = Mul(slope, x)", "q = Mul(cubic, x)", "s = Mul(q, x)", "p = Add(s, one)"),
    *("z = Mul(u, p)", "e = Tanh(z)", "a = Add(one, e)"),
]
ENDS = {
    "x (0.5 a)": ["m = Mul(half, a)", "y = Mul(x, m)"],
    "(x a) 0.5": ["m = Mul(x, a)", "y = Mul(m, half)"],
    "(0.5 x) a": ["m = Mul(half, x)", "y = Mul(m, a)"],
    "(x a) / 2": ["m = Mul(a, x)", "y = Div(m, two)"],
    "x (a / 2)": ["m = Div(a, two)", "y = Mul(m, x)"],
    "a (x / 2)": ["m = Div(x, two)", "y = Mul(a, m)"],
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("start", [ERF, BY_PRODUCT], ids=["/ sqrt 2", "* sqrt 0.5"])
def test_any_order_of_the_product_is_one_gelu(start, end):
    model = written(*start, *end)
    after = prepared(model)
    assert operators(after) == {"Gelu": 1}
    close(model, after)


def test_a_half_inside_the_sum_is_the_same():
    model = written(*ERF[:2], "m = Mul(e, half)", "a = Add(m, half)", "y = Mul(a, x)")
    after = prepared(model)
    assert operators(after) == {"Gelu": 1}
    close(model, after)


def test_the_sum_of_two_products_is_the_same():
    model = written(*ERF[:2], "h = Mul(x, half)", "m = Mul(e, h)", "y = Add(m, h)")
    after = prepared(model)
    assert operators(after) == {"Gelu": 1}
    close(model, after)


def test_a_short_constant_is_taken_for_what_it_stands_for():
    model = written("d = Mul(x, short)", *ERF[1:], *ENDS["x (0.5 a)"])
    assert operators(prepared(model)) == {"Gelu": 1}


def test_it_is_x_times_the_normal_distribution():
    x = np.linspace(-6, 6, 3 * 7 * 16, dtype=np.float32).reshape(3, 7, 16)
    wanted = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel().tolist()]
    made = run(prepared(written(*BY_PRODUCT, *ENDS["x (a / 2)"])), x)
    np.testing.assert_allclose(made.ravel(), wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "end",
    [
        ["m = Mul(x, a)", "y = Mul(m, two)"],  # another number
        ["m = Mul(half, a)", "s = Mul(x, x)", "y = Mul(s, m)"],  # another factor
        ["m = Mul(half, a)", "n = Mul(x, m)", "y = Add(n, a)"],  # read twice
    ],
)
def test_what_is_no_gelu_stays(end):
    model = written(*ERF, *end)
    after = prepared(model)
    assert operators(after)["Erf"] == 1
    close(model, after)


def test_one_that_the_runtime_knows_keeps_its_nodes():
    model = written(*ERF, *ENDS["(x a) 0.5"])
    assert [n.op_type for n in prepared(model).onnx.graph] == [n.op_type for n in model.onnx.graph]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("start", [TANH, CUBE, FACTORED], ids=["pow", "cube", "factored"])
def test_the_tangent_is_a_sigmoid_with_two_passes_fewer(start, end):
    model = written(*start, *end)
    after = prepared(model)
    assert operators(after) == {"Mul": 4, "Add": 1, "Sigmoid": 1}
    close(model, after)


def test_another_polynomial_in_the_tangent_is_none():
    model = written("s = Mul(x, x)", "z = Mul(s, slope)", *TANH[4:], *ENDS["(0.5 x) a"])
    assert operators(prepared(model))["Tanh"] == 1


@given(st.lists(st.sampled_from([0.5, 2.0, 0.25, -1.0, 4.0]), max_size=4), st.integers(0, 4), st.booleans())
@settings(deadline=None, max_examples=15)
def test_numbers_may_come_anywhere_as_long_as_their_product_is_a_half(factors, place, divides):
    rest = 0.5 / math.prod(factors)
    factors.append(1 / rest if divides else rest)
    ops = ["Mul"] * (len(factors) - 1) + ["Div" if divides else "Mul"]
    lines, value = list(ERF), "a"
    for i, op in enumerate(ops):
        if i == min(place, len(ops) - 1):
            lines.append(f"g = Mul(x, {value})")
            value = "g"
        lines.append(f"m{i} = {op}({value}, k{i})")
        value = f"m{i}"
    lines[-1] = lines[-1].replace(f"{value} =", "y =", 1)
    model = written(*lines, **{f"k{i}": np.float32(f) for i, f in enumerate(factors)})
    after = prepared(model)
    # a product that is a half before the last number is one already, and what follows stays beside it
    assert operators(after).get("Gelu") == 1
    close(model, after)


@pytest.mark.parametrize(("how", "wanted"), [("none", "Gelu"), ("tanh", "Sigmoid")])
def test_torch_exports_one(how, wanted):
    network = nn.Sequential(nn.Linear(6, 8), nn.GELU(approximate=how), nn.Linear(8, 2)).eval()
    exported = to_onnx(Model(network, ["x:float32[N,6]"]))
    assert operators(exported)[wanted] == 1
