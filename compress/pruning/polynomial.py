"""Costs in closed form: the size of every tensor is a product of widths, so a cost is a polynomial in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .axes import Axis, Dim, Sum, resolve

Floats = np.ndarray[Any, np.dtype[np.float64]]
Terms = dict[tuple[int, ...], float]  # the numbers of the widths that are multiplied, in order -> coefficient

NOTHING: Terms = {}


def constant(value: float) -> Terms:
    """A polynomial that depends on no width."""
    return {(): float(value)}


def size_in(dim: Dim, numbers: Mapping[Axis, int]) -> Terms:
    """The size of a dimension, in the widths of the axes that have a number; all others stay as they are."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        return {(numbers[dim],): 1.0} if dim in numbers else constant(dim.size)
    if isinstance(dim, Sum):
        return total(size_in(term, numbers) for term in dim.terms)
    return product(size_in(factor, numbers) for factor in dim.factors)


def total(parts: Iterable[Terms]) -> Terms:
    """The sum of polynomials."""
    made: Terms = {}
    for part in parts:
        for widths, coefficient in part.items():
            made[widths] = made.get(widths, 0.0) + coefficient
    return made


def product(parts: Iterable[Terms]) -> Terms:
    """The product of polynomials; 1 for none."""
    made = constant(1)
    for part in parts:
        made = total({tuple(sorted((*mine, *theirs))): a * b} for mine, a in made.items() for theirs, b in part.items())
    return made


def scaled(terms: Terms, by: float) -> Terms:
    """A polynomial times a number."""
    return {widths: coefficient * by for widths, coefficient in terms.items()}


@dataclass(frozen=True)
class Polynomial:
    """Terms made ready for many widths at once.

    Args:
        coefficients: (M,).
        factors: (M, D) numbers of widths; -1 stands for a factor of 1.
    """

    coefficients: Floats
    factors: np.ndarray[Any, np.dtype[np.intp]]

    @classmethod
    def of(cls, terms: Terms) -> Polynomial:
        """From its terms."""
        degree = max(map(len, terms), default=0)
        factors = [(*widths, *(-1,) * (degree - len(widths))) for widths in terms]
        return cls(np.array(list(terms.values())), np.array(factors, np.intp).reshape(len(terms), degree))

    def __call__(self, widths: Any) -> Floats:
        """The values at widths (..., n), shaped (...); whole numbers are exact up to 2^53."""
        widths = np.asarray(widths, np.float64)
        padded = np.concatenate([widths, np.ones((*widths.shape[:-1], 1))], -1)
        return np.asarray(padded[..., self.factors].prod(-1) @ self.coefficients)
