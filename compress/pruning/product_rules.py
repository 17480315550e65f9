"""How operations that multiply and sum over a dimension tie it: products of matrices, convolutions, attention.

What is summed over is tied between the two that are multiplied; a unit at zero adds nothing to the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.einsum import operands_and_result

from .axes import Axis, Dim, Product, freeze_structure, size_of
from .edits import Scale
from .ties import Call, Dims, Given, Rule, named


def matmul(call: Call) -> Given:
    """(..., M, K) by (..., K, N), vectors and leading dimensions as torch has them."""
    return _product(call, *call.node.args[:2])


def _product(call: Call, a: Any, b: Any) -> Dims:
    one, other = call.dims(a), call.dims(b)
    call.tie(one[-1], other[-2] if len(other) > 1 else other[-1])
    call.sums((a, len(one) - 1), (b, max(len(other) - 2, 0)))
    batch = call.broadcast([one[:-2], other[:-2]])
    return (*batch, *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))


def addmm(call: Call) -> Given:
    """A matrix product, and something added to it."""
    names = ("batch1", "batch2") if call.kind == "baddbmm" else ("mat1", "mat2")
    return call.broadcast([_product(call, *(call.arguments[name] for name in names)), call.dims("self")])


def einsum(call: Call) -> Given:
    """Dimensions of one index are tied."""
    tensors = [call.dims(node) for node in call["tensors"]]
    operands, result = operands_and_result(str(call["equation"]), [len(dims) for dims in tensors])
    found: dict[str, Dim] = {}
    for indices, dims in zip(operands, tensors, strict=True):
        for index, dim in zip(indices, dims, strict=True):
            if size_of(dim) != 1:
                found[index] = call.tie(found[index], dim) if index in found else dim
    return tuple(found.get(index) or Axis(1) for index in result)


def outer(call: Call) -> Given:
    """(M) and (N) to (M, N)."""
    return (*call.dims(0), *call.dims(1))


def inner(call: Call) -> Given:
    """(..., K) and (..., K), all with all, to (..., ...)."""
    one, other = call.dims(0), call.dims(1)
    call.tie(one[-1], other[-1])
    return (*one[:-1], *other[:-1])


def tensordot(call: Call) -> Given:
    """A product summed over the dimensions that are named of both."""
    one, other = call.dims("self"), call.dims("other")
    here, there = ([i % len(d) for i in call[n]] for d, n in ((one, "dims_self"), (other, "dims_other")))
    for i, j in zip(here, there, strict=True):
        call.tie(one[i], other[j])
    return (*(d for i, d in enumerate(one) if i not in here), *(d for j, d in enumerate(other) if j not in there))


def linear(call: Call) -> Given:
    """(..., in) to (..., out)."""
    return affine(call, call.dims("input"), call.dims("weight"), call.dims("bias"))


def affine(call: Call, x: Dims, weight: Dims, bias: Dims) -> Dims:
    """A linear layer, whoever holds its weights."""
    call.tie(weight[1], x[-1])
    for dim in bias:
        call.tie(dim, weight[0])
    call.attribute("in_features", weight[1])
    call.attribute("out_features", weight[0])
    return (*x[:-1], weight[0])


def convolution(call: Call) -> Given:
    """A convolution by function, transposed or not, in 1, 2 or 3 dimensions."""
    transposed = bool(call["transposed"]) or "transpose" in call.kind
    weight = call.dims("weight")
    steps = _each(call["stride"], len(weight) - 2), _each(call["padding"], len(weight) - 2)
    return convolve(call, call.dims("input"), weight, call.dims("bias"), int(call["groups"]), transposed, steps)


def _each(values: object, count: int) -> tuple[object, ...]:
    """One value for each of the dimensions that a kernel runs over."""
    many = tuple(values) if isinstance(values, tuple | list) else (values,)
    return many * count if len(many) == 1 else many


def convolve(
    call: Call,
    x: Dims,
    weight: Dims,
    bias: Dims,
    groups: int,
    transposed: bool,
    steps: tuple[Sequence[object], Sequence[object]],
) -> Dims:
    """A convolution, whoever holds its weights: (N, in, ...) to (N, out, ...).

    Weights are (out, in / groups, ...), or transposed (in, out / groups, ...); both sides fall into groups. `steps` are
    strides and paddings: where the kernel is one wide and does not skip, positions pass one by one.
    """
    place = len(x) - len(weight) + 1
    spatial: list[Dim] = []
    for dim, taps, stride, padding, n in zip(x[place + 1 :], weight[2:], *steps, call.given[place + 1 :], strict=True):
        passes = size_of(taps) == 1 and stride == 1 and padding in (0, "same", "valid") and n == size_of(dim)
        if not passes:
            call.freeze([dim], "slides over it")
        spatial.append(dim if passes else call.fixed(n))
    for dim in weight[2:]:
        freeze_structure(dim, "kernel")
    rows, inner = call.factor(x[place], groups)
    mine, other = call.factor(weight[0], groups)
    call.tie(mine, rows)
    call.tie(other if transposed else weight[1], inner)
    out = Product((rows, weight[1])) if transposed else weight[0]
    for dim in bias:
        call.tie(dim, out)
    call.attribute("in_channels", x[place])
    call.attribute("out_channels", out)
    call.attribute("groups", rows)
    if call.node.op == "call_function" and groups > 1 and isinstance(call.arguments["groups"], int):
        call.number("groups", rows)
    return (*x[:place], out, *spatial)


def attention(call: Call) -> Given:
    """Scaled dot-product attention: (..., L, D), (..., S, D), (..., S, V) to (..., L, V)."""
    query, key, value, mask = (call.dims(name) for name in ("query", "key", "value", "attn_mask"))
    if call["enable_gqa"]:
        call.freeze((query[-3], key[-3], value[-3]), "shares keys among heads")
        batch = query[:-2]
    else:
        batch = call.broadcast([query[:-2], key[:-2], value[:-2]])
    call.tie(query[-1], key[-1])
    call.tie(key[-2], value[-2])
    call.freeze((query[-2], key[-2]), "runs over it")
    call.broadcast([(*batch, query[-2], key[-2]), mask])
    call.ties.edits.append(Scale(node=call.node, dim=query[-1]))
    return (*batch, query[-2], value[-1])


PRODUCTS: dict[str, Rule] = {
    **named("matmul mm bmm mv dot linalg_matmul", matmul),
    **named("addmm baddbmm", addmm),
    "outer": outer,
    "inner": inner,
    "tensordot": tensordot,
    "einsum": einsum,
    "linear": linear,
    **{f"conv{kind}{n}d": convolution for kind in ("", "_transpose") for n in (1, 2, 3)},
    "convolution": convolution,
    "scaled_dot_product_attention": attention,
}
