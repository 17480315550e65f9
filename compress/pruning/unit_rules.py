"""How operations that compute tie the dimensions of what goes in and what comes out.

Removing unit i must give what the operation would have given with unit i at zero. Sums keep that exactly where zero is
what comes to them of such a unit (`dead_units.py` sees to that); means and normalizations then run over what is left; a
maximum or a softmax does not keep it, so it freezes what it runs over.
"""

from __future__ import annotations

import torch
from torch import fx

from .axes import Axis, size_of
from .ties import Call, Dims, Given, Rule, named

_ZERO_IS_NOTHING = {
    "mean",
    "sum",
    "nansum",
    "nanmean",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "linalg_vector_norm",
    "linalg_norm",
    "norm",
}
_ADDS = {"sum", "nansum", "linalg_vector_norm", "linalg_norm", "norm"}  # the others run over what is left


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
    if call.kind in _ADDS:
        for place in gone:
            call.sums((call.node.args[0], place))  # type: ignore[arg-type]
    if call.kind not in _ZERO_IS_NOTHING or (isinstance(order, int | float) and order < 0):
        call.freeze((dims[i] for i in gone), "runs over it")
    if call["keepdim"]:
        return call.results(tuple(Axis(1) if i in gone else d for i, d in enumerate(dims)))
    return call.results(tuple(d for i, d in enumerate(dims) if i not in gone))


def bags(call: Call) -> Given:
    """Sums, means or largest of rows of a table, a bag of rows each."""
    weight = call.dims("weight")
    call.freeze([weight[0]], "looks rows up in it")
    _, *more = fixed_results(call) or ()
    return [(call.fixed(call.given[0][0]), weight[1]), *more]


def distances(call: Call) -> Given:
    """(..., M, K) and (..., N, K) to (..., M, N): a unit at zero in both adds nothing to a distance."""
    one, other = call.dims("x1"), call.dims("x2")
    call.tie(one[-1], other[-1])
    return (*call.broadcast([one[:-2], other[:-2]]), one[-2], other[-2])


def distance(call: Call) -> Given:
    """The distance along the last dimension."""
    dims = call.broadcast([call.dims("x1"), call.dims("x2")])
    return (*dims[:-1], Axis(1)) if call["keepdim"] else dims[:-1]


def norm(call: Call) -> Given:
    """Of vectors; a norm of matrices is not followed."""
    over = call["dim"]
    one = isinstance(over, int) or (isinstance(over, list | tuple) and len(over) == 1)
    return reduce(call) if one and not isinstance(call["ord"], str) else unknown(call)


def difference(call: Call) -> Given:
    """Each index along `dim` less the one before it."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    beside = [call.dims(name) for name in ("prepend", "append") if call.dims(name)]
    call.freeze([dims[place], *(more[place] for more in beside)], "runs over it")
    made = call.broadcast([(*d[:place], *d[place + 1 :]) for d in (dims, *beside)])
    return (*made[:place], call.fixed(call.given[place]), *made[place:])


def lookup(call: Call) -> Given:
    """Rows of a table."""
    return embed(call, call.dims("indices"), call.dims("weight"))


def embed(call: Call, indices: Dims, weight: Dims) -> Dims:
    """Rows of a table, whoever holds it: what is looked up stays, the width may shrink."""
    call.freeze([weight[0]], "looks rows up in it")
    call.attribute("embedding_dim", weight[1])
    return (*indices, weight[1])


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


COMPUTING: dict[str, Rule] = {
    **named(
        "alias clone contiguous detach dropout alpha_dropout feature_dropout fill hardswish lift_fresh type_as "
        "log_sigmoid special_erf special_expit to _to_copy zeros_like ones_like full_like empty_like resolve_conj "
        "resolve_neg",
        same,
    ),
    **named(
        "where complex polar copy masked_fill subtract multiply divide true_divide floor_divide fmax fmin", pointwise
    ),
    **named(
        "softmax _softmax _safe_softmax log_softmax _log_softmax cumsum cumprod logcumsumexp cummax cummin sort "
        "argsort",
        along,
    ),
    **named(
        "mean sum nansum nanmean var std var_mean std_mean linalg_vector_norm norm amax amin max min all any prod "
        "aminmax logsumexp special_logsumexp argmax argmin median",
        reduce,
    ),
    "cdist": distances,
    "pairwise_distance": distance,
    "linalg_norm": norm,
    "diff": difference,
    **named("roll flip", turn),
    "embedding": lookup,
    "embedding_bag": bags,
    "cosine_similarity": similarity,
    "glu": gate,
    **named("tril triu", triangle),
    "prelu": prelu,
    "_weight_norm": scale_weight,
    **named("sym_size sym_numel", size),
}


def computes_pointwise(node: fx.Node) -> bool:
    """Whether torch itself says that an operation works index by index."""
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
