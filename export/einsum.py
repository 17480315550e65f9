"""Multiply-adds of an einsum. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Product of the sizes of all indices, once for each operand beyond the first; none for a sum or a transpose.

    >>> einsum_macs("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)])
    120
    >>> einsum_macs("...ij,jk->...ik", [(7, 2, 3), (3, 5)])
    210
    """
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").partition("->")[0].split(","), shapes, strict=True):
        left, dots, right = term.partition("...")
        hidden = len(shape) - len(left) - len(right) if dots else 0
        # dimensions under "..." are aligned at their end, as in broadcasting
        letters = [*left, *(f".{i}" for i in range(hidden, 0, -1)), *right]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    return math.prod(sizes.values()) * (len(shapes) - 1)
