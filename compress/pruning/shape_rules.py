"""How operations that only move, cut or make tensors tie dimensions, and which of their numbers follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from .axes import ONE, Axis, Dim, Product, Sum, regroup, size_of
from .edits import Pieces
from .ties import Call, Dims, Given, Rule, is_frozen, named
from .unit_rules import fixed_results, unknown


def reshape(call: Call) -> Given:
    """The same elements in the same order, under another shape."""
    dims = regroup(call.dims("self"), call.given, f"{call.what} takes it apart where it is not put together")
    for name in ("size", "shape"):
        if name in call.arguments:
            _follow(call, name, dims)
    if call.kind == "unflatten":
        first = call.position("dim", len(call.dims("self")))
        _follow(call, "sizes", dims[first : first + len(call.arguments["sizes"])])
    return dims


def _follow(call: Call, name: str, dims: Dims) -> None:
    """Sizes of a reshape follow its dimensions; at most one that is computed can be left to torch as -1."""
    sizes = call.arguments[name]
    computed = [d for s, d in zip(sizes, dims, strict=True) if s == -1 or (isinstance(s, fx.Node) and not is_frozen(d))]
    if len(computed) > 1:
        for size, dim in zip(sizes, dims, strict=True):
            if isinstance(size, fx.Node):
                call.freeze([dim], "takes several computed sizes")
    call.sizes(name, dims)


def move(call: Call) -> Given:
    """Dimensions in another order: the operation itself shows which, on a tensor whose sizes are all different."""
    dims = call.dims("self")
    probe = torch.empty(tuple(range(2, 2 + len(dims))), device="meta")
    moved = call.node.target(probe, *call.node.args[1:], **call.node.kwargs)  # type: ignore[operator]
    return tuple(dims[n - 2] for n in moved.shape)


def concat(call: Call) -> Given:
    """One after another along `dim`, side by side elsewhere."""
    tensors = [call.dims(node) for node in call["tensors"]]
    tensors = [dims for dims in tensors if len(dims) == max(map(len, tensors))]  # torch passes over empty ones
    return _joined(call, tensors, call.position("dim", len(tensors[0])))


def _joined(call: Call, tensors: Sequence[Dims], place: int) -> Dims:
    made = [call.tie_all([dims[i] for dims in tensors]) for i in range(len(tensors[0])) if i != place]
    made.insert(place, Sum(tuple(dims[place] for dims in tensors)))
    return tuple(made)


def stack(call: Call) -> Given:
    """A new dimension with one index for each tensor."""
    tensors = [call.dims(node) for node in call["tensors"]]
    made = [call.tie_all([dims[i] for dims in tensors]) for i in range(len(tensors[0]))]
    made.insert(call.position("dim", len(made) + 1), call.fixed(len(tensors)))
    return tuple(made)


def take_apart(call: Call) -> Given:
    """Consecutive pieces along `dim`."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    pieces = call.split(dims[place], [shape[place] for shape in call.given])
    call.ties.edits.append(Pieces(node=call.node, axis=place, dims=pieces))
    return [(*dims[:place], piece, *dims[place + 1 :]) for piece in pieces]


def unbind(call: Call) -> Given:
    """One tensor for each index of `dim`."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], "gives a tensor for each index of it")
    return [(*dims[:place], *dims[place + 1 :])] * len(call.given)


def select(call: Call) -> Given:
    """One index of `dim`."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    _one_of(call, dims[place])
    return (*dims[:place], *dims[place + 1 :])


def put_one(call: Call) -> Given:
    """`src` in the place of one index of `dim`."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    _one_of(call, dims[place])
    call.broadcast([(*dims[:place], *dims[place + 1 :]), call.dims("src")])
    return dims


def _one_of(call: Call, dim: Dim) -> None:
    """Set one index of a dimension apart; it stays."""
    index = call["index"]
    if is_frozen(dim):
        return
    if isinstance(call.arguments["index"], fx.Node):
        call.freeze([dim], "takes a computed index of it")
    else:
        before, one, after = call.split(dim, _around(index % size_of(dim), 1, size_of(dim)))
        call.number("index", Sum((one, after)) if index < 0 else before, from_end=index < 0)


def cut_out(call: Call) -> Given:
    """Indices from `start` to `end` of `dim`."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    return (*dims[:place], _window(call, dims[place], call.given[place]), *dims[place + 1 :])


