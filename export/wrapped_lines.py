"""Breaks a long line of Python at the brackets of its last call, as the formatters do."""

from __future__ import annotations

import re
from collections.abc import Iterator

WIDTH = 88
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*"|[\[({]|[\])}]|,|.')  # a text is one piece: brackets in it are none


def wrapped(line: str, tail: str = "") -> Iterator[str]:
    r"""The line; where it is too long, what its last brackets hold on lines of its own.

    >>> print(*wrapped("    y = f(" + "a" * 50 + ", g(" + "b" * 30 + "))"), sep="\n")
        y = f(
            aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,
            g(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb),
        )
    """
    found = _brackets(line)
    if len(line) + len(tail) <= WIDTH or found is None:
        yield line + tail
        return
    start, end = found
    indent = " " * (len(line) - len(line.lstrip()))
    parts = _parts(line[start + 1 : end])
    yield line[: start + 1]
    together = f"{indent}    {', '.join(parts)}"
    if len(together) <= WIDTH:
        yield together
    else:
        for part in parts:
            yield from wrapped(f"{indent}    {part}", ",")
    yield f"{indent}{line[end:]}{tail}"


def _brackets(line: str) -> tuple[int, int] | None:
    """Where the last outermost pair of brackets begins and ends, if something is in it; before `->` in a signature."""
    stack: list[int] = []
    last = None
    for match in _PIECES.finditer(line):
        if match[0] in "([{":
            stack.append(match.start())
        elif match[0] in ")]}":
            start = stack.pop()
            if not stack and match.start() > start + 1 and not (line.endswith(":") and match[0] == "]"):
                last = start, match.start()
    return last


def _parts(inside: str) -> list[str]:
    """What the commas outside any brackets divide."""
    parts, depth = [""], 0
    for match in _PIECES.finditer(inside):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if match[0] == "," and not depth:
            parts.append("")
        else:
            parts[-1] += match[0]
    return [part.strip() for part in parts if part.strip()]
