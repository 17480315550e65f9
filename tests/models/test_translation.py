import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from export.session import Formed
from models import enja
from models.errors import DataError
from models.intervals import paired_difference
from models.records import InputSpec, Score
from models.tasks import IGNORED
from models.translation import bleu, counted
from models.vocabulary import EOS, MARKS, Vocabulary

WORDS = Vocabulary((*MARKS, *"abcdefg"))
LINES = ["a b c d e", "b", "c d e f", "d e f g a b", "e f", "f g a", "g a b c d"]
sentences = st.lists(st.sampled_from("abc"), max_size=9).map(" ".join)


def corpus_bleu(written, references):
    return BLEU(tokenize="none", force=True).corpus_score(written, [references]).score


def made(lines=LINES):
    """Each sentence is to be written as it is."""
    text = "\n".join(lines).encode()
    batches = enja.batches(
        enja.read_pairs(text, text, file="made"), WORDS, WORDS, batch_size=2, names=("source", "target")
    )
    return enja.Translation(
        name="copy", train=batches, validation=batches, test=batches, references={"test": lines}, words=WORDS
    )


def copier(wrong=lambda word: word, share=1.0):
    """A network that writes the source again; some words it gets wrong. Its state is the place it has come to."""

    def encode(arrays):
        return {"memory": arrays["source"].astype(np.float32)}

    def step(arrays):
        memory, at = arrays["memory"].astype(int), arrays["at"].astype(int)[:, 0]
        ended = np.concatenate([memory, np.full((len(memory), 40), EOS)], 1)
        said = np.stack([ended[np.arange(len(at)), at + t] for t in range(arrays["target"].shape[1])], 1)
        said = np.vectorize(wrong)(said)
        return {"logits": np.eye(len(WORDS))[said], "at_out": arrays["at"] + arrays["target"].shape[1]}

    def main(arrays):
        start = {"memory": arrays["source"], "at": np.zeros((len(arrays["source"]), 1))}
        return {"logits": step({"target": arrays["target"], **start})["logits"]}

    inputs = (
        InputSpec(name="target", dtype="int64", dims=("N", "T")),
        InputSpec(name="memory", dtype="float32", dims=("N", "S")),
        InputSpec(name="at", dtype="float32", dims=("N", 1), state_of="at_out"),
    )
    return Formed(main, {"encode": Formed(encode, {}), "step": Formed(step, {}, inputs)})


def test_what_is_written_as_it_should_be_has_100():
    task = made()
    assert task.written(copier()) == LINES
    score = task.score(copier())
    assert (score.value, score.low, score.high) == pytest.approx((100, 100, 100))
    assert (score.n, score.unit, score.higher_is_better) == (7, "BLEU", True)
    assert score.samples.shape == (7, 10)


def test_the_score_is_sacrebleus_own():
    task = made()
    runner = copier(lambda word: WORDS.numbers["a"] if word == WORDS.numbers["e"] else word)
    written = task.written(runner)
    assert written == [line.replace("e", "a") for line in LINES]
    score = task.score(runner)
    assert score.value == pytest.approx(corpus_bleu(written, LINES), rel=1e-9)
    assert 0 < score.low < score.value < score.high <= 100


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(sentences, sentences.filter(bool)), min_size=1, max_size=12), st.integers(0, 2**31))
def test_the_bleu_of_any_part_of_a_corpus_follows_from_its_sentences(pairs, seed):
    written, references = map(list, zip(*pairs, strict=True))
    samples = counted(written, references)
    rows = np.random.default_rng(seed).integers(0, len(pairs), (5, len(pairs)))
    counts = np.stack([np.bincount(r, minlength=len(pairs)) for r in rows])
    wanted = [corpus_bleu([written[i] for i in r], [references[i] for i in r]) for r in rows]
    np.testing.assert_allclose(bleu(counts @ samples), wanted, rtol=1e-9, atol=1e-9)


def test_bleu_by_hand():
    # 3 of 4 words, 1 of 3 pairs, no triple of 2 (counts as 1 / 2), no quadruple of 1 (as 1 / 4); one word is missing
    (found,) = bleu(counted(["a b d c"], ["a b c x e"]))
    assert found == pytest.approx(100 * math.exp(1 - 5 / 4) * (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25)
    assert bleu(counted(["", "x"], ["a b", "c"])).tolist() == [0.0, 0.0]


def test_two_networks_are_compared_on_the_same_sentences():
    task = made()
    worse = task.score(copier(lambda word: 5 if word == 8 else word))
    difference, low, high = paired_difference(task, worse, task.score(copier()))
    assert difference == pytest.approx(100 - worse.value) and 0 < low < difference < high


def test_with_another_network_the_score_is_the_share_of_words_decided_alike():
    task = made()
    score = task.score(copier(lambda word: 4 if word == WORDS.numbers["g"] else word), reference=copier())
    words = sum(len(line.split()) + 1 for line in LINES)  # the end is a decision too
    g = sum(line.count("g") for line in LINES)
    assert (score.value, score.unit, score.n) == (pytest.approx((words - g) / words), "agreement", 7)
    assert score.samples.sum(0).tolist() == [words - g, words] and score.low < score.value < score.high
    assert score.is_fraction
    alone = task.score(copier(), reference=copier())
    assert paired_difference(task, score, alone)[0] == pytest.approx(g / words)


def test_bleu_is_no_fraction_however_low():
    assert not Score(value=0.7, low=0.6, high=0.8, n=500, unit="BLEU").is_fraction


def test_a_runner_without_forms_cannot_write():
    with pytest.raises(DataError, match=r"task 'copy': .* forms encode and step, and this model has main.") as raised:
        made().score(lambda arrays: {"logits": np.zeros((1, 1, 11))})
    assert "cannot be scored by BLEU" in str(raised.value)


def test_a_split_without_references_is_refused():
    with pytest.raises(DataError, match="task 'copy': train has no reference sentences; test have"):
        made().score(copier(), "train")


def test_whatever_the_batches_the_sentences_are_the_same():
    task = made()
    for size in (1, 3, 100):
        assert task.with_batch_size(size).written(copier()) == LINES
    head = replace(task, test=task.test.head(3))
    assert head.score(copier()).n == 3


def test_a_sentence_that_never_ends_is_cut():
    task = replace(made(["a b"]), longest=6)
    assert task.written(copier(lambda word: 4)) == ["a a a a a a"]


def test_the_loss_counts_words_and_not_padding():
    task = replace(made(), label_smoothing=0.0)
    logits = torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[4, 5, 2], [6, IGNORED, IGNORED]])
    logs = logits.log_softmax(-1)
    wanted = -(logs[0, 0, 4] + logs[0, 1, 5] + logs[0, 2, 2] + logs[1, 0, 6]) / 4
    torch.testing.assert_close(task.loss({"logits": logits}, target), wanted)
    smooth = -torch.stack([logs[0, 0], logs[0, 1], logs[0, 2], logs[1, 0]]).mean()
    torch.testing.assert_close(
        replace(task, label_smoothing=0.1).loss({"logits": logits}, target), 0.9 * wanted + 0.1 * smooth
    )
