"""Utterances of the dialogues, one by one, as a language model reads them: the next word, up to the end."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from models.dialogues import dialogues, vocabulary
from models.records import InputSpec, Split
from models.sequence_batches import SequenceBatches
from models.tasks import Array, NextToken

SCORED = 4000  # utterances of validation and of test, drawn once: enough for an interval of about 2 %


@functools.cache
def sentences(split: Split) -> tuple[Array, ...]:
    """The words of every utterance that has any, as numbers (UNK for those outside the vocabulary), in order."""
    encode = vocabulary().encode
    return tuple(encode(words) for dialogue in dialogues(split) for _, words in dialogue if words)


def next_words(said: Sequence[Array], *, name: str, batch_size: int) -> SequenceBatches:
    """Each utterance after BOS to be read, and followed by EOS to be foretold."""
    words = vocabulary()
    begin, end = words.encode([], begin=True), words.encode([], end=True)
    return SequenceBatches(
        inputs={name: [np.concatenate([begin, s]) for s in said]},
        target=[np.concatenate([s, end]) for s in said],
        batch_size=batch_size,
    )


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NextToken:
    """Predict the next word of an utterance, and where it ends; scored by perplexity a word, on a fixed sample.

    EOS counts as a word, and a word outside the vocabulary counts as <unk>, which can be foretold as any other: a
    perplexity with unknown words spelled out would be higher.
    """
    name = inputs[0].name if inputs else "ids"

    def scored(split: Split) -> SequenceBatches:
        said = sentences(split)
        some = np.sort(np.random.default_rng(0).choice(len(said), SCORED, replace=False))
        return next_words([said[i] for i in some], name=name, batch_size=batch_size)

    return NextToken(
        name="sgd_utterances",
        labels=vocabulary().words,
        train=next_words(sentences("train"), name=name, batch_size=batch_size),
        validation=scored("validation"),
        test=scored("test"),
        unit="perplexity",
    )
