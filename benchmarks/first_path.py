"""Every pass on every reference model, measured: a chain of all four on resnet8, each alone on the rest.

    python benchmarks/first_path.py [MODEL ...] [-o benchmarks/results/first_path.json]

Each result is exported, held to torch by parity, scored on test against the original by pairs, and timed by turns with
it in one process. Models named on the command line are measured anew; the rest of the file stays.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.documents import made_by, write
from compress.base import Context, Pass
from compress.console import plain
from compress.distill import Distill
from compress.ledger import Ledger, Step, judge, walk
from compress.pruning.prune import Prune
from compress.quantization.quantize import Quantize
from compress.separate import Separate
from export.parity import verify
from export.stopwatch import Stopwatch
from export.wrap import from_entry
from models import ZOO, find

RESULT = Path(__file__).parent / "results" / "first_path.json"
SHORT: Sequence[Sequence[Pass]] = (
    (Quantize(mode="auto"),),
    (Quantize(mode="static"),),
    (Quantize(mode="weights"),),
    (Prune(ratio=0.5, recover=400),),
    (Distill(width=0.5, steps=400),),
)
CHAINS: Mapping[str, Sequence[Sequence[Pass]]] = {
    "resnet8": (
        (Quantize(mode="auto"),),
        (Quantize(mode="static"),),
        (Separate(recover=300), Prune(ratio=0.25, recover=300), Distill(steps=600), Quantize(mode="auto")),
        (Prune(ratio=0.25, recover=300), Separate(recover=300), Distill(steps=600), Quantize(mode="static")),
    ),
}
DROPPED = {
    "costs",
    "layers",
    "changed",
    "skipped",
    "facts",
}  # what the page of one run shows, and a table of many does not


def measure(name: str, *, seed: int = 0) -> dict[str, Any]:
    """Run the chains of one model, and judge all their results together against its fp32 original."""
    entry = find(name)
    model, task = from_entry(entry), entry.task()
    watch = Stopwatch(seconds=1.0, threads=1, seed=seed)
    context = Context(task=task, teacher=model, device="cpu", measure=watch, seed=seed)
    walked: list[Step] = []
    parities: list[Any] = []
    for chain in CHAINS.get(name, SHORT):
        began = time.perf_counter()
        steps = walk(chain, model, context)
        for step in steps[0 if not walked else 1 :]:
            parities.append(None if step.model.is_onnx else plain(verify(step.model, step.shipped)))
            label = " > ".join(p.name for p in chain[: steps.index(step)]) or "original"
            walked.append(replace(step, name=label))
        print(
            f"{name}: {' > '.join(map(repr, chain))}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
        )
    ledger = judge(walked, task, stopwatch=watch)
    return {"model": name, "rows": _rows(ledger, parities)}


def _rows(ledger: Ledger, parities: Sequence[Any]) -> list[dict[str, Any]]:
    rows = []
    for line, parity in zip(plain(ledger)["steps"], parities, strict=True):
        row = {key: value for key, value in line.items() if key not in DROPPED}
        counts = {"layers_changed": len(line["changed"]), "layers_skipped": len(line["skipped"])}
        chosen = {key: line["facts"][key] for key in ("chosen", "why", "steps") if key in line["facts"]}
        rows.append({**row, **counts, **chosen, "parity_with_torch": parity})
    return rows


def main(args: Sequence[str] | None = None) -> None:
    """Measure the models named, or all, and write the document after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[*ZOO, []], help="all when none is named")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(args)
    document: dict[str, Any] = {"schema": 1, "models": {}}
    if given.output.exists():
        document = json.loads(given.output.read_text())
    for name in given.models or ZOO:
        document["models"][name] = measure(name) | made_by(f"python benchmarks/first_path.py {name}")
        write(document, given.output)


if __name__ == "__main__":
    main()
