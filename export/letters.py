"""Free sizes: which sizes to try a network at, and how a size that was seen follows from the letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from models.errors import LiftError
from models.records import Dims, InputSpec

T = TypeVar("T")
Seen = Sequence[tuple[Mapping[str, int], tuple[int, ...] | None]]  # sizes of the letters, the shape found at them


def letters_of(inputs: Sequence[InputSpec]) -> list[str]:
    """The free letters of the inputs, each once, in order of appearance."""
    return list(dict.fromkeys(d for spec in inputs for d in spec.dims if isinstance(d, str)))


def other_sizes(size: int) -> list[int]:
    """Sizes to try in place of one, the most telling first.

    Seven more tells halves and rounding apart; the double keeps divisibility; smaller ones are for a network that
    takes no more, such as one with a table of positions.
    """
    tried = (size + n for n in (7, 2, 1, size, -5, -(size // 2), -1, 4, 8, 16, 32))
    return [other for other in dict.fromkeys(tried) if other > 0 and other != size]


def variations(
    inputs: Sequence[InputSpec], sizes: Mapping[str, int], run: Callable[[Mapping[str, int]], T]
) -> list[tuple[Mapping[str, int], T]]:
    """Run at the sizes given, then at up to three other sizes of each letter by itself; (sizes, result) of each run.

    Raises:
        LiftError: what `run` raised at the given sizes; or that a letter is not free, with the size that works.
    """
    letters = letters_of(inputs)
    base = {letter: sizes[letter] for letter in letters}
    runs: list[tuple[Mapping[str, int], T]] = [(base, run(base))]
    for letter in letters:
        runs += _others(letter, base, inputs, run)
    return runs


def _others(
    letter: str, base: dict[str, int], inputs: Sequence[InputSpec], run: Callable[[Mapping[str, int]], T]
) -> list[tuple[Mapping[str, int], T]]:
    found: list[tuple[Mapping[str, int], T]] = []
    for size in other_sizes(base[letter]):
        try:
            found.append(({**base, letter: size}, run({**base, letter: size})))
        except LiftError:
            continue
        if len(found) == 3:
            break
    if not found:
        where = next(spec.name for spec in inputs if letter in spec.dims)
        raise not_free(where, letter, base[letter])
    return found


def not_free(name: str, letter: str, size: int) -> LiftError:
    """The error that says which letter of which input the network takes at one size only."""
    return LiftError(
        f"lift: input '{name}': dimension '{letter}' is not free, the network works at {size} only. "
        f"Write {size} in place of {letter}.",
        operation=letter,
    )


def as_dims(seen: Seen) -> Dims | None:
    """A shape with letters for what changed with them; None where no tensor was seen."""
    first = seen[0][1]
    if first is None or any(shape is None or len(shape) != len(first) for _, shape in seen):
        return None
    return tuple(_size([(sizes, shape[i]) for sizes, shape in seen if shape is not None]) for i in range(len(first)))


def _size(seen: Sequence[tuple[Mapping[str, int], int]]) -> int | str:
    base, value = seen[0]
    changed = list(
        dict.fromkeys(next(k for k in sizes if sizes[k] != base[k]) for sizes, size in seen[1:] if size != value)
    )
    if not changed:
        return value
    for text, rule in _rules(changed, seen):
        if all(rule(sizes) == size for sizes, size in seen):
            return text
    return f"f({','.join(changed)})"


def _rules(
    changed: Sequence[str], seen: Sequence[tuple[Mapping[str, int], int]]
) -> list[tuple[str, Callable[[Mapping[str, int]], int]]]:
    """Ways in which a size may follow from the letters that change it, the plainest first."""
    base, value = seen[0]
    if len(changed) > 1:
        product, total = _product(base, changed), sum(base[letter] for letter in changed)
        factor = value // product if value % product == 0 else 1
        text = "*".join(changed if factor == 1 else [str(factor), *changed])
        rest = value - total
        return [
            (text, lambda sizes: factor * _product(sizes, changed)),
            ("+".join(sorted(changed)) + (f"{rest:+d}" if rest else ""), lambda s: rest + sum(s[c] for c in changed)),
        ]
    letter = changed[0]
    sizes, other = next((sizes, size) for sizes, size in seen[1:] if size != value)
    rules: list[tuple[str, Callable[[Mapping[str, int]], int]]] = [(letter, lambda s: s[letter])]
    slope, rest = divmod(other - value, sizes[letter] - base[letter])
    if not rest:
        offset = value - slope * base[letter]
        times = letter if slope == 1 else f"{slope}*{letter}"
        text = times if not offset else f"{times}{offset:+d}"
        rules.append((text, lambda s: slope * s[letter] + offset))
    for divisor in (2, 4, 8, 16, 32, 3, 5, 6, 7, 10):
        for add in sorted(range(-2 * divisor, 2 * divisor + 1), key=abs):
            inner = letter if not add else f"({letter}{add:+d})"
            rules.append((f"{inner}//{divisor}", lambda s, a=add, d=divisor: (s[letter] + a) // d))  # type: ignore[misc]
    return rules


def _product(sizes: Mapping[str, int], letters: Sequence[str]) -> int:
    product = 1
    for letter in letters:
        product *= sizes[letter]
    return product
