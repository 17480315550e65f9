"""The reference models as a page, section by section of a course: what `compress models --markdown` prints."""

from __future__ import annotations

from collections.abc import Iterable

from models.records import SECTIONS, Entry

HEAD = """# The reference models

Each is trained on real data, exported, compressed and measured; `compress train NAME` makes it again, and any command
takes its name in place of a file: `compress quantize gru-fsdd`. The scores are those of the committed weights on test,
with their 95 % interval. What every pass makes of every model: [the matrix](../../benchmarks/results/matrix.md).

Printed by `compress models --markdown`.
"""


def catalogue(entries: Iterable[Entry]) -> str:
    """The page in Markdown: a table a section, in the order of the course, models in the order given.

    Raises:
        ValueError: an entry names a section that there is none of.
    """
    listed = list(entries)
    for entry in listed:
        if entry.section not in SECTIONS:
            raise ValueError(f"entry {entry.name!r}: no section {entry.section!r}; there are {', '.join(SECTIONS)}.")
    parts = [HEAD]
    for section in SECTIONS:
        rows = [_row(entry) for entry in listed if entry.section == section]
        if rows:
            parts += [
                f"## {section}\n",
                "| system | name | score | parameters | page |\n|---|---|---|---|---|",
                *rows,
                "",
            ]
    return "\n".join(parts)


def _row(entry: Entry) -> str:
    golden = entry.golden
    score = f"{_digits(golden.value)} {golden.unit} ({_digits(golden.low)} to {_digits(golden.high)})"
    return f"| {entry.summary} | `{entry.name}` | {score} | {entry.params:,} | [{entry.name}]({entry.name}.md) |"


def _digits(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"
