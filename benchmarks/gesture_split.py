"""How much a test drawn by chance flatters a gesture classifier whose rows are overlapping windows.

    python -m benchmarks.gesture_split [-o benchmarks/results/gesture_split.json]

gru-gesture is trained twice by the same engine with the same settings and seed: with whole blocks held out, as
`compress train` does, and with rows held out by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.documents import made_by, write
from compress.training.train_entry import train_network
from models import find, gestures
from models.records import Arrays, Score

RESULT = Path(__file__).parent / "results" / "gesture_split.json"


def score(divide: Any, *, steps: int | None = None) -> tuple[Score, int]:
    """The score on what `divide` holds out, after training on what it does not; and how many rows were trained on."""
    entry = replace(find("gru-gesture"), task=partial(gestures.task, divide=divide))
    network, task, _ = train_network(entry, options={}, training=entry.training, steps=steps)

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            return {"logits": network(torch.from_numpy(arrays["x"])).numpy()}

    return task.score(run, "test"), task.train.rows  # type: ignore[attr-defined]


def main(args: Sequence[str] | None = None) -> None:
    """Train both ways, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--steps", type=int, default=None, help="in place of the entry's epochs")
    given = parser.parse_args(args)
    document: dict[str, Any] = {"schema": 1, "model": "gru-gesture"}
    for name, divide in (("blocks", gestures.blocks), ("by_chance", gestures.by_chance)):
        found, rows = score(divide, steps=given.steps)
        facts = {key: getattr(found, key) for key in ("value", "low", "high", "n", "unit", "per_class")}
        document[name] = {"trained_on": rows, **facts}
    document |= made_by("python -m benchmarks.gesture_split")
    write(document, given.output)


if __name__ == "__main__":
    main()
