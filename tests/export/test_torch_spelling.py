import math

import pytest
import torch
from torch import Tensor, fx
from torch.nn import functional as F

import compress  # noqa: F401
from export.torch_spelling import Text, spelled

aten = torch.ops.aten
A = torch.arange(24.0).reshape(2, 3, 4) / 7 - 1
W = torch.arange(18.0).reshape(3, 6) / 9 - 1
PICTURE = torch.arange(96.0).reshape(1, 3, 4, 8).sin()
X, N = "x", "n"  # stand for the tensor and for a size

# operation, its arguments, and what a person would write
SPELLED = [
    (aten.add.Tensor, (X, X), "x + x"),
    (aten.add.Tensor, (X, X, {"alpha": 2}), "torch.add(x, x, alpha=2)"),
    (aten.mul.Tensor, (X, -2.0), "x * (-2.0)"),
    (aten.pow.Tensor_Scalar, (X, 2), "x ** 2"),
    (aten.rsub.Scalar, (X, 1), "1 - x"),
    (aten.neg.default, (X,), "-x"),
    (aten.div.Tensor_mode, (X, 2.0, {"rounding_mode": "floor"}), 'torch.div(x, 2.0, rounding_mode="floor")'),
    (aten.clamp.default, (X, None, math.inf), 'torch.clamp(x, None, float("inf"))'),
    (aten.reshape.default, (X, [N, -1]), "x.reshape(n, -1)"),
    (aten.permute.default, (X, [2, 0, 1]), "x.permute(2, 0, 1)"),
    (aten.unflatten.int, (X, 2, [2, 2]), "x.unflatten(2, [2, 2])"),
    (aten.sum.dim_IntList, (X, [1, 2], True), "x.sum([1, 2], keepdim=True)"),
    (aten.softmax.int, (X, -1), "x.softmax(-1)"),
    (aten.slice.Tensor, (X, 1, 0, N), "x[:, :n]"),
    (aten.slice.Tensor, (X, -1, 1, 2**63 - 1, 2), "x[..., 1::2]"),
    (aten.slice.Tensor, (X, -2, 1, -1), "x[..., 1:-1, :]"),
    (aten.select.int, (X, 1, -1), "x[:, -1]"),
    (aten.sym_size.int, (X, 2), "x.shape[2]"),
    (aten.to.dtype, (X, torch.float64), "x.to(torch.float64)"),
    (aten.gelu.default, (X, {"approximate": "tanh"}), 'F.gelu(x, approximate="tanh")'),
    (aten.relu.default, (X,), "F.relu(x)"),
    (aten.leaky_relu.default, (X, 0.2), "F.leaky_relu(x, 0.2)"),
    (aten.constant_pad_nd.default, (X, [1, 1], 0.5), "torch.constant_pad_nd(x, [1, 1], 0.5)"),
    (aten.pad.default, (X, [1, 1]), "F.pad(x, [1, 1])"),
    (aten.layer_norm.default, (X, [4], None, None, 1e-5, False), "F.layer_norm(x, [4], None, None, 1e-05)"),
    (aten.cat.default, ([X, X], 1), "torch.cat([x, x], 1)"),
    (aten.einsum.default, ("abc,abd->acd", [X, X]), 'torch.einsum("abc,abd->acd", x, x)'),
    (aten.index.Tensor, (X, [None, torch.tensor([2, 0])]), None),
    (aten.zeros.default, ([N, 3],), "torch.zeros([n, 3], device=x.device)"),
    (aten.where.self, (torch.tensor(True), X, X), None),
    (aten.linalg_vector_norm.default, (X, 2, [1], True), "torch.linalg.vector_norm(x, 2, [1], keepdim=True)"),
    (aten._softmax.default, (X, 1, False), "torch.ops.aten._softmax.default(x, 1, False)"),
    (aten.max.dim, (X, 1, True), "torch.max(x, 1, keepdim=True)"),
    (aten.cumsum.default, (X, 1), "x.cumsum(1)"),
    (aten.topk.default, (X, 2), "torch.topk(x, 2)"),
    (aten.glu.default, (X, -1), "F.glu(x, -1)"),
    (aten.var.correction, (X, [2], {"correction": 0}), "torch.var(x, [2], correction=0)"),
    (aten.masked_fill.Scalar, (X, torch.tensor(False), -1.0), None),
    (aten.expand.default, (X, [2, 3, 4]), "x.expand(2, 3, 4)"),
    (aten.split_with_sizes.default, (X, [1, 3], 2), "x.split_with_sizes([1, 3], 2)"),
    (aten.repeat_interleave.self_int, (X, 2, 1), "x.repeat_interleave(2, 1)"),
]
PICTURES = [
    (aten.max_pool2d.default, (X, [2, 2], [2, 2], [0, 0], [1, 1], True)),
    (aten.avg_pool2d.default, (X, [2, 2], [2, 2], [0, 0], True, False)),
    (aten.upsample_nearest2d.vec, (X, None, [2.0, 2.0])),
    (aten.upsample_bilinear2d.vec, (X, [6, 5], True, None)),
    (aten._upsample_nearest_exact2d.vec, (X, None, [2.0, 1.5])),
    (aten.upsample_nearest2d.default, (X, [8, 8])),
    (aten.hardtanh.default, (X, 0.0, 6.0)),
    (aten.group_norm.default, (X, 3, None, None, 1e-5)),
    (aten.instance_norm.default, (X, None, None, None, None, True, 0.1, 1e-5, False)),
    (aten.pixel_unshuffle.default, (X, 2)),
    (aten.adaptive_max_pool2d.default, (X, [2, 2])),
]


