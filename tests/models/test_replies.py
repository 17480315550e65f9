import os

import numpy as np
import pytest

from models import find
from models.dialogues import dialogues, vocabulary
from models.latent_text import LatentNextToken
from models.replies import TURNS, batches, replies, task
from models.tasks import IGNORED, NextToken
from models.vocabulary import BOS, EOS, PAD, UNK

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")
SAID = vocabulary().words[10:22]
LONG = [(("USER", "SYSTEM")[i % 2], [word]) for i, word in enumerate(SAID)]


def test_a_reply_knows_seven_utterances_at_most_and_the_first_is_the_users():
    found = list(replies(LONG))
    assert [reply.tolist() for _, reply in found] == [[10 + i, EOS] for i in (1, 3, 5, 7, 9, 11)]
    for context, reply in found:
        place = int(reply[0]) - 10
        first = max(0, place - TURNS)
        assert context.tolist() == [[10 + i, EOS] for i in range(first, place)]
        assert first % 2 == 0


def test_a_system_that_speaks_first_answers_nobody():
    assert list(replies([("SYSTEM", ["hello"]), ("USER", ["hi"])])) == []


def test_each_utterance_ends_with_its_mark_even_where_nothing_is_said():
    word = int(vocabulary().numbers["hotel"])
    turns = [("USER", ["hotel", "hotel"]), ("USER", []), ("USER", ["xyzzy"]), ("SYSTEM", ["hotel"])]
    rows = list(replies(turns))
    ((inputs, target),) = batches(rows, ("context", "target"), batch_size=2)
    assert inputs["context"].tolist() == [[[word, word, EOS], [EOS, PAD, PAD], [UNK, EOS, PAD]]]
    assert inputs["target"].tolist() == [[BOS, word]] and target.tolist() == [[word, EOS]]
    ((alone, target),) = batches(rows, ("context", "target"), batch_size=2, alone=True)
    assert alone["context"].tolist() == [[UNK, EOS]] and target.tolist() == [[word, EOS]]


def test_a_batch_holds_contexts_of_one_number_of_utterances():
    rows = [*replies(LONG), *replies(LONG)]
    made = batches(rows, ("context", "target"), batch_size=3)
    for inputs, target in [*made, *made.epoch(0, 0)]:
        assert (inputs["context"] != PAD).any(-1).all()
        assert ((inputs["target"] == PAD) == (target == IGNORED)).all()


@here
def test_the_task_follows_from_what_a_model_takes():
    kinds = {name: task(batch_size=64, inputs=find(name).inputs) for name in ("seq2seq-dialogue", "hred", "vhred")}
    assert {type(made) for name, made in kinds.items() if name != "vhred"} == {NextToken}
    assert type(kinds["vhred"]) is LatentNextToken
    rows = [said for dialogue in dialogues("test")[::12] for who, said in dialogue if who == "SYSTEM"]
    for made in kinds.values():
        assert [split.rows for split in (made.train, made.validation, made.test)] == [111_878, 2_146, 2_060]
        assert made.unit == "perplexity" and made.labels == vocabulary().words
        for row, reply in zip(made.test.target, rows, strict=True):  # the same rows in the same order
            assert row.tolist() == vocabulary().encode(reply, end=True).tolist()
    last = kinds["hred"].test.inputs["context"][5][-1]
    assert last[last != PAD].tolist() == kinds["seq2seq-dialogue"].test.inputs["context"][5].tolist()
    inputs, _ = next(kinds["vhred"].train.epoch(0, 0))
    assert inputs["noise"].shape == (len(inputs["target"]), 24) and (inputs["target"] == UNK).mean() > 0.05
    assert np.array_equal(next(iter(kinds["vhred"].test))[0]["noise"], next(iter(kinds["vhred"].test))[0]["noise"])
