"""Words and their numbers: what text is turned into before a network reads it, and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.errors import DataError
from models.tasks import Array

PAD, BOS, EOS, UNK = range(4)  # padding, begin and end of a sentence, a word that is not in the vocabulary
MARKS = ("<pad>", "<s>", "</s>", "<unk>")
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+|[^\w\s]")
_GLUED = re.compile(r"\s+([.,!?;:)%])|([($])\s+")


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their numbers, the four marks first.

    Raises:
        DataError: a word is there twice, or the marks are not the first.
    """

    words: tuple[str, ...]
    numbers: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", {word: i for i, word in enumerate(self.words)})
        if self.words[: len(MARKS)] != MARKS:
            raise DataError(f"vocabulary: it begins with {self.words[:4]}; the first four must be {MARKS}.")
        if len(self.numbers) != len(self.words):
            twice = next(word for word, n in Counter(self.words).items() if n > 1)
            raise DataError(f"vocabulary: the word {twice!r} is in it twice.")

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, words: Iterable[str], *, begin: bool = False, end: bool = False) -> Array:
        """Numbers of the words, (length,) int64; UNK for one that is not known, as are marks written in text."""
        found = [self.numbers.get(word, UNK) for word in words]
        found = [UNK if n < len(MARKS) else n for n in found]
        return np.array([BOS] * begin + found + [EOS] * end, np.int64)

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Words of the numbers up to the first EOS, without padding and BOS.

        Raises:
            DataError: a number is no word's.
        """
        found: list[str] = []
        for number in map(int, numbers):
            if not 0 <= number < len(self.words):
                raise DataError(f"vocabulary: {number} is no word's number; there are {len(self.words)}.")
            if number == EOS:
                break
            if number not in (PAD, BOS):
                found.append(self.words[number])
        return found


def most_frequent(sentences: Iterable[Sequence[str]], size: int) -> Vocabulary:
    """The vocabulary of the most frequent words, marks included in the size; equal counts in the order of the words."""
    counts = Counter(word for sentence in sentences for word in sentence if word not in MARKS)
    kept = sorted(counts, key=lambda word: (-counts[word], word))[: size - len(MARKS)]
    return Vocabulary((*MARKS, *kept))


def tokenized(text: str) -> list[str]:
    """English text in lower case as words, numbers and single signs; any other signs are words of one sign."""
    return _TOKEN.findall(text.lower().replace("’", "'"))


def detokenized(words: Iterable[str]) -> str:
    """The words as text: signs beside the word before, a capital at the beginning of each sentence.

    It gives back no capitals of names and no spaces that the tokens do not tell.
    """
    text = _GLUED.sub(lambda m: m.group(1) or m.group(2), " ".join(words))
    return re.sub(r"(^|[.!?] )([^\W\d_])", lambda m: m.group(1) + m.group(2).upper(), text)
