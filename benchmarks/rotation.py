"""The GRU's claim, fewer parameters than an LSTM at an equal score, on every spoken digit there is.

    python -m benchmarks.rotation [-o benchmarks/results/rotation.json]

Both are trained on each of five rotations of the recordings by the same engine with the same settings and seed, and
tested on the ten recordings of each digit and speaker that were left out: 3,000 predictions each, paired by recording.
A finished training is one file in `runs/rotation`; where it stopped it goes on.

The folds share no test recording, but five of their trainings stand behind each score: the intervals say how sure it is
for other recordings of these speakers, not for other seeds. Each coefficient is normalized by its mean and deviation
over the training recordings of the first rotation, in all five.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.documents import made_by, write
from compress.training.train_entry import train_network
from export.files import whole
from models import find
from models.fsdd import ROTATIONS, features, frames_task
from models.intervals import paired_difference, wilson
from models.records import Arrays, Entry, Score, Training
from models.tasks import Array

RESULT = Path(__file__).parent / "results" / "rotation.json"
FOLDS = Path(__file__).parents[1] / "runs" / "rotation"
PAIR = ("lstm-fsdd", "gru-fsdd")


def fold(
    name: str, rotation: int, folder: Path, *, training: Training, options: Mapping[str, Any], seed: int = 0
) -> dict[str, Any]:
    """Train on one rotation and note which test recordings are named rightly; read back where it was done before.

    A file of other settings counts as none. `right` follows the order of `features("test", rotation)`.
    """
    asked = {"model": name, "rotation": rotation, "seed": seed, "options": dict(options), "training": asdict(training)}
    path = folder / f"{name}.{rotation}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in asked} == asked:
            return found
    entry = replace(find(name), task=partial(frames_task, rotation=rotation))
    network, task, log = train_network(entry, options=options, training=training, seed=seed)
    right = np.zeros(len(features("test", rotation).digit), int)
    right[_order(rotation)] = task.score(_runner(network, entry), "test").samples
    parameters = sum(p.numel() for p in network.parameters())
    found = {**asked, "parameters": parameters, "steps": log.steps, "seconds": log.seconds, "right": right.tolist()}
    folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        file.write_text(json.dumps(found), encoding="utf-8")
    return found


def _order(rotation: int) -> Array:
    """Which recording each row of the score is: batches go by length, and by place within one."""
    order: Array = np.argsort(features("test", rotation).length, kind="stable")
    return order


def _runner(network: torch.nn.Module, entry: Entry) -> Any:
    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            return {entry.outputs[0].name: network(torch.from_numpy(arrays[entry.inputs[0].name])).numpy()}

    return run


def compare(folds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Score of each of two models over all its folds, and how far the second is above the first, by recording."""
    scores = {name: _pooled(of) for name, of in folds.items()}
    models = {
        name: {
            "parameters": of[0]["parameters"],
            "accuracy": scores[name].value,
            "low": scores[name].low,
            "high": scores[name].high,
            "of_each_rotation": [float(np.mean(one["right"])) for one in of],
            "training": of[0]["training"],
            "seconds": round(sum(one["seconds"] for one in of), 1),
        }
        for name, of in folds.items()
    }
    (first, a), (second, b) = scores.items()
    assert a.samples is not None and b.samples is not None
    difference, low, high = paired_difference(frames_task(), a, b)
    only_a, only_b = int(((a.samples == 1) & (b.samples == 0)).sum()), int(((a.samples == 0) & (b.samples == 1)).sum())
    return {
        "models": models,
        "predictions": a.n,
        "difference": {"of": second, "over": first, "value": difference, "low": low, "high": high},
        "only_right": {first: only_a, second: only_b},
        "mcnemar_p": mcnemar(only_a, only_b),
    }


def _pooled(folds: Sequence[Mapping[str, Any]]) -> Score:
    samples = np.concatenate([one["right"] for one in folds]).astype(np.float64)
    low, high = wilson(samples.sum(), len(samples))
    return Score(value=float(samples.mean()), low=low, high=high, n=len(samples), unit="accuracy", samples=samples)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact probability of so uneven a split of the rows that only one of two models has right, by chance.

    Source: McNemar 1947, doi:10.1007/BF02295996, with the binomial distribution in place of its limit.
    """
    n, fewer = only_a + only_b, min(only_a, only_b)
    return float(min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n))


def main(args: Sequence[str] | None = None) -> None:
    """Train what is not yet there, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--folds", type=Path, default=FOLDS, help="folder of the finished trainings")
    parser.add_argument("--epochs", type=int, default=find(PAIR[0]).training.epochs)
    given = parser.parse_args(args)
    training = replace(find(PAIR[0]).training, epochs=given.epochs)
    folds: dict[str, list[dict[str, Any]]] = {name: [] for name in PAIR}
    for rotation in range(ROTATIONS):
        for name, of in folds.items():
            of.append(fold(name, rotation, given.folds, training=training, options={}))
            print(f"{name}, rotation {rotation}: {np.mean(of[-1]['right']):.4f}", file=sys.stderr, flush=True)
    document = {
        "schema": 1,
        **compare(folds),
        **made_by("python -m benchmarks.rotation"),
    }
    write(document, given.output)


if __name__ == "__main__":
    main()
