"""Sentences as the words of small_parallel_enja, and its words as sentences again."""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.vocabulary import detokenized

_WORD = re.compile(r"''|\.\.\.|'?[^\W\d_]+(?:-[^\W\d_]+)*|\d+(?:,\d{3})*|[^\w\s]")
_BEGUN = re.compile(r"\s+('[^\W\d_])")  # can 't, i 'm
_I = re.compile(r"\bi\b")
_LATIN = re.compile(r"[A-Za-z0-9]")


def english_words(text: str) -> list[str]:
    """English text as the set has it: lower case, n't and 'm cut before the apostrophe, quotes as two apostrophes.

    >>> english_words("I can't wait.")
    ['i', 'can', "'t", 'wait', '.']
    """
    return _WORD.findall(text.lower().replace("’", "'").replace('"', " '' "))


def english_text(words: Iterable[str]) -> str:
    """English words as text, capitals at the beginning of sentences and for I; names do not get theirs back."""
    joined = _BEGUN.sub(r"\1", " ".join(words)).replace("''", '"')
    return _I.sub("I", detokenized(joined.split(" ")))


def japanese_text(words: Iterable[str]) -> str:
    """Japanese words as text: nothing between them, but a space between two words of Latin letters or digits."""
    text = ""
    for word in words:
        text += f" {word}" if _LATIN.match(text[-1:]) and _LATIN.match(word) else word
    return text
