"""Int8 by our `quantize --mode auto` and by the peers' tools, against float, on every reference model and ten others.

    python -m benchmarks.int8 [NETWORK ...] [--variants "ours, any" ...] [--nncf-python PATH] [--emulate]

All variants of a network are timed by turns in one process; all calibrate with the same samples. Cells that are there
already for the same weights, code and settings are kept, so a run that was stopped goes on where it was. The files lie
in `.matrix/int8`. NNCF wants an interpreter of its own: python -m venv DIR; DIR/bin/pip install nncf onnx onnxruntime.
`--emulate` runs the files as processors without VNNI and 64-bit Arm do, and needs qemu-user; for Arm, make what runs
there first: `python -m benchmarks.emulators`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import emulators, int8_emulated
from benchmarks.documents import made_by, write
from benchmarks.emulators import PROCESSORS
from benchmarks.int8_case import Case, case_of, hash_of
from benchmarks.int8_emulated import file_of
from benchmarks.int8_networks import NETWORKS
from benchmarks.int8_page import page
from benchmarks.int8_variants import VARIANTS, How, made_with, make
from benchmarks.matrix import speeds_of
from compress.base import Context
from export.onnx_file import write as write_model
from export.stopwatch import Stopwatch
from models import ZOO
from models.errors import CompressError

RESULT = Path(__file__).parent / "results" / "int8.json"
KEPT = Path(__file__).parents[1] / ".matrix" / "int8"
NAMES = (*ZOO, *NETWORKS)


def measure(variant: str, case: Case, file: Path, how: How) -> dict[str, Any]:
    """One cell but for its speed: the files made, weighed and judged; or the reason why there are none."""
    for old in file.parent.glob(f"{file.stem}.*"):
        if old.name == file.name or old.name.removeprefix(f"{file.stem}.") in {f"{f}.onnx" for f in case.float_.forms}:
            old.unlink()
    try:
        facts = make(variant, case, file, how)
        made = case.loaded(file)
        return {"bytes": _bytes(file, case), **facts, **case.judged(made)}
    except CompressError as refusal:
        return {"refused": str(refusal)}


def _bytes(file: Path, case: Case) -> int:
    """Of the files of all forms, as they are shipped."""
    forms = (file.with_name(f"{file.stem}.{form}.onnx") for form in case.float_.forms)
    return sum(each.stat().st_size for each in (file, *forms))


def fingerprint(name: str, variant: str, how: How, batches: int) -> str:
    """Of what a cell depends on: the weights, the code and settings that make it, the data it is scored on."""
    return f"{hash_of(name)} {made_with(variant, how)} scored on {batches or 'all'} batches"


def speeds(case: Case, row: dict[str, Any], files: Mapping[str, Path], seconds: float) -> None:
    """Time all that were made against float, by turns, and write it into their cells."""
    models = {"float": case.float_, **{variant: case.loaded(file) for variant, file in files.items()}}
    watch = Stopwatch(seconds=seconds, threads=1)
    for variant, speed in speeds_of(models, Context(measure=watch), case.samples[1]).items():
        row["cells"][variant]["speed"] = speed


def missing(row: Mapping[str, Any], name: str, variants: Sequence[str], how: How, batches: int) -> Iterator[str]:
    """The variants that are not measured yet, or with other weights, code or settings."""
    for variant in variants:
        if row["cells"].get(variant, {}).get("fingerprint") != fingerprint(name, variant, how, batches):
            yield variant


def run(
    names: Sequence[str],
    variants: Sequence[str],
    output: Path,
    *,
    nncf: str = "",
    seconds: float = 0.5,
    deciding: float = 0.3,
    batches: int = 32,
    retime: bool = False,
) -> dict[str, Any]:
    """Measure what is missing, and write the document and its page after each network.

    Args:
        names: of networks.
        variants: to measure; those that are there already are only timed again, beside the new ones.
        output: the document.
        nncf: the interpreter that has NNCF.
        seconds: of the stopwatch, for each variant and form.
        deciding: the same for what our own pass times.
        batches: of validation and test to score on; 0: all.
        retime: time again also where nothing is missing.
    """
    document: dict[str, Any] = {"schema": 1, "networks": {}}
    if output.exists():
        document = json.loads(output.read_text(encoding="utf-8"))
    for name in names:
        row = document["networks"].setdefault(name, {"cells": {}})
        float_ = file_of(KEPT, name, "float")
        how = How(seconds=deciding, nncf=nncf, float_=float_)
        wanted = list(missing(row, name, variants, how, batches))
        if not wanted and "timed" in row and not retime:
            continue
        began = time.perf_counter()
        _measured(row, name, wanted, how, batches, seconds)
        row |= made_by(f"python -m benchmarks.int8 {name!r}")
        row["minutes"] = round((time.perf_counter() - began) / 60, 2)
        write(document, output, page(document, NAMES))
        print(f"{name}: {row['minutes']} minutes", file=sys.stderr, flush=True)
    write(document, output, page(document, NAMES))
    return document


def _measured(row: dict[str, Any], name: str, wanted: list[str], how: How, batches: int, seconds: float) -> None:
    """All that a network's row lacks: its cells, and as one of them is new, the times of all."""
    row.pop("timed", None)
    case = case_of(name, batches=batches)
    how.float_.parent.mkdir(parents=True, exist_ok=True)
    write_model(case.float_, how.float_)
    int8_emulated.keep(case, how.float_.parent)
    row |= {"bytes": _bytes(how.float_, case), "random": case.task is None}
    if case.score is not None:
        row |= {"unit": case.score.unit, "score": case.score.value, "samples": case.score.n}
    kept = [v for v, cell in row["cells"].items() if v not in wanted and "refused" not in cell]
    for variant in [*wanted, *(v for v in kept if not file_of(KEPT, name, v).is_file())]:
        cell = measure(variant, case, file_of(KEPT, name, variant), how)
        row["cells"][variant] = {**cell, "fingerprint": fingerprint(name, variant, how, batches)}
        print(f"  {name} {variant}: {_said(cell)}", file=sys.stderr, flush=True)
    made = [variant for variant, cell in row["cells"].items() if "refused" not in cell]
    speeds(case, row, {variant: file_of(KEPT, name, variant) for variant in made}, seconds)
    row["timed"] = f"{seconds:g} s each"


