import json

import numpy as np
import pytest
from scipy import stats

import compress  # noqa: F401
from benchmarks import spoken_replies
from benchmarks.dialogue import MODELS, RESULT, TURNS, distinct, in_order, interval
from benchmarks.spoken_replies import Speaker
from export.session import Formed
from models import find
from models.dialogues import vocabulary
from models.records import InputSpec, Score
from models.replies import batches, replies
from models.tasks import NextToken
from models.vocabulary import EOS, UNK

SAID = vocabulary().words[10:22]
ROWS = list(replies([(("USER", "SYSTEM")[i % 2], [*SAID[i % 3 :][:4], "hi"]) for i in range(12)]))


def task(**more):
    rows = batches(ROWS, ("context", "target"), batch_size=2, **more)
    return NextToken(name="made", train=rows, validation=rows, test=rows, labels=vocabulary().words, unit="perplexity")


def echo(wanted):
    """A network that says the last word it heard, and then ends; it would rather say that it knows no word."""

    def encode(arrays):
        return {
            "h": arrays["context"][:, :1].astype(np.float32),
            "told": np.zeros((len(arrays["context"]), 1), np.float32),
        }

    def step(arrays):
        logits = np.zeros((len(arrays["h"]), 1, 3000))
        said = np.where(arrays["target"][:, 0] == 1, arrays["h"][:, 0].astype(int), EOS)
        logits[np.arange(len(said)), 0, said] = wanted
        logits[:, :, UNK] = 2 * wanted
        return {"logits": logits, "h_out": arrays["h"]}

    state = InputSpec(name="h", dtype="float32", dims=("N", 1), state_of="h_out")
    return Formed(lambda _: {}, {"encode": Formed(encode, {}), "step": Formed(step, {}, (state,))})


def test_a_speaker_reads_and_writes_words(monkeypatch):
    monkeypatch.setattr(spoken_replies, "DIALOGUE", (1, 3))
    speaker = Speaker(task(alone=True), echo(100.0))
    (inputs, _), *_ = speaker.task.test
    first = [[int(row[0])] for row in inputs["context"]]
    rng = np.random.default_rng(0)
    assert speaker.replies(inputs, rng) == speaker.replies(inputs, rng, surest=True) == first
    assert speaker.say()["by_chance"][0] == speaker.say()["surest"]
    assert not speaker.has_code


def test_distinct_by_hand():
    found = [[5, 6, 5, 6], [5, 6, 7]]  # 5 6, 6 5, 6 7 among 7 words
    assert distinct(found, 2) == 3 / 7 and distinct(found, 1) == 3 / 7


def test_samples_are_put_in_the_order_of_the_rows():
    made = task()
    walked = np.concatenate([np.stack([target[:, 0], target[:, 0]], 1) for _, target in made.test])
    score = Score(value=0, low=0, high=0, n=1, unit="perplexity", samples=walked)
    assert in_order(made, score)[:, 0].tolist() == [int(row[0]) for row in made.test.target]


def test_the_interval_is_students():
    values = [1.0, 2.0, 4.0, 3.5]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found["value"], found["low"], found["high"]) == pytest.approx((2.625, low, high))


@pytest.fixture
def committed():
    return json.loads(RESULT.read_text(encoding="utf-8"))


def test_the_scores_are_those_of_the_entries(committed):
    assert {"machine", "versions", "command"} <= set(committed)
    for name in MODELS:
        golden = find(name).golden
        assert committed["scores"][name]["value"] == pytest.approx(golden.value, rel=1e-3)
        assert committed["scores"][name]["n"] == golden.n
        assert [row["turn"] for row in committed["by_turn"][name]] == list(range(1, TURNS + 2))
        assert sum(row["replies"] for row in committed["by_turn"][name]) == 2060


def test_knowing_the_turns_before_helps_and_the_code_is_used(committed):
    assert committed["differences"]["hred - seq2seq-dialogue"]["high"] < 0
    assert committed["differences"]["vhred - hred, distinct_2"]["low"] > 0
    code = committed["code"]
    assert code["kl_nats_per_reply"] > 1 and sum(code["kl_nats_per_number"]) == pytest.approx(code["kl_nats_per_reply"])
    # what the posterior's code tells of the words is worth something, and the divergence is its price
    assert code["perplexity_without_kl"] < code["perplexity_by_the_prior"]
    assert code["perplexity_without_kl"] < committed["scores"]["vhred"]["value"]
