"""How operations that compute tie the dimensions of what goes in and what comes out.

Removing unit i must give what the operation would have given with unit i at zero. Sums keep that exactly; means and
normalizations then run over what is left; a maximum or a softmax does not keep it, so it freezes what it runs over.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from .axes import Axis, Dim, Product, freeze_structure, size_of
from .edits import Scale
from .ties import Call, Dims, Given, Rule

_ZERO_IS_NOTHING = {"mean", "sum", "nansum", "var", "std", "var_mean", "std_mean", "linalg_vector_norm", "norm"}


def unknown(call: Call) -> Given:
    """Freeze everything that touches an operation without a rule."""
    for node in call.node.all_input_nodes:
        call.freeze(call.dims(node), "has no rule")
    return fixed_results(call)


def fixed_results(call: Call, why: str = "makes it") -> Given:
    """Dimensions that are never cut, for all that comes out."""
    if isinstance(call.given, list):
        return [tuple(call.fixed(n, why) for n in s) if isinstance(s, tuple) else None for s in call.given]
    return tuple(call.fixed(n, why) for n in call.given) if isinstance(call.given, tuple) else None


def same(call: Call) -> Given:
    """What comes out is shaped as the first argument, and made index by index."""
    return call.results(call.dims(0))


def pointwise(call: Call) -> Given:
    """Index by index, with broadcasting."""
    return call.broadcast([call.dims(node) for node in call.node.all_input_nodes if call.is_tensor(node)])


def along(call: Call) -> Given:
    """Shaped as the first argument, but each index depends on the others along `dim`."""
    dims = call.dims(0)
    if call["dim"] is None:
        call.freeze(dims, "runs over it")
    elif dims:
        call.freeze([dims[call.position("dim", len(dims))]], "runs over it")
    return call.results(dims)


def turn(call: Call) -> Given:
    """Positions moved around along `dims`; the other dimensions pass."""
    dims = call.dims("self")
    moved = {place % len(dims) for place in call["dims"]} or set(range(len(dims)))
    call.freeze((dims[i] for i in moved), "moves what lies along it")
    return dims


def reduce(call: Call) -> Given:
    """Take dimensions out, or leave them with size 1."""
    dims = call.dims(0)
    over = call["dim"]
    which = range(len(dims)) if over is None or over == [] else [over] if isinstance(over, int) else over
    gone = {i % len(dims) for i in which} if dims else set()
    order = call.arguments.get("ord", call.arguments.get("p", 2))
    if call.kind not in _ZERO_IS_NOTHING or (isinstance(order, int | float) and order < 0):
        call.freeze((dims[i] for i in gone), "runs over it")
    if call["keepdim"]:
        return call.results(tuple(Axis(1) if i in gone else d for i, d in enumerate(dims)))
    return call.results(tuple(d for i, d in enumerate(dims) if i not in gone))


def matmul(call: Call) -> Given:
    """(..., M, K) by (..., K, N), vectors and leading dimensions as torch has them."""
    return _product(call, call.dims(0), call.dims(1))


def _product(call: Call, one: Dims, other: Dims) -> Dims:
    call.tie(one[-1], other[-2] if len(other) > 1 else other[-1])
    batch = call.broadcast([one[:-2], other[:-2]])
    return (*batch, *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))


def addmm(call: Call) -> Given:
    """A matrix product, and something added to it."""
    names = ("batch1", "batch2") if call.kind == "baddbmm" else ("mat1", "mat2")
    return call.broadcast([_product(call, call.dims(names[0]), call.dims(names[1])), call.dims("self")])


def einsum(call: Call) -> Given:
    """Dimensions of one letter are tied."""
    equation = str(call["equation"]).replace(" ", "")
    left, _, right = equation.partition("->")
    operands = left.split(",")
    if "..." in left or any(len(set(o)) != len(o) for o in operands):
        return unknown(call)
    if "->" not in equation:
        right = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    letters: dict[str, Dim] = {}
    for operand, node in zip(operands, call["tensors"], strict=True):
        for letter, dim in zip(operand, call.dims(node), strict=True):
            if size_of(dim) != 1:
                letters[letter] = call.tie(letters[letter], dim) if letter in letters else dim
    return tuple(letters.get(c) or Axis(1) for c in right)


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


def lookup(call: Call) -> Given:
    """Rows of a table."""
    return embed(call, call.dims("indices"), call.dims("weight"))


def embed(call: Call, indices: Dims, weight: Dims) -> Dims:
    """Rows of a table, whoever holds it: what is looked up stays, the width may shrink."""
    call.freeze([weight[0]], "looks rows up in it")
    call.attribute("embedding_dim", weight[1])
    return (*indices, weight[1])


def channel_norm(call: Call) -> Given:
    """Batch normalization by function."""
    dims = call.dims("input")
    names = ("weight", "bias", "running_mean", "running_var")
    return normalize_channels(call, dims, [call.dims(name) for name in names])


def normalize_channels(call: Call, x: Dims, tensors: Sequence[Dims]) -> Dims:
    """Statistics and scale a channel; channels are dimension 1."""
    for dims in tensors:
        for dim in dims:
            call.tie(dim, x[1])
    call.attribute("num_features", x[1])
    return x


def layer_norm(call: Call) -> Given:
    """Layer or root-mean-square normalization by function."""
    last = normalize_last(
        call, call.dims("input"), len(call["normalized_shape"]), [call.dims("weight"), call.dims("bias")]
    )
    call.sizes("normalized_shape", last)
    return call.dims("input")


def normalize_last(call: Call, x: Dims, count: int, tensors: Sequence[Dims]) -> Dims:
    """Tie scale and shift to the last dimensions, over which the statistics run; gives these dimensions."""
    last = x[len(x) - count :]
    for dims in tensors:
        for dim, normalized in zip(dims, last, strict=bool(dims)):
            call.tie(dim, normalized)
    call.attribute("normalized_shape", last)
    return last


def group_norm(call: Call) -> Given:
    """Group normalization by function."""
    tensors = [call.dims("weight"), call.dims("bias")]
    call.number("num_groups", normalize_groups(call, call.dims("input"), int(call["num_groups"]), tensors))
    return call.dims("input")


def normalize_groups(call: Call, x: Dims, groups: int, tensors: Sequence[Dims]) -> Dim:
    """Statistics a group of channels; gives the dimension of the groups. Whole groups can go without a trace."""
    rows, _ = call.factor(x[1], groups)
    for dims in tensors:
        for dim in dims:
            call.tie(dim, x[1])
    call.freeze(x[2:], "runs over it")
    call.attribute("num_channels", x[1])
    call.attribute("num_groups", rows)
    return rows


def gate(call: Call) -> Given:
    """Gated linear unit: the first half along `dim`, times the sigmoid of the second."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    first, second = call.split(dims[place], [size_of(dims[place]) // 2] * 2)
    return (*dims[:place], call.tie(first, second), *dims[place + 1 :])


