"""The three translators on the same 500 sentences: BLEU, greedily and by beam, by length, and sentences to read.

    python -m benchmarks.translation [-o benchmarks/results/translation.json]

Each network is run as lifted by torch, step by step with the loops of `models/decoding.py`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import compress
from export.files import whole
from export.machine import machine, versions
from export.session import runner_for
from export.wrap import from_entry
from models import find
from models.enja_text import english_text, japanese_text
from models.intervals import bootstrap, paired_difference
from models.records import Runner, Score
from models.tasks import Array
from models.translation import Translation, counted

RESULT = Path(__file__).parent / "results" / "translation.json"
MODELS = ("seq2seq", "seq2seq-attention", "transformer")
LENGTHS = ((4, 6), (7, 8), (9, 10), (11, 16))  # words of the source, both ends included
BEAM = 4
TOP = 10
SHOWN = (3, 17, 42, 108, 256, 404)  # rows of the test, chosen before anything was translated


def beamed(task: Translation, runner: Runner, *, width: int = BEAM) -> list[str]:
    """What beam search writes for each row of the test."""
    batches = task.test.with_batch_size(64)
    found = [""] * batches.rows
    for rows, (inputs, _) in zip(batches.order(), batches, strict=True):
        decoder, given = task.begun(runner, inputs)
        for row, numbers in zip(rows, decoder.beam(given, width=width), strict=True):
            found[row] = " ".join(task.words.decode(numbers))
    return found


def drawn(task: Translation, runner: Runner, row: int, *, seed: int = 0) -> str:
    """One row's translation, each word drawn by its probability among the TOP most probable.

    Among all it would be nonsense: labels were smoothed, so a tenth of the probability lies on any words at all.
    """
    source = next(iter(task.test.inputs))
    decoder, given = task.begun(runner, {source: task.test.inputs[source][row][None]})
    return " ".join(task.words.decode(decoder.sampled(given, np.random.default_rng(seed), top=TOP)[0]))


def scored(task: Translation, written: Sequence[str]) -> Score:
    """BLEU of what was written for the test."""
    samples = counted(written, task.references["test"])
    low, high = bootstrap(lambda counts: task.statistics(samples, counts), len(samples))
    return Score(value=task.statistic(samples), low=low, high=high, n=len(samples), unit="BLEU", samples=samples)


def part(task: Translation, score: Score, rows: Array) -> Score:
    """The score of some of the rows."""
    assert score.samples is not None
    kept = score.samples[rows]
    low, high = bootstrap(lambda counts: task.statistics(kept, counts), len(kept))
    return replace(score, value=task.statistic(kept), low=low, high=high, n=len(kept), samples=kept)


def by_length(task: Translation, score: Score) -> dict[str, Score]:
    """The score of the sentences of each range of LENGTHS."""
    lengths = np.array([len(row) for row in next(iter(task.test.inputs.values()))])
    return {f"{a}-{b}": part(task, score, (lengths >= a) & (lengths <= b)) for a, b in LENGTHS}


def difference(task: Translation, a: Score, b: Score) -> dict[str, float]:
    """How much more b has than a, on the same sentences, with its interval."""
    found, low, high = paired_difference(task, a, b)
    return {"BLEU": found, "low": low, "high": high}


def measure() -> dict[str, Any]:
    """Everything that the document holds of the models."""
    task: Any = find(MODELS[0]).task(batch_size=64)
    greedy: dict[str, Score] = {}
    document: dict[str, Any] = {"greedy": {}, f"beam_{BEAM}": {}, "greedy_by_length": {}, "differences": {}}
    sentences = [_asked(task, row) for row in SHOWN]
    for name in MODELS:
        runner = runner_for(from_entry(find(name)))
        written = {"greedy": task.written(runner), f"beam_{BEAM}": beamed(task, runner)}
        scores = {way: scored(task, lines) for way, lines in written.items()}
        greedy[name] = scores["greedy"]
        for way, score in scores.items():
            document[way][name] = _plain(score)
        document["greedy_by_length"][name] = {k: _plain(s) for k, s in by_length(task, scores["greedy"]).items()}
        document["differences"][f"{name}: beam - greedy"] = difference(task, *scores.values())
        for shown, row in zip(sentences, SHOWN, strict=True):
            shown[name] = {way: _both(lines[row]) for way, lines in written.items()}
            shown[name]["drawn"] = _both(drawn(task, runner, row))
    for a, b in combinations(MODELS, 2):
        document["differences"][f"{b} - {a}"] = difference(task, greedy[a], greedy[b])
        parts = zip(*(by_length(task, greedy[name]).items() for name in (a, b)), strict=True)
        for (words, one), (_, other) in parts:
            document["differences"][f"{b} - {a}, {words} words"] = difference(task, one, other)
    return {**document, "sentences": sentences}


def _asked(task: Translation, row: int) -> dict[str, Any]:
    from models.enja import vocabulary

    words = vocabulary("en").decode(next(iter(task.test.inputs.values()))[row])
    return {
        "source": {"words": " ".join(words), "text": english_text(words)},
        "reference": _both(task.references["test"][row]),
    }


def _both(words: str) -> dict[str, str]:
    return {"words": words, "text": japanese_text(words.split())}


def _plain(score: Score) -> dict[str, Any]:
    return {key: getattr(score, key) for key in ("value", "low", "high", "n", "unit")}


def table(document: dict[str, Any], name: str) -> str:
    """One model's sentences as a table of Markdown: tokenized, and as text in the ways of decoding."""
    lines = ["| source, as words and as text | reference | greedy | beam | drawn |", "|---|---|---|---|---|"]
    for shown in document["sentences"]:
        ways = [shown[name][way] for way in ("greedy", f"beam_{BEAM}", "drawn")]
        both = [f"`{said['words']}` {said['text']}" for said in (shown["source"], shown["reference"], ways[0])]
        lines.append(f"| {' | '.join([*both, *(way['text'] for way in ways[1:])])} |")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Measure, write the document, and print the scores and one model's sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(args)
    document: dict[str, Any] = {
        "schema": 1,
        "command": "python -m benchmarks.translation",
        "machine": machine(),
        "versions": versions()
        | {"compress": compress.__version__, "sacrebleu": importlib.metadata.version("sacrebleu")},
        **measure(),
    }
    with whole(given.output) as path:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in document.items() if key != "sentences"}, indent=1))
    for name in MODELS:
        print(f"\n{name}\n\n{table(document, name)}")


if __name__ == "__main__":
    main()
