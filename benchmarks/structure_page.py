"""The page of what pruning gives: a table of results held against their marks, and tables of the ablations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.structure_cases import Case

Cell = Mapping[str, Any]
# what a mark is called -> (how the page says it, whether more is better)
MARKS: Mapping[str, tuple[str, bool]] = {
    "faster": ("at least {:g}x faster", True),
    "smaller": ("at least {:g}x smaller", True),
    "macs": ("at least {:g}x fewer multiply-adds", True),
    "points": ("at most {:g} points lost", False),
    "points_high": ("at most {:g} points lost at the upper bound", False),
    "flips": ("at most {:.0%} of decisions flipped", False),
    "bits": ("at most {:.0%} more bits", False),
}
_HEADS = ("case", "seed", "score", "points lost", "flips", "bits", "parameters", "multiply-adds", "bytes", "speed")


def value(cell: Cell, mark: str) -> float:
    """What a cell reached of a mark; of speed the lower bound."""
    if mark == "faster":
        return float(cell["speed"]["main"]["low"])
    if mark == "smaller":
        return float(cell["bytes_before"] / cell["bytes"])
    if mark == "macs":
        return float(cell["macs_before"] / cell["macs"])
    return float(cell[mark])


def missed(case: Case, cell: Cell) -> list[str]:
    """The marks that a cell does not reach, in words."""
    found = []
    for mark, wanted in case.marks.items():
        text, more = MARKS[mark]
        reached = value(cell, mark)
        if (reached < wanted) if more else (reached > wanted):
            found.append(f"{text.format(wanted)} asked, {reached:.4g} reached")
    return found


def page(document: Mapping[str, Any], cases: Sequence[Case]) -> str:
    """The whole page."""
    cells: Mapping[str, Cell] = document["cells"]
    lines = [
        "# What pruning gives, and what it costs",
        "",
        "Made by `python -m benchmarks.structure`. Each network against its own folded fp32 ONNX: points lost (0.01 of "
        "a fraction, 1 % of any other score) with the 95 % interval of the paired difference; decisions that are other "
        "ones than the original's; rise of the surprise at the true class in bits; speed of the whole graph, and of "
        "each further form, by turns in one process, batch 1, one thread.",
    ]
    for about in dict.fromkeys(case.about for case in cases):
        rows = [row for case in cases if case.about == about for row in _rows(case, cells)]
        if rows:
            lines += ["", f"## Ablation: {about}" if about else "## Results", "", *_table(rows)]
    lines += ["", "## Marks", "", *_marks(cases, cells), "", "## Measured on", "", *_machines(cells)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(_HEADS) + " |", "|---" * len(_HEADS) + "|", *("| " + " | ".join(r) + " |" for r in rows)]


def _rows(case: Case, cells: Mapping[str, Cell]) -> Iterator[list[str]]:
    for seed in case.seeds:
        cell = cells.get(f"{case.name}, seed {seed}")
        if cell is None:
            continue
        if "refused" in cell:
            yield [case.name, str(seed), str(cell["refused"]).replace("|", "\\|"), *[""] * (len(_HEADS) - 3)]
            continue
        bits = f"{cell['bits']:+.1%} ({cell['bits_low']:+.1%} to {cell['bits_high']:+.1%})" if "bits" in cell else ""
        yield [
            case.name,
            str(seed),
            f"{cell['unit']} {cell['before']:.4g} -> {cell['after']:.4g}",
            f"{cell['points']:+.2f} ({cell['points_low']:+.2f} to {cell['points_high']:+.2f})",
            f"{cell['flips']:.2%}",
            bits,
            f"{cell['parameters'] / cell['parameters_before']:.0%}",
            f"{cell['macs'] / cell['macs_before']:.0%}",
            f"{cell['bytes'] / 1000:,.1f} KB, {value(cell, 'smaller'):.1f}x smaller",
            _speed(cell),
        ]


def _speed(cell: Cell) -> str:
    main = cell["speed"]["main"]
    said = f"{main['before_ms']:.3g} -> {main['after_ms']:.3g} ms, {main['speedup']:.2f}x"
    said += f" ({main['low']:.2f} to {main['high']:.2f})"
    return said + "".join(f", {form} {s['speedup']:.2f}x" for form, s in cell["speed"].items() if form != "main")


def _marks(cases: Sequence[Case], cells: Mapping[str, Cell]) -> Iterator[str]:
    for case in cases:
        for seed in case.seeds if case.marks else ():
            cell = cells.get(f"{case.name}, seed {seed}")
            if cell is None or "refused" in cell:
                yield f"- {case.name}, seed {seed}: {'not measured yet' if cell is None else 'refused'}."
                continue
            asked = "; ".join(MARKS[mark][0].format(wanted) for mark, wanted in case.marks.items())
            short = missed(case, cell)
            yield f"- {case.name}, seed {seed}: " + (
                f"**missed**: {'; '.join(short)}." if short else f"reached: {asked}."
            )


def _machines(cells: Mapping[str, Cell]) -> list[str]:
    seen: dict[str, None] = {}
    for cell in cells.values():
        told = [str(cell["machine"].get(key, "")) for key in ("processor", "instruction_set")]
        seen[", ".join([*filter(None, told), *(f"{k} {v}" for k, v in cell["versions"].items())])] = None
    return [f"- {line}" for line in seen]