def put_in(call: Call) -> Given:
    """`src` in the place of the indices from `start` to `end` of `dim`."""
    dims, source = call.dims("self"), list(call.dims("src"))
    place = call.position("dim", len(dims))
    call.tie(_window(call, dims[place], size_of(source[place])), source.pop(place))
    call.broadcast([(*dims[:place], *dims[place + 1 :]), tuple(source)])
    return dims


def _window(call: Call, dim: Dim, length: int) -> Dim:
    """The dimension of so many indices from `start` on, of which the arguments follow."""
    computed = any(isinstance(call.arguments.get(n), fx.Node) for n in ("start", "end", "length", "step"))
    if length == size_of(dim) and not computed:
        return dim
    if not is_frozen(dim) and (computed or (call["step"] or 1) != 1):
        call.freeze([dim], "takes computed or scattered indices of it")
    if is_frozen(dim):
        return call.fixed(length)
    start, end = call["start"] or 0, call["end"]
    first = min(start + size_of(dim) if start < 0 else start, size_of(dim))
    before, taken, after = call.split(dim, _around(first, length, size_of(dim)))
    if call["start"] is not None:
        call.number("start", Sum((taken, after)) if start < 0 else before, from_end=start < 0)
    if "length" in call.arguments:  # narrow
        call.number("length", taken)
    elif end is not None and end < size_of(dim):
        call.number("end", after if end < 0 else Sum((before, taken)), from_end=end < 0)
    return taken


def _around(start: int, length: int, size: int) -> list[int]:
    return [start, length, size - start - length]


def expand(call: Call) -> Given:
    """Dimensions of size 1 repeated, new ones in front."""
    dims = call.dims("self")
    sizes: Sequence[Any] = call.arguments["size"]
    dims = (ONE,) * (len(sizes) - len(dims)) + dims
    made = []
    for dim, literal, n in zip(dims, sizes, call.given, strict=True):
        wide = call.fixed(n) if isinstance(literal, fx.Node) else Axis(n)
        made.append(dim if size_of(dim) == n else wide)
    call.sizes("size", made)
    return tuple(made)


def expand_as(call: Call) -> Given:
    """Dimensions of size 1 repeated to those of another tensor."""
    return call.broadcast([call.dims("self"), call.dims("other")])