def similarity(call: Call) -> Given:
    """The cosine between two tensors along `dim`; units at zero take no part in it."""
    dims = call.broadcast([call.dims(0), call.dims(1)])
    place = call.position("dim", len(dims))
    return (*dims[:place], *dims[place + 1 :])


def triangle(call: Call) -> Given:
    """Keep one side of the diagonal of the last two dimensions."""
    dims = call.dims("self")
    call.freeze(dims[-2:], "depends on the positions")
    return dims


def prelu(call: Call) -> Given:
    """A slope for all, or one a channel."""
    x = call.dims("self")
    return slopes(call, x, call.dims("weight"))


def slopes(call: Call, x: Dims, weight: Dims) -> Dims:
    """Slopes of a PReLU, whoever holds them."""
    if weight and size_of(weight[0]) > 1:
        call.tie(weight[0], x[1])
        call.attribute("num_parameters", weight[0])
    return x


def scale_weight(call: Call) -> Given:
    """Weight normalization: v times g over the norm of v."""
    v, g = call.dims("v"), call.dims("g")
    call.broadcast([v, g])
    return v


def size(call: Call) -> Given:
    """A size that the graph computes with must stay what it is."""
    dims = call.dims("self")
    call.freeze(dims if call.kind == "sym_numel" else [dims[call.position("dim", len(dims))]], "computes with its size")
    return None


def _named(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


COMPUTING: dict[str, Rule] = {
    **_named(
        "alias clone contiguous detach dropout alpha_dropout feature_dropout fill hardswish lift_fresh type_as "
        "log_sigmoid to _to_copy zeros_like ones_like full_like empty_like resolve_conj resolve_neg",
        same,
    ),
    **_named("copy masked_fill subtract multiply divide true_divide floor_divide fmax fmin", pointwise),
    **_named(
        "softmax _softmax _safe_softmax log_softmax _log_softmax cumsum cumprod logcumsumexp cummax cummin sort "
        "argsort",
        along,
    ),
    **_named(
        "mean sum nansum var std var_mean std_mean linalg_vector_norm norm amax amin max min all any prod logsumexp "
        "argmax argmin median",
        reduce,
    ),
    **_named("matmul mm bmm mv dot", matmul),
    **_named("addmm baddbmm", addmm),
    **_named("roll flip", turn),
    "einsum": einsum,
    "linear": linear,
    **_named("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution", convolution),
    "scaled_dot_product_attention": attention,
    "embedding": lookup,
    "batch_norm": channel_norm,
    **_named("layer_norm rms_norm", layer_norm),
    "group_norm": group_norm,
    "cosine_similarity": similarity,
    "glu": gate,
    **_named("tril triu", triangle),
    "prelu": prelu,
    "_weight_norm": scale_weight,
    **_named("sym_size sym_numel", size),
}


def computes_pointwise(node: fx.Node) -> bool:
    """Whether torch itself says that an operation works index by index."""
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
