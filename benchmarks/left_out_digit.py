"""The autoencoder's AUC for each of the ten digits left out of its training, by the entry's own settings.

    python -m benchmarks.left_out_digit [DIGIT ...] [--epochs N] [-o benchmarks/results/left_out_digit.json]

Digits that the file holds already, trained alike, are not trained again; so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import compress
from benchmarks.documents import now, write
from compress.training.train_entry import train_network
from export.machine import machine, versions
from export.session import torch_runner
from export.wrap import Model
from models import find
from models.mnist import anomaly_task
from models.records import Training

RESULT = Path(__file__).parent / "results" / "left_out_digit.json"
DIGITS = range(10)


def measure(digit: int, training: Training, *, seed: int = 0) -> dict[str, Any]:
    """Train the autoencoder on the other nine digits, and score on test how it tells this one from them."""
    entry = replace(find("autoencoder"), task=partial(anomaly_task, digit=digit))
    network, task, log = train_network(entry, options={}, training=training, seed=seed)
    score = task.score(torch_runner(Model(network, inputs=entry.inputs, outputs=entry.outputs)), "test")
    assert score.samples is not None
    error, is_anomaly = score.samples.T
    return {
        "digit": digit,
        "auc": score.value,
        "low": score.low,
        "high": score.high,
        "images": score.n,
        "anomalies": int(is_anomaly.sum()),
        "squared_error_per_pixel_usual": float(error[is_anomaly == 0].mean()),
        "squared_error_per_pixel_anomaly": float(error[is_anomaly == 1].mean()),
        "steps": log.steps,
        "seconds": round(log.seconds, 1),
    }


def table(document: dict[str, Any]) -> str:
    """The results as a table of Markdown, the easiest digit first."""
    lines = ["| left out | AUC | 95 % interval | error per pixel, left out | others |", "|---|---|---|---|---|"]
    for row in sorted(document["digits"], key=lambda row: -row["auc"]):
        lines.append(
            f"| {row['digit']} | {row['auc']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
            f"{row['squared_error_per_pixel_anomaly']:.4f} | {row['squared_error_per_pixel_usual']:.4f} |"
        )
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Measure the digits that are missing, write the document after each, and print the table."""
    entry = find("autoencoder")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digits", nargs="*", type=int, choices=[*DIGITS, []], help="all when none is named")
    parser.add_argument("--epochs", type=int, default=entry.training.epochs)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(args)
    training = replace(entry.training, epochs=given.epochs)
    document: dict[str, Any] = {
        "schema": 1,
        "model": entry.name,
        "training": asdict(training),
        "seed": 0,
        "command": f"python -m benchmarks.left_out_digit --epochs {given.epochs}",
        "machine": machine(),
        "versions": versions() | {"compress": compress.__version__},
        "digits": [],
    }
    if given.output.exists():
        before = json.loads(given.output.read_text(encoding="utf-8"))
        alike = before["training"] == document["training"] and before["versions"] == document["versions"]
        document["digits"] = before["digits"] if alike else []
    for digit in given.digits or DIGITS:
        if digit in {row["digit"] for row in document["digits"]}:
            continue
        found = measure(digit, training) | {"made": now()}
        print(f"digit {digit}: AUC {found['auc']:.4f}, {found['seconds']:.0f} s", file=sys.stderr, flush=True)
        document["digits"] = sorted([*document["digits"], found], key=lambda row: row["digit"])
        write(document, given.output)
    print(table(document))


if __name__ == "__main__":
    main()
