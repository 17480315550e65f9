"""The matrix of models and passes as a page: a table, and under it the cells that miss their mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEADS = {
    "int8": "int8 (auto)",
    "pruned": "pruned to half",
    "distilled": "taught, a quarter",
    "alone": "alone, a quarter",
    "chain": "pruned, taught, int8",
}
MARKS = {"int8": 1.0, "pruned": 3.0}  # points that a cell may lose


def page(document: Mapping[str, Any], names: Iterable[str], columns: Sequence[str]) -> str:
    """The whole page; models that are not measured are left out and named at the end."""
    models = document["models"]
    measured = [name for name in names if name in models]
    lines = [
        "# Every reference model through every pass",
        "",
        "Made by `python -m benchmarks.matrix" + (" --quick`." if document.get("quick") else "`."),
        "A cell: score before -> after (points lost, with the 95 % interval of the paired difference), bytes of the "
        "files of all forms against the folded fp32 ONNX, speed of the whole graph and of each further form against "
        "the same graph in float, steps of training. A point is 0.01 of a fraction and 1 % of any other score.",
        "",
        "| model | score | float | " + " | ".join(HEADS[c] for c in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name in measured:
        row = models[name]
        cells = [cell(row["cells"].get(column)) for column in columns]
        lines.append(f"| `{name}` | {row['unit']} | {_float(row)} | " + " | ".join(cells) + " |")
    lines += ["", *_open_cells(models, measured), *_conditions(models, measured)]
    if left := [name for name in names if name not in models]:
        lines += ["", f"Not measured yet: {', '.join(left)}."]
    return "\n".join(lines) + "\n"


def cell(found: Mapping[str, Any] | None) -> str:
    """One cell in words."""
    if found is None:
        return "not measured yet"
    if "refused" in found:
        return str(found["refused"]).replace("|", "\\|").replace("\n", " ")
    points = _interval(found)
    smaller = found["bytes_before"] / found["bytes"]
    speed = ", ".join(
        f"{'' if form == 'main' else form + ' '}{each['speedup']:.2f}x" for form, each in found["speed"].items()
    )
    return (
        f"{_number(found['before'])} -> {_number(found['after'])} ({points}); {_bytes(found['bytes'])}, "
        f"{smaller:.1f}x smaller; {speed}" + (f"; {found['steps']} steps" if found.get("steps") else "")
    )


def misses(found: Mapping[str, Any], column: str) -> bool:
    """Whether a measured cell loses more than its column may."""
    return column in MARKS and "lost_points" in found and found["lost_points"] > MARKS[column]


def slower(found: Mapping[str, Any]) -> bool:
    """Whether a measured cell has a graph that is slower than in float, beyond doubt."""
    return any(each["high"] < 0.97 for each in found.get("speed", {}).values())


def _open_cells(models: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        for column, each in models[name]["cells"].items():
            if misses(each, column):
                found.append(f"- `{name}`, {HEADS[column]}: loses {each['lost_points']:.2f} points.")
            if column in ("int8", "chain") and slower(each):
                slow = {f: round(s["speedup"], 2) for f, s in each["speed"].items() if s["high"] < 0.97}
                found.append(f"- `{name}`, {HEADS[column]}: slower than float, {slow}.")
            if "refused" in each and "--quick" not in each["refused"]:
                found.append(f"- `{name}`, {HEADS[column]}: refused.")
    return ["## Open cells", "", *(found or ["None."])]


def _conditions(models: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    seen: dict[str, None] = {}
    for name in names:
        for each in models[name]["cells"].values():
            machine, versions = each.get("machine", {}), each.get("versions", {})
            told = [str(machine.get(key, "")) for key in ("processor", "instruction_set")]
            seen[", ".join([*filter(None, told), *(f"{k} {v}" for k, v in versions.items())])] = None
    return ["", "## Measured on", "", *(f"- {line}" for line in seen)]


def _float(row: Mapping[str, Any]) -> str:
    for each in row["cells"].values():
        if "before" in each:
            return f"{_number(each['before'])}, {_bytes(each['bytes_before'])}"
    return f"{row['parameters']:,} parameters"


def _interval(found: Mapping[str, Any]) -> str:
    scale = found["lost_points"] / found["lost"] if found["lost"] else 0.0
    if not scale:
        return "0.00 pt"
    return f"{found['lost_points']:+.2f} pt, {scale * found['lost_low']:+.2f} to {scale * found['lost_high']:+.2f}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _bytes(count: float) -> str:
    return f"{count / 1000:,.1f} KB"
