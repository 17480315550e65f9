import json

import numpy as np
import pytest
from matplotlib import font_manager

from benchmarks import pictures_translation, translation
from models.errors import CompressError
from tests.models.test_translation import LINES, copier, made

KEPT = json.loads(translation.RESULT.read_text(encoding="utf-8"))


def test_a_beam_writes_what_greedy_does_where_that_is_sure():
    task = made()
    assert translation.beamed(task, copier()) == task.written(copier()) == LINES


def test_the_parts_by_length_are_the_whole(monkeypatch):
    monkeypatch.setattr(translation, "LENGTHS", ((1, 2), (3, 6)))
    task = made()
    score = translation.scored(task, [line.replace("e", "a") for line in LINES])
    parts = translation.by_length(task, score)
    short = [len(line.split()) <= 2 for line in LINES]
    assert parts["1-2"].n == sum(short) and parts["3-6"].n == len(LINES) - sum(short)
    np.testing.assert_array_equal(parts["1-2"].samples, score.samples[short])
    found = translation.difference(task, score, translation.scored(task, LINES))
    assert found["BLEU"] == pytest.approx(100 - score.value) and found["low"] < found["BLEU"]


def test_what_was_measured_keeps_the_issues_marks():
    greedy = {name: KEPT["greedy"][name]["value"] for name in translation.MODELS}
    assert greedy["seq2seq-attention"] >= greedy["seq2seq"] + 3 and greedy["transformer"] > greedy["seq2seq-attention"]
    # and are no accident of these sentences: the paired intervals are above 0
    assert KEPT["differences"]["seq2seq-attention - seq2seq"]["low"] > 3
    assert KEPT["differences"]["transformer - seq2seq-attention"]["low"] > 0
    for name in translation.MODELS:
        assert sum(part["n"] for part in KEPT["greedy_by_length"][name].values()) == 500 == KEPT["greedy"][name]["n"]
    assert KEPT["machine"]["processor"] and KEPT["versions"]["sacrebleu"] and KEPT["command"]


def test_the_sentences_are_a_table_of_words_and_text():
    lines = translation.table(KEPT, "transformer").splitlines()
    assert len(lines) == 2 + len(translation.SHOWN) and {line.count(" | ") for line in lines[2:]} == {4}
    assert "`you must be back before ten .` You must be back before ten." in lines[2]


def test_a_machine_without_japanese_letters_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    with pytest.raises(
        CompressError, match=r"none of the fonts Noto Sans CJK JP, .* Install one, such as fonts-ipafont"
    ):
        pictures_translation.japanese_font()
