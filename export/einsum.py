"""The indices of an einsum, and its multiply-adds. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence


def operands_and_result(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Names of the indices of each operand and of the result; those under "..." are numbered from the end.

    >>> operands_and_result("...ij,jk->...ik", [4, 2])
    ([['.2', '.1', 'i', 'j'], ['j', 'k']], ['.2', '.1', 'i', 'k'])
    >>> operands_and_result("ba,ac", [2, 2])[1]
    ['b', 'c']
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = [_indices(term, rank) for term, rank in zip(left.split(","), ranks, strict=True)]
    flat = [index for operand in operands for index in operand]
    hidden = sorted({index for index in flat if index.startswith(".")}, key=lambda index: -int(index[1:]))
    if not arrow:  # what is under dots, then the letters that come once
        return operands, hidden + sorted(index for index in flat if flat.count(index) == 1 and index not in hidden)
    before, dots, after = right.partition("...")
    return operands, [*before, *(hidden if dots else []), *after]


def _indices(term: str, rank: int) -> list[str]:
    left, dots, right = term.partition("...")
    hidden = rank - len(left) - len(right) if dots else 0
    # dimensions under "..." are aligned at their end, as in broadcasting
    return [*left, *(f".{i}" for i in range(hidden, 0, -1)), *right]


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Product of the sizes of all indices, once for each operand beyond the first; none for a sum or a transpose.

    >>> einsum_macs("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)])
    120
    >>> einsum_macs("...ij,jk->...ik", [(7, 2, 3), (3, 5)])
    210
    """
    sizes: dict[str, int] = {}
    operands, _ = operands_and_result(equation, [len(shape) for shape in shapes])
    for indices, shape in zip(operands, shapes, strict=True):
        for index, size in zip(indices, shape, strict=True):
            sizes[index] = max(sizes.get(index, 1), size)
    return math.prod(sizes.values()) * (len(shapes) - 1)
