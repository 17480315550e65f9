"""tinyshakespeare: 1.1 million characters of plays, the last tenth kept for the test."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.batches import ArrayBatches
from models.datasets import DataSet, read_bytes
from models.errors import DataError
from models.records import InputSpec
from models.tasks import IGNORED, Array, NextToken

# every character of the text, in the order of its code; a character's number is its place here
VOCABULARY = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTEXT = 128


def _convert(fetched: Path, folder: Path) -> None:
    shutil.move(fetched, folder / "input.txt")


TINYSHAKESPEARE = DataSet(
    name="tinyshakespeare",
    sha256={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    address="https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
    convert=_convert,
    licence="MIT (packaging, A. Karpathy); the text is in the public domain",
)


def encode(text: str) -> Array:
    """The numbers of the characters; raises DataError for one that is not in the vocabulary."""
    number = {character: i for i, character in enumerate(VOCABULARY)}
    if unknown := sorted(set(text) - set(number)):
        raise DataError(f"text: the character {unknown[0]!r} is not one of the {len(VOCABULARY)} the network knows.")
    return np.array([number[character] for character in text], np.int64)


def decode(ids: Array) -> str:
    """The characters of these numbers."""
    return "".join(VOCABULARY[int(i)] for i in ids)


def chunks(
    ids: Array, *, name: str, batch_size: int, context: int = CONTEXT, stride: int | None = None
) -> ArrayBatches:
    """Pieces of `context` characters, each with the characters that follow; side by side, or one every `stride`."""
    windows = np.lib.stride_tricks.sliding_window_view(ids, context + 1)[
        :: stride or context
    ]  # a view: (pieces, context + 1)
    return ArrayBatches(inputs={name: windows[:, :-1]}, target=windows[:, 1:], batch_size=batch_size)


def read_once(ids: Array, *, name: str, batch_size: int, context: int = CONTEXT) -> ArrayBatches:
    """Pieces that overlap by half, each scored on its second half alone (the first piece on all of it).

    So every character is predicted once, and from at least half a context: side by side, the first characters of each
    piece would be guessed from nearly nothing. The targets that do not count are IGNORED.
    """
    pieces = chunks(ids, name=name, batch_size=batch_size, context=context, stride=context // 2)
    target = pieces.target.copy()
    target[1:, : context - context // 2] = IGNORED
    return replace(pieces, target=target)


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NextToken:
    """Predict the next character. Test is the last tenth of the text, validation the twentieth before it.

    Training pieces overlap by three quarters, so that a character is seen at four places; an epoch is four readings.
    What is scored is read once, each character from at least half a context, as a device would that keeps the last
    characters at hand.
    """
    name = inputs[0].name if inputs else "ids"
    ids = encode(read_bytes(TINYSHAKESPEARE, "input.txt").decode("ascii"))
    test, validation = len(ids) * 9 // 10, len(ids) * 17 // 20
    return NextToken(
        name="tinyshakespeare",
        labels=tuple(VOCABULARY),
        train=chunks(ids[:validation], name=name, batch_size=batch_size, stride=CONTEXT // 4),
        validation=read_once(ids[validation:test], name=name, batch_size=batch_size),
        test=read_once(ids[test:], name=name, batch_size=batch_size),
    )
