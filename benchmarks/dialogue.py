"""The three dialogue models on the same replies: perplexity, also turn by turn, what the code tells, and variety.

    python -m benchmarks.dialogue [-o benchmarks/results/dialogue.json]

Variety is distinct-n, the different n-grams of 1,000 replies over all their words (Li et al. 2016, arXiv:1510.03055,
sec. 5.3), where each word is drawn by its probability; drawn ten times over, its interval is that of the mean.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

import compress
from benchmarks.spoken_replies import Speaker
from export.files import whole
from export.machine import machine, versions
from export.session import runner_for
from export.wrap import from_entry
from models import find
from models.dialogues import dialogues
from models.intervals import bootstrap, paired_difference
from models.latent_text import divergences
from models.records import Arrays, Runner, Score
from models.replies import EVERY
from models.tasks import Array, NextToken

RESULT = Path(__file__).parent / "results" / "dialogue.json"
MODELS = ("seq2seq-dialogue", "hred", "vhred")
TURNS = 9  # replies of a dialogue that are looked at one by one; the later ones together
REPLIES, DRAWS = 1000, 10


def in_order(task: Any, score: Score) -> Array:
    """The samples of a test score, a row a reply in the order of the test's rows, however the model's batches lie."""
    assert score.samples is not None
    found = np.empty_like(score.samples)
    found[np.concatenate(list(task.test.order()))] = score.samples
    return found


def turns() -> Array:
    """Of each row of the test, the how-many-th reply of its dialogue it is, from 1 on; TURNS + 1 for all later ones."""
    said = [turn // 2 + 1 for dialogue in dialogues("test")[:: EVERY["test"]] for turn in range(1, len(dialogue), 2)]
    return np.minimum(said, TURNS + 1)


def by_turn(task: NextToken, samples: Array) -> list[dict[str, float]]:
    """Perplexity and its interval for each number of a reply in its dialogue."""
    found = []
    for turn, rows in ((turn, samples[turns() == turn]) for turn in range(1, TURNS + 2)):
        low, high = bootstrap(lambda counts, rows=rows: task.statistics(rows, counts), len(rows))  # type: ignore[misc]
        found.append({"turn": turn, "perplexity": task.statistic(rows), "low": low, "high": high, "replies": len(rows)})
    return found


def distinct(replies: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over words, both of all replies together."""
    grams = {tuple(reply[i : i + n]) for reply in replies for i in range(len(reply) - n + 1)}
    return len(grams) / sum(map(len, replies))


def variety(speaker: Speaker, *, replies: int = REPLIES, draws: int = DRAWS) -> dict[str, list[float]]:
    """distinct-1, distinct-2 and words a reply of the test's first replies, each draw of them one number."""
    test = speaker.task.test.with_batch_size(250).head(replies)
    found: dict[str, list[float]] = {"distinct_1": [], "distinct_2": [], "words": [], "distinct_2_one_way": []}
    for draw in range(draws):
        rng = np.random.default_rng((draw, 1))
        drawn = [reply for inputs, _ in test for reply in speaker.replies(inputs, rng)]
        found["distinct_1"].append(distinct(drawn, 1))
        found["distinct_2"].append(distinct(drawn, 2))
        found["words"].append(float(np.mean([len(reply) for reply in drawn])))
        if draw == 0 or speaker.has_code:
            surest = [reply for inputs, _ in test for reply in speaker.replies(inputs, rng, surest=True)]
        found["distinct_2_one_way"].append(distinct(surest, 2))
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """The mean of independent draws with its 95 % interval (Student's t)."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return {"value": mean, "low": mean - half, "high": mean + half}


def told_by_code(task: NextToken, runner: Runner) -> list[float]:
    """KL of the posterior from the prior in nats a reply, for each number of the code; the mean over the test."""
    found = np.concatenate([divergences(runner(inputs)) for inputs, _ in task.test])
    return [float(nats) for nats in found.mean(0)]


def foretold(speaker: Speaker) -> float:
    """Perplexity of the test's words where the code is drawn from the prior, which does not know them."""

    def run(arrays: Arrays) -> Arrays:
        given = speaker.listen(arrays["context"], np.random.default_rng(len(arrays["context"])))
        found: Arrays = speaker.runner.forms["step"]({"target": arrays["target"], **given})
        return found

    return NextToken.score(speaker.task, run).value


def measure() -> dict[str, Any]:
    """Everything that the document holds of the models."""
    document: dict[str, Any] = {"scores": {}, "by_turn": {}, "differences": {}, "variety": {}, "dialogue": {}}
    scores: dict[str, Score] = {}
    varieties: dict[str, dict[str, list[float]]] = {}
    for name in MODELS:
        entry = find(name)
        task: Any = entry.task(batch_size=250)
        speaker = Speaker(task, runner_for(from_entry(entry)))
        score: Score = task.score(speaker.runner)
        samples = in_order(task, score)
        scores[name] = Score(
            value=score.value, low=score.low, high=score.high, n=score.n, unit=score.unit, samples=samples[:, :2]
        )
        document["scores"][name] = {key: getattr(score, key) for key in ("value", "low", "high", "n", "unit")}
        document["by_turn"][name] = by_turn(task, samples)
        varieties[name] = variety(speaker)
        document["variety"][name] = {key: interval(values) for key, values in varieties[name].items()}
        if speaker.has_code:
            nll = samples[:, :2] - np.stack([samples[:, 2], np.zeros(len(samples))], 1)
            document["code"] = {
                "kl_nats_per_reply": task.divergence(samples),
                "kl_nats_per_number": told_by_code(task, speaker.runner),
                "perplexity_without_kl": task.statistic(nll),
                "perplexity_by_the_prior": foretold(speaker),
            }
        document["dialogue"] |= (speaker.heard() if name == "hred" else {}) | {name: speaker.say()}
    plain = find("hred").task()
    for a, b in (("seq2seq-dialogue", "hred"), ("hred", "vhred")):
        difference, low, high = paired_difference(plain, scores[a], scores[b])
        document["differences"][f"{b} - {a}"] = {"perplexity": difference, "low": low, "high": high}
    for key in ("distinct_1", "distinct_2", "distinct_2_one_way"):
        pairs = zip(varieties["vhred"][key], varieties["hred"][key], strict=True)
        document["differences"][f"vhred - hred, {key}"] = interval([v - h for v, h in pairs])
    return document


def main(args: Sequence[str] | None = None) -> None:
    """Measure, write the document, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args(args)
    document: dict[str, Any] = {
        "schema": 1,
        "command": "python -m benchmarks.dialogue",
        "machine": machine(),
        "versions": versions() | {"compress": compress.__version__},
        "replies": REPLIES,
        "draws": DRAWS,
        **measure(),
    }
    with whole(given.output) as path:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(json.dumps({key: document[key] for key in ("scores", "differences", "variety")}, indent=1))


if __name__ == "__main__":
    main()