def written(operation, given, x):
    """The expression, what it gives, and what the operation gives."""
    *args, kwargs = (*given, {}) if not given or not isinstance(given[-1], dict) else given
    graph, tables = fx.Graph(), {}
    nodes = {X: graph.placeholder("x"), N: graph.placeholder("n")}
    values = {"x": x, "n": 2}

    def put(value):
        if isinstance(value, Tensor):
            tables[f"t{len(tables)}"] = value
            return graph.get_attr(f"t{len(tables) - 1}")
        if isinstance(value, list):
            return [put(v) for v in value]
        return nodes.get(value, value) if isinstance(value, str) else value

    def meant(value):
        if isinstance(value, list):
            return [meant(v) for v in value]
        return values.get(value, value) if isinstance(value, str) else value

    node = graph.call_function(operation, tuple(map(put, args)), kwargs)
    text = spelled(node, lambda n: Text(str(n.target)), "x.device").text
    names = {"torch": torch, "F": F, "math": math, **values, **tables}
    return text, eval(text, names), operation(*map(meant, args), **kwargs)


@pytest.mark.parametrize(("operation", "given", "text"), SPELLED, ids=lambda v: str(v) if callable(v) else "")
def test_it_is_written_as_a_person_would_and_gives_the_same_bits(operation, given, text):
    found, ours, theirs = written(operation, given, A)
    assert text is None or found == text
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, check_stride=False)


@pytest.mark.parametrize(("operation", "given"), PICTURES, ids=lambda v: str(v) if callable(v) else "")
def test_functions_of_pictures_give_the_same_bits(operation, given):
    _, ours, theirs = written(operation, given, PICTURE)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_loose_operand_gets_brackets_and_a_table_is_looked_up_under_its_public_name():
    graph = fx.Graph()
    x, i = graph.placeholder("x"), graph.placeholder("i")
    total = graph.call_function(aten.add.Tensor, (x, 1))
    product = graph.call_function(aten.mul.Tensor, (total, x))
    texts = {x: Text("x"), i: Text("i"), total: Text("x + 1", loose=True)}
    assert spelled(product, texts.__getitem__, "").text == "(x + 1) * x"
    looked_up = graph.call_function(aten.embedding.default, (x, i))
    assert spelled(looked_up, texts.__getitem__, "").text == "F.embedding(i, x)"
    assert torch.equal(eval("F.embedding(i, x)", {"F": F, "i": torch.tensor([2]), "x": W}), W[[2]])