def repeat(call: Call) -> Given:
    """All of it, so many times; a dimension of size 1 becomes as wide as whatever it meets, as in `expand`."""
    dims, name = call.dims("self"), "repeats" if call.kind == "repeat" else "dims"
    dims = (ONE,) * (len(call.given) - len(dims)) + dims
    times = [1] * (len(dims) - len(call.arguments[name])) + list(call.arguments[name])
    wide = [
        Axis(n) if size_of(d) == 1 and not isinstance(literal, fx.Node) else None
        for d, literal, n in zip(dims, times, call.given, strict=True)
    ]
    call.sizes(name, wide[len(dims) - len(call.arguments[name]) :])
    return tuple(
        one or Product((call.fixed(n // size_of(d)), d)) for one, d, n in zip(wide, dims, call.given, strict=True)
    )


def repeat_each(call: Call) -> Given:
    """Each index of `dim`, so many times."""
    if "dim" not in call.arguments or not isinstance(call["repeats"], int) or call["dim"] is None:
        return unknown(call)
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    if size_of(dims[place]) == 1 and isinstance(call.arguments["repeats"], int):
        wide: Dim = Axis(call["repeats"])
        call.number("repeats", wide)
    else:
        wide = Product((dims[place], call.fixed(call["repeats"])))
    return (*dims[:place], wide, *dims[place + 1 :])


def pad(call: Call) -> Given:
    """Constants before and after the indices of the last dimensions, two numbers a dimension from the last one on."""
    dims, amounts = list(call.dims("self")), call["pad"]
    follow: list[Dim | None] = [None] * len(amounts)
    for place in range(len(amounts) // 2):
        before, after = (call.seen(n) for n in amounts[2 * place : 2 * place + 2])
        old = dims[-1 - place]
        if not before and not after:
            continue
        if is_frozen(old) or min(before, after) < 0 or call["mode"] not in (None, "constant"):
            call.freeze([old], "pads or crops it")
            dims[-1 - place] = call.fixed(call.given[-1 - place])
        else:
            follow[2 * place : 2 * place + 2] = Axis(before), Axis(after)
            dims[-1 - place] = Sum(
                (*(d for d in [follow[2 * place]] if d), old, *(d for d in [follow[2 * place + 1]] if d))
            )
    call.sizes("pad", follow)
    return tuple(dims)


def shuffle_channels(call: Call) -> Given:
    """Channels as rows, dealt out column by column."""
    dims = call.dims("self")
    rows, inner = call.factor(dims[1], int(call["groups"]))
    call.number("groups", rows)
    return (dims[0], Product((inner, rows)), *dims[2:])


def diagonal(call: Call) -> Given:
    """The positions where two dimensions are equal, as the last dimension."""
    dims = call.dims("self")
    over = [call.position(name, len(dims)) for name in ("dim1", "dim2")]
    call.freeze((dims[i] for i in over), "takes the diagonal of it")
    return (*(dim for i, dim in enumerate(dims) if i not in over), call.fixed(call.given[-1]))


def pile(call: Call) -> Given:
    """One after another along the first dimension, or the second one (hstack of more than vectors)."""
    tensors = [call.dims(node) for node in call["tensors"]]
    place = 1 if call.kind == "hstack" and len(call.given) > 1 else 0
    if any(len(dims) != len(call.given) for dims in tensors):
        return unknown(call)
    return _joined(call, tensors, place)


def join_pairs(call: Call) -> Given:
    """Two numbers along the last dimension become a complex one."""
    dims = call.dims("self")
    call.freeze(dims[-1:], "makes complex numbers of it")
    return dims[:-1]


def part_pairs(call: Call) -> Given:
    """A complex number becomes two along a new last dimension."""
    return (*call.dims("self"), call.fixed(2))


def make(call: Call) -> Given:
    """A tensor of one value everywhere, or of noise: as wide as whatever it meets, where its size is a plain number."""
    sizes = call.arguments["size"]
    dims = tuple(call.fixed(n) if isinstance(s, fx.Node) else Axis(n) for s, n in zip(sizes, call.given, strict=True))
    call.sizes("size", dims)
    return dims


def item(call: Call) -> Given:
    """One of several results."""
    several, place = call.node.args
    found = call.ties.dims.get(several)  # type: ignore[arg-type]
    return found[place] if isinstance(found, list) else fixed_results(call)  # type: ignore[index]


MOVING: dict[str, Rule] = {
    **named("view reshape unflatten flatten squeeze unsqueeze ravel", reshape),
    **named("permute transpose t mT movedim moveaxis swapaxes swapdims numpy_T", move),
    **named("cat concat concatenate", concat),
    **named("hstack vstack", pile),
    "stack": stack,
    "diagonal": diagonal,
    **named("split split_with_sizes chunk tensor_split unsafe_chunk unsafe_split", take_apart),
    "unbind": unbind,
    "select": select,
    "select_scatter": put_one,
    **named("slice narrow narrow_copy", cut_out),
    "slice_scatter": put_in,
    **named("expand broadcast_to", expand),
    "expand_as": expand_as,
    **named("repeat tile", repeat),
    "repeat_interleave": repeat_each,
    **named("pad constant_pad_nd", pad),
    "channel_shuffle": shuffle_channels,
    "view_as_complex": join_pairs,
    "view_as_real": part_pairs,
    **named("zeros ones full empty new_zeros new_ones new_full new_empty", make),
}