def emulate(
    names: Sequence[str], output: Path, processors: Sequence[str], variants: Sequence[str] = (*VARIANTS,)
) -> dict[str, Any]:
    """Run the files as other processors would, and write what they lose there into their cells."""
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    for processor in processors:
        python = emulators.command(processor)
        wanted = [one for one in int8_emulated.missing(document, names, KEPT, processor) if one[1] in variants]
        found = int8_emulated.emulated([(f"{name}/{variant}", file) for name, variant, file in wanted], python)
        for name, variant, _ in wanted:
            cell = document["networks"][name]["cells"][variant]
            cell["emulated_db"] = {**cell.get("emulated_db", {}), processor: found[f"{name}/{variant}"]}
    write(document, output, page(document, NAMES))
    return document


def _said(cell: Mapping[str, Any]) -> str:
    if "refused" in cell:
        return f"refused: {cell['refused']}"
    points = f", {cell['points']:+.2f} points" if "points" in cell else ""
    return f"{cell['bytes']:,} bytes, {cell['varying_db']} dB{points}, {cell['seconds']} s"


def main(args: Sequence[str] | None = None) -> None:
    """Compare on the networks named, or on all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="all when none is named; see --list")
    parser.add_argument("--list", action="store_true", help="print the networks and the variants, and stop")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), metavar="VARIANT", help="those alone")
    parser.add_argument("--nncf-python", default="", metavar="PATH", help="the interpreter that has NNCF")
    words = f"afterwards, outputs on other processors, emulated; all of {', '.join(PROCESSORS)} where none is named"
    parser.add_argument("--emulate", nargs="*", choices=PROCESSORS, metavar="PROCESSOR", help=words)
    parser.add_argument("--retime", action="store_true", help="time the files again, also where nothing is new")
    parser.add_argument("--seconds", type=float, default=0.5, help="of the stopwatch, for each variant and form")
    parser.add_argument("--deciding", type=float, default=0.3, help="the same for what our own pass times")
    parser.add_argument("--batches", type=int, default=32, help="of validation and test to score on; 0: all")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="the document; its page lies beside it")
    given = parser.parse_args(args)
    if given.list:
        print("\n".join([*NAMES, "", *VARIANTS]))
        return
    for kind, asked, known in (("network", given.networks, NAMES), ("variant", given.variants, VARIANTS)):
        if unknown := [name for name in asked if name not in known]:
            parser.error(f"no {kind} named {unknown[0]!r}; there are {'; '.join(known)}")
    names = given.networks or list(NAMES)
    times = {"seconds": given.seconds, "deciding": given.deciding}
    settings = {"nncf": given.nncf_python, "batches": given.batches, "retime": given.retime}
    run(names, given.variants, given.output, **settings, **times)
    if given.emulate is not None:
        emulate(names, given.output, given.emulate or PROCESSORS, given.variants)
    print(given.output.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
