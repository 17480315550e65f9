import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.vocabulary import BOS, EOS, MARKS, PAD, UNK, Vocabulary, detokenized, most_frequent, tokenized

SMALL = Vocabulary((*MARKS, "the", "cat", "."))


def test_words_and_back():
    ids = SMALL.encode(["the", "cat", "sat", "."], begin=True, end=True)
    assert ids.tolist() == [BOS, 4, 5, UNK, 6, EOS] and ids.dtype == "int64"
    assert SMALL.decode([*ids, 5, PAD]) == ["the", "cat", "<unk>", "."]


def test_marks_written_in_a_text_are_no_marks():
    assert SMALL.encode(["</s>", "<pad>", "cat"]).tolist() == [UNK, UNK, 5]


def test_the_empty_sentence():
    assert SMALL.encode([]).tolist() == [] and SMALL.decode([]) == []
    assert tokenized("  \n") == [] and detokenized([]) == ""


def test_a_number_that_is_no_words_is_refused():
    with pytest.raises(DataError, match="99 is no word's number; there are 7"):
        SMALL.decode([4, 99])


def test_a_vocabulary_that_is_none_is_refused():
    with pytest.raises(DataError, match="first four"):
        Vocabulary(("the", "cat"))
    with pytest.raises(DataError, match="'cat' is in it twice"):
        Vocabulary((*MARKS, "cat", "cat"))


def test_the_most_frequent_words_come_first():
    found = most_frequent([["b", "a", "a"], ["c", "b", "a"], ["<unk>"] * 9], 6)
    assert found.words == (*MARKS, "a", "b")


def test_text_and_back():
    text = "I'd like 2 tickets, please (for Friday). Is it 50% off?"
    words = tokenized(text)
    assert words[:5] == ["i'd", "like", "2", "tickets", ","]
    assert detokenized(words) == "I'd like 2 tickets, please (for friday). Is it 50% off?"


@given(st.text())
def test_any_text_is_tokenized_and_tokens_are_stable(text):
    words = tokenized(text)
    assert all(word and not word.isspace() for word in words)
    assert tokenized(" ".join(words)) == words
