"""The algebra of dimensions: which index of which tensor is tied to which.

A dimension is an `Axis` (indices nobody has taken apart yet), a `Sum` (pieces one after another, as `cat` makes them)
or a `Product` (an index for each of its factors, the last running fastest, as `flatten` makes them). Two dimensions
that an operation ties are unified: an axis becomes whatever the other one is, and everything that mentions it follows.
An axis that is still whole at the end is what can be cut: removing index i of it removes all that mentions it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Mismatch(Exception):
    """Two dimensions are put together in ways that do not fit each other, such as 2 x 3 and 3 x 2."""


@dataclass(eq=False)
class Axis:
    """Indices 0 to size - 1 that live and die alone.

    Attributes:
        frozen: why none of them can be removed, or "".
        is_unit: whether a person would call them units: not the taps of a kernel, nor the gates of a cell.
    """

    size: int
    frozen: str = ""
    is_unit: bool = True
    bound: Dim | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Sum:
    """Pieces one after another."""

    terms: tuple[Dim, ...]


@dataclass(frozen=True)
class Product:
    """An index for each factor, the last running fastest."""

    factors: tuple[Dim, ...]


Dim = Axis | Sum | Product
ONE = Product(())


def size_of(dim: Dim) -> int:
    """How many indices a dimension has."""
    if isinstance(dim, Axis):
        return dim.size
    if isinstance(dim, Sum):
        return sum(map(size_of, dim.terms))
    return math.prod(map(size_of, dim.factors))


def resolve(dim: Dim) -> Dim:
    """What a dimension is now: bound axes replaced, nothing nested without need, nothing of size 1 in a product."""
    if isinstance(dim, Axis):
        if dim.size == 1:
            return ONE
        return dim if dim.bound is None else resolve(dim.bound)
    if isinstance(dim, Sum):
        terms: list[Dim] = []
        for term in map(resolve, dim.terms):
            terms += term.terms if isinstance(term, Sum) else [term] if size_of(term) else []
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))
    factors: list[Dim] = []
    for factor in map(resolve, dim.factors):
        factors += factor.factors if isinstance(factor, Product) else [factor]
    if len(factors) > 1 and isinstance(factors[0], Sum):  # (a + b) x c is ac, then bc
        rest = factors[1:]
        return resolve(Sum(tuple(Product((term, *rest)) for term in factors[0].terms)))
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def axes_of(dim: Dim) -> Iterator[Axis]:
    """The whole axes a dimension is made of, in order; one may come twice."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        yield dim
    else:
        for part in dim.terms if isinstance(dim, Sum) else dim.factors:
            yield from axes_of(part)


def terms_of(dim: Dim) -> tuple[Dim, ...]:
    """The pieces that a dimension is made of, one after another; itself where it is one piece."""
    dim = resolve(dim)
    return dim.terms if isinstance(dim, Sum) else (dim,)


def freeze(dim: Dim, reason: str) -> None:
    """Say that no index of a dimension may be removed; the first reason stays."""
    for axis in axes_of(dim):
        axis.frozen = axis.frozen or reason


def freeze_structure(dim: Dim, reason: str) -> None:
    """Freeze what nobody would call units."""
    freeze(dim, reason)
    for axis in axes_of(dim):
        axis.is_unit = False


