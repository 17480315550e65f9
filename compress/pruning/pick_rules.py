"""How operations that read or write at positions named by a tensor tie dimensions.

What the positions run along stays whole, for nobody knows which of its indices they name; everything beside it passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from .axes import Dim, size_of
from .ties import Call, Dims, Given, Rule, named
from .unit_rules import unknown

_WHY = "looks positions up in it"


def index(call: Call) -> Given:
    """Positions named by tensors on neighbouring dimensions; the other dimensions pass."""
    found = _named_places(call)
    if found is None:
        return unknown(call)
    dims, first, last = found
    call.freeze(dims[first : last + 1], _WHY)
    new = len(call.given) - (len(dims) - (last + 1 - first))
    made = [call.fixed(n) for n in call.given[first : first + new]]
    return (*dims[:first], *made, *dims[last + 1 :])


def put(call: Call) -> Given:
    """`values` in the place of the positions named by tensors on neighbouring dimensions."""
    found = _named_places(call)
    if found is None:
        return unknown(call)
    dims, first, last = found
    call.freeze(dims[first : last + 1], "writes to positions of it")
    values = call.dims("values")
    behind = len(dims) - last - 1
    call.broadcast([dims[last + 1 :], values[max(len(values) - behind, 0) :]])
    indices = max(len(call.dims(node)) for node in call["indices"] if node is not None)
    call.broadcast([dims[:first], values[: max(len(values) - behind - indices, 0)]])
    return dims


def _named_places(call: Call) -> tuple[Dims, int, int] | None:
    """The tensor's dimensions, and the first and the last that tensors of positions stand for; None where apart."""
    indices = call["indices"]
    named = [i for i, node in enumerate(indices) if node is not None]
    if named != list(range(named[0], named[-1] + 1)) or call.seen(indices[named[0]]) is None:
        return None
    return call.dims("self"), named[0], named[-1]


def pick(call: Call) -> Given:
    """Whole slices along `dim`, in the order of an index."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], "picks indices of it")
    return (*dims[:place], call.fixed(call.given[place]), *dims[place + 1 :])


def put_slices(call: Call) -> Given:
    """Whole slices along `dim` added to, copied to or set at the positions of an index."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], "writes to positions of it")
    source = call.dims("source")
    if len(source) == len(dims):
        call.broadcast([_without(dims, place), _without(source, place)])
    return dims


def gather(call: Call) -> Given:
    """One index of `dim` for each element of `index`, which names it."""
    dims, named = call.dims("self"), call.dims("index")
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], _WHY)
    _same_places(call, dims, named, place)
    return named


def scatter(call: Call) -> Given:
    """Each element of `src` at the index of `dim` that `index` names for it."""
    dims, named, source = (call.dims(name) for name in ("self", "index", "src"))
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], "writes to positions of it")
    _same_places(call, dims, named, place)
    if source:
        _same_places(call, source, named, -1)
    return dims


def _same_places(call: Call, dims: Sequence[Dim], named: Sequence[Dim], place: int) -> None:
    """Beside `place` an element lies where its position lies; where these are fewer, the first ones are meant."""
    for i, (dim, other) in enumerate(zip(dims, named, strict=True)):
        if i == place:
            continue
        if size_of(dim) == size_of(other):
            call.tie(dim, other)
        else:
            call.freeze([dim, other], "takes the first indices of it")


def largest(call: Call) -> Given:
    """The largest or smallest along `dim`, and where they were."""
    dims = call.dims("self")
    place = call.position("dim", len(dims))
    call.freeze([dims[place]], "runs over it")
    return call.results((*dims[:place], call.fixed(call.given[0][place]), *dims[place + 1 :]))


def _without(dims: Dims, place: int) -> Dims:
    return (*dims[:place], *dims[place + 1 :])


PICKING: dict[str, Rule] = {
    **named("index _unsafe_index", index),
    "index_put": put,
    "index_select": pick,
    **named("index_add index_copy index_fill", put_slices),
    "gather": gather,
    **named("scatter scatter_add scatter_reduce", scatter),
    "topk": largest,
}
