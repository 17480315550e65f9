import os

import pytest

from models.datasets import read_bytes
from models.enja import ENJA
from models.enja_text import english_text, english_words, japanese_text

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't tell, he'll be 21.", "i can 't tell , he 'll be 21 ."),
        ('He said, "It’s a good-bye."', "he said , '' it 's a good-bye . ''"),
        ("10,000 yen... really?", "10,000 yen ... really ?"),
        ("", ""),
    ],
)
def test_text_becomes_the_words_of_the_set(text, words):
    assert english_words(text) == words.split()


def test_words_become_text():
    assert english_text("i can 't tell . i 'm in , ok ?".split()) == "I can't tell. I'm in, ok?"
    assert japanese_text("私 は テニス 部員 で す 。".split()) == "私はテニス部員です。"
    assert japanese_text("彼 は new york 3 へ 。".split()) == "彼はnew york 3へ。"
    assert english_text([]) == japanese_text([]) == ""


@here
def test_the_words_of_nearly_every_sentence_are_found_in_its_text_again():
    lines = [line.split() for line in read_bytes(ENJA, "train.en").decode().splitlines()]
    again = sum(english_words(english_text(line)) == line for line in lines)
    assert again / len(lines) > 0.995  # what is left are points that belong to a word, as in mr.