def split(dim: Dim, at: int) -> tuple[Dim, Dim]:
    """The first `at` indices, and the rest.

    Raises:
        Mismatch: the boundary lies inside a product's row.
    """
    dim = resolve(dim)
    if at in (0, size_of(dim)):
        nothing = Sum(())
        return (dim, nothing) if at else (nothing, dim)
    if isinstance(dim, Axis):
        start, end = Axis(at), Axis(dim.size - at)
        _bind(dim, Sum((start, end)))
        return start, end
    if isinstance(dim, Sum):
        before: list[Dim] = []
        for position, term in enumerate(dim.terms):
            if at <= size_of(term):
                left, right = split(term, at)
                return resolve(Sum((*before, left))), resolve(Sum((right, *dim.terms[position + 1 :])))
            before.append(term)
            at -= size_of(term)
    assert isinstance(dim, Product)
    row = size_of(Product(dim.factors[1:]))
    if at % row:
        raise Mismatch
    left, right = split(dim.factors[0], at // row)
    return resolve(Product((left, *dim.factors[1:]))), resolve(Product((right, *dim.factors[1:])))


def factor(dim: Dim, outer: int) -> tuple[Dim, Dim]:
    """A dimension as `outer` rows of equal length: (rows, what is in a row).

    Raises:
        Mismatch: it is put together in a way that has no such rows.
    """
    dim = resolve(dim)
    if outer == 1:
        return ONE, dim
    if outer == size_of(dim):
        return dim, ONE
    if size_of(dim) % outer:
        raise Mismatch
    row = size_of(dim) // outer
    if isinstance(dim, Axis):
        halves = Axis(outer), Axis(row)
        _bind(dim, Product(halves))
        return halves
    if isinstance(dim, Sum):
        if any(size_of(term) % row for term in dim.terms):
            raise Mismatch
        pieces = [factor(term, size_of(term) // row) for term in dim.terms]
        for _, other in pieces[1:]:
            _unify(pieces[0][1], other)
        return resolve(Sum(tuple(rows for rows, _ in pieces))), resolve(pieces[0][1])
    taken: list[Dim] = []
    for position, part in enumerate(dim.factors):
        have = size_of(Product(tuple(taken)))
        if have == outer:
            return resolve(Product(tuple(taken))), resolve(Product(dim.factors[position:]))
        if outer % have or (outer // have > size_of(part) and outer % (have * size_of(part))):
            raise Mismatch
        if outer // have < size_of(part):
            rows, inner = factor(part, outer // have)
            return resolve(Product((*taken, rows))), resolve(Product((inner, *dim.factors[position + 1 :])))
        taken.append(part)
    raise Mismatch


def unify(one: Dim, other: Dim, reason: str) -> Dim:
    """Tie two dimensions index by index, and give the dimension that both are now.

    Where they do not fit each other, in size or in how they are put together, both are frozen for the reason.
    """
    try:
        if size_of(one) != size_of(other):
            raise Mismatch
        _unify(one, other)
    except Mismatch:
        freeze(one, reason)
        freeze(other, reason)
    return resolve(one)


def _unify(one: Dim, other: Dim) -> None:
    one, other = resolve(one), resolve(other)
    while one != other:
        if isinstance(one, Axis):
            return _bind(one, other)
        if isinstance(other, Axis):
            return _bind(other, one)
        if isinstance(one, Sum) or isinstance(other, Sum):
            first = min(size_of(d.terms[0] if isinstance(d, Sum) else d) for d in (one, other))
            (a, rest_a), (b, rest_b) = split(one, first), split(other, first)
        else:
            first = min(size_of(one.factors[0]), size_of(other.factors[0]))
            (a, rest_a), (b, rest_b) = factor(one, first), factor(other, first)
        _unify(a, b)
        one, other = resolve(rest_a), resolve(rest_b)


def _bind(axis: Axis, dim: Dim) -> None:
    assert axis.size == size_of(dim)
    axis.bound = dim
    if axis.frozen:
        freeze(dim, axis.frozen)


def regroup(dims: Sequence[Dim], shape: Sequence[int], reason: str) -> tuple[Dim, ...]:
    """The dimensions of a tensor after a reshape to `shape`.

    Where the old dimensions do not fit the new shape they are frozen, and the new ones with them.
    """
    made: list[Dim] = []
    left = list(dims)
    shape = list(shape)
    while shape:
        olds: list[Dim] = []
        news = [shape.pop(0)]
        while size_of(Product(tuple(olds))) != math.prod(news):  # the smallest aligned stretch of both
            if size_of(Product(tuple(olds))) < math.prod(news):
                olds.append(left.pop(0))
            else:
                news.append(shape.pop(0))
        try:
            made += _regroup_stretch(resolve(Product(tuple(olds))), news)
        except Mismatch:
            for old in olds:
                freeze(old, reason)
            made += [Axis(n, frozen=reason) for n in news]
    for old in left:
        assert size_of(old) == 1
    return tuple(made)


def _regroup_stretch(dim: Dim, shape: Iterable[int]) -> list[Dim]:
    made = []
    for n in shape:
        rows, dim = factor(dim, n)
        made.append(rows)
    return made


def keep_mask(dim: Dim, keep: Mapping[Axis, Mask]) -> Mask:
    """Which indices of a dimension stay, when `keep` says which stay of its axes; axes not in `keep` stay whole."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        return keep.get(dim, np.ones(dim.size, bool))
    if isinstance(dim, Sum):
        return np.concatenate([np.zeros(0, bool), *(keep_mask(term, keep) for term in dim.terms)])
    mask = np.ones(1, bool)
    for part in dim.factors:
        mask = np.outer(mask, keep_mask(part, keep)).ravel()
    return mask


def share_out(dim: Dim, values: np.ndarray[Any, np.dtype[np.float64]]) -> Iterator[tuple[Axis, np.ndarray[Any, Any]]]:
    """Add up one value an index of a dimension to one value an index of each of its axes; an axis may come twice."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        yield dim, values
    elif isinstance(dim, Sum):
        ends = np.cumsum([size_of(term) for term in dim.terms])[:-1]
        for term, part in zip(dim.terms, np.split(values, ends), strict=True):
            yield from share_out(term, part)
    else:
        grid = values.reshape([size_of(part) for part in dim.factors])
        for position, part in enumerate(dim.factors):
            others = tuple(i for i in range(grid.ndim) if i != position)
            yield from share_out(part, grid.sum(others))
