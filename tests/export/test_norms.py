"""A norm written out by simpler operators is one node of the runtime, and the same numbers."""

import numpy as np
import pytest
from torch import nn

from export.to_onnx import to_onnx
from export.wrap import Model
from tests.export.written import close, operators, prepared, written

WEIGHT, BIAS = np.linspace(0.5, 1.5, 16, dtype=np.float32), np.linspace(-1, 1, 16, dtype=np.float32)
CENTRED = ["m = ReduceMean(x, axes=[-1])", "d = Sub(x, m)"]
SQUARES = {"pow": "p = Pow(d, two)", "product": "p = Mul(d, d)"}
SPREAD = ["v = ReduceMean(p, axes=[-1])", "w = Add(eps, v)"]
ROOTS = {"sqrt": "r = Sqrt(w)", "pow": "r = Pow(w, half)"}
QUOTIENTS = {
    "division": ["n = Div(d, r)"],
    "reciprocal": ["i = Reciprocal(r)", "n = Mul(i, d)"],
    "one over": ["i = Div(one, r)", "n = Mul(d, i)"],
}
ENDS = [pytest.param([*line], id=name) for name, line in QUOTIENTS.items()]


@pytest.mark.parametrize("quotient", ENDS)
@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES)
def test_a_layer_norm_in_any_spelling_is_one_node(square, root, quotient):
    lines = [*CENTRED, square, *SPREAD, root, *quotient, "g = Mul(n, weight)", "y = Add(g, bias)"]
    model = written(*lines, opset=13, weight=WEIGHT, bias=BIAS)
    after = prepared(model)
    assert operators(after) == {"LayerNormalization": 1}
    close(model, after, atol=1e-5)


@pytest.mark.parametrize("quotient", ENDS)
@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES)
def test_a_root_mean_square_norm_in_any_spelling_is_one_node(square, quotient):
    lines = [square, *SPREAD, "r = Sqrt(w)", *quotient, "y = Mul(weight, n)"]
    model = written(*[line.replace("d)", "x)").replace("(d,", "(x,") for line in lines], opset=13, weight=WEIGHT)
    after = prepared(model)
    assert operators(after) == {"SimplifiedLayerNormalization": 1}
    close(model, after, atol=1e-5)


def test_without_a_weight_the_runtime_fuses_nothing_and_it_stays():
    model = written(*CENTRED, "p = Mul(d, d)", *SPREAD, "r = Sqrt(w)", "i = Reciprocal(r)", "y = Mul(d, i)", opset=13)
    assert operators(prepared(model)) == operators(model)


def test_a_root_that_is_read_twice_stays():
    lines = [*CENTRED, "p = Mul(d, d)", *SPREAD, "r = Sqrt(w)", "i = Reciprocal(r)", "n = Mul(d, i)"]
    model = written(*lines, "g = Mul(n, weight)", "y = Add(g, r)", opset=13, weight=WEIGHT)
    after = prepared(model)
    assert operators(after) == operators(model)
    close(model, after, atol=1e-5)


def test_what_torch_exports_is_one_node():
    network = nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Linear(8, 2)).eval()
    exported = to_onnx(Model(network, ["x:float32[N,6]"]))
    assert operators(exported) == {"Gemm": 2, "SimplifiedLayerNormalization": 1}
