"""The comparison of int8 as a page: an overview, the marks with what misses them, and a table for each network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.emulators import DESCRIBED, PROCESSORS
from benchmarks.int8_marks import Cell, Mark, Row, fastest, keeps, lowest_db, marks, pace, smallest
from benchmarks.int8_variants import OURS, VARIANTS

_HEADS = (
    "variant",
    "score",
    "points lost",
    "flips",
    "SQNR dB",
    *(f"{processor} dB" for processor in PROCESSORS),
    "speed",
    "bytes",
    "integer MACs",
    "seconds",
    "",
)


def page(document: Mapping[str, Any], names: Iterable[str]) -> str:
    """The whole page; networks that are not measured are left out and named at the end."""
    networks = {n: r for n in names if "timed" in (r := document["networks"].get(n, {}))}
    left = [name for name in names if name not in networks]
    lines = [
        "# Int8, ours and the peers'",
        "",
        "Made by `python -m benchmarks.int8`. Each network against its own folded, stripped fp32 ONNX; all calibrate "
        "with the same 256 samples, min-max ranges, and are timed by turns in one process, batch 1, one thread. Points "
        "lost (0.01 of a fraction, 1 % of any other score) on the first samples of the test split, with the 95 % "
        "interval of the paired difference; flips and SQNR on samples not calibrated on, SQNR of the worst output, in "
        "brackets of what varies from sample to sample; speed of each form with its 95 % interval; bytes of the files "
        "of all forms; share of the multiply-adds that the runtime's optimized graph computes in integers; seconds to "
        "make the files. In the overview speed is the geometric mean of all forms, and the peer the fastest (or "
        "smallest) that keeps the score within 0.5 points (25 dB where weights are random).",
        "",
        "## Overview",
        "",
        *_overview(networks),
        "",
        "## Marks",
        "",
        *(line for mark in marks(networks) for line in _said(mark)),
        *(line for name, row in networks.items() for line in _section(name, row)),
        "",
        "## Measured on",
        "",
        *_machines(networks),
    ]
    if left:
        lines += ["", f"Not measured yet: {', '.join(left)}."]
    return "\n".join(lines) + "\n"


def _overview(networks: Mapping[str, Row]) -> Iterator[str]:
    yield "| network | " + " | ".join(OURS) + " | fastest peer | smallest peer |"
    yield "|---" * (len(OURS) + 3) + "|"
    for name, row in networks.items():
        cells = [_short(row["cells"].get(variant)) for variant in OURS]
        (quick, speed), (small, size) = fastest(row), smallest(row)
        yield f"| {name} | {' | '.join(cells)} | {speed:.2f}x, {quick} | {_kilobytes(size)}, {small} |"


def _short(cell: Cell | None) -> str:
    if cell is None or "refused" in cell:
        return "" if cell is None else "refused"
    return f"{pace(cell):.2f}x, {_kilobytes(cell['bytes'])}"


def _said(mark: Mark) -> Iterator[str]:
    verdict = "reached" if mark.reached else ("**missed**" if mark.asked else "not measured yet")
    yield f"- {mark.text}: {verdict}, {mark.asked - len(mark.missed)} of {mark.asked}."
    yield from (f"  - {each}" for each in mark.missed)


def _section(name: str, row: Row) -> Iterator[str]:
    score = "random weights" if row["random"] else f"{row['unit']} {row['score']:.4g} on {row['samples']:,} samples"
    yield from ("", f"## {name}", "", f"Float: {score}, {_kilobytes(row['bytes'])}{_milliseconds(row)}.", "")
    yield "| " + " | ".join(_HEADS) + " |"
    yield "|---" * len(_HEADS) + "|"
    for variant in VARIANTS:
        if variant in row["cells"]:
            yield "| " + " | ".join(_line(variant, row, row["cells"][variant])) + " |"


def _line(variant: str, row: Row, cell: Cell) -> list[str]:
    if "refused" in cell:
        return [variant, f"none: {_plain(cell['refused'])}", *[""] * (len(_HEADS) - 2)]
    lost = (
        f"{cell['points']:+.2f} ({cell['points_low']:+.2f} to {cell['points_high']:+.2f})" if "points" in cell else ""
    )
    if variant not in OURS and not keeps(row, cell):
        lost = f"**{lost or 'too noisy'}**"
    return [
        variant,
        f"{cell['after']:.4g}" if "after" in cell else "",
        lost,
        "" if cell["flips"] is None else f"{cell['flips']:.2%}",
        f"{_decibels(lowest_db(cell))} ({_decibels(cell['varying_db'])})",
        *(_there(cell, processor) for processor in PROCESSORS),
        ", ".join(_speed(form, each) for form, each in cell["speed"].items()),
        _kilobytes(cell["bytes"]),
        f"{cell['integer_macs']:.0%}",
        f"{cell['seconds']:.1f}",
        _plain(cell.get("chosen") or cell.get("note") or ""),
    ]


def _speed(form: str, each: Mapping[str, Any]) -> str:
    return f"{'' if form == 'main' else form + ' '}{each['speedup']:.2f}x ({each['low']:.2f} to {each['high']:.2f})"


def _milliseconds(row: Row) -> str:
    for cell in row["cells"].values():
        if "speed" in cell:
            return "".join(f", {form} {each['before_ms']:.3g} ms" for form, each in cell["speed"].items())
    return ""


def _decibels(found: float | None) -> str:
    return "exact" if found is None or found > 999 else ("lost" if found <= -999 else f"{found:.1f}")


def _kilobytes(count: float) -> str:
    return f"{count / 1000:,.1f} KB"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _there(cell: Cell, processor: str) -> str:
    found = cell.get("emulated_db", {})
    return _decibels(found[processor]) if processor in found else ""


def _machines(networks: Mapping[str, Row]) -> Iterator[str]:
    for machine in dict.fromkeys(_machine(row) for row in networks.values()):
        yield f"- {machine}"
    for processor in PROCESSORS:
        if any(processor in cell.get("emulated_db", {}) for row in networks.values() for cell in row["cells"].values()):
            yield f"- {processor} dB: {DESCRIBED[processor]}, emulated by qemu-user"


def _machine(row: Row) -> str:
    told = [str(row["machine"].get(key, "")) for key in ("processor", "instruction_set")]
    return ", ".join([*filter(None, told), *(f"{k} {v}" for k, v in row["versions"].items())])
