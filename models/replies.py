"""The next reply of a dialogue as a task: what the system says, from the turns before it or from the last one alone.

Contexts are words' numbers of utterances, each with EOS behind its last word, so that an utterance that says nothing
is still one. A batch holds contexts of one number of utterances; the words of a shorter utterance are followed by PAD.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from models.dialogues import Dialogue, dialogues, vocabulary
from models.latent_text import LatentNextToken, words_left_out
from models.records import InputSpec, Split
from models.sequence_batches import SequenceBatches, padded
from models.tasks import Array, NextToken
from models.vocabulary import BOS, PAD

TURNS = 7  # utterances of a context at most: three exchanges and the question
EVERY: dict[Split, int] = {"train": 1, "validation": 9, "test": 12}  # one dialogue in so many: about 2,000 replies

Row = tuple[Array, Array]  # a context, (utterances, words), and the reply to it, both with EOS at their ends


def replies(dialogue: Dialogue) -> Iterator[Row]:
    """Everything the system says, each with the last TURNS utterances before it; the first of them is the user's."""
    words = vocabulary()
    numbers = [words.encode(said, end=True) for _, said in dialogue]
    whole, lengths = padded(numbers, PAD), [len(one) for one in numbers]
    for turn, (speaker, _) in enumerate(dialogue):
        if speaker == "SYSTEM" and turn:
            first = max(0, turn - TURNS)
            yield whole[first:turn, : max(lengths[first:turn])], numbers[turn]


def batches(
    rows: Iterable[Row], names: Sequence[str], *, batch_size: int, alone: bool = False, **more: Any
) -> SequenceBatches:
    """Contexts (U, L), or (L,) of the last utterance `alone`, and replies from BOS on; the target is each next word."""
    heard, said = zip(*rows, strict=True)
    begin = np.array([BOS])
    return SequenceBatches(
        inputs={
            names[0]: [_last(context) for context in heard] if alone else heard,
            names[1]: [np.concatenate((begin, reply[:-1])) for reply in said],
        },
        target=said,
        batch_size=batch_size,
        alike=(names[0],),
        **more,
    )


def _last(context: Array) -> Array:
    return context[-1, : np.count_nonzero(context[-1] != PAD)]


@functools.cache
def _rows(split: Split) -> list[Row]:
    return [row for dialogue in dialogues(split)[:: EVERY[split]] for row in replies(dialogue)]


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NextToken:
    """Predict what the system says next; perplexity per word, the end of the reply being one.

    Validation is every ninth of its dialogues and test every twelfth, 234 and 244: about 2,000 replies each.

    Args:
        batch_size: replies of a batch.
        inputs: of the model. Contexts of three dimensions hold the turns before the reply, of two the last one alone;
            a third input is the noise of a latent variable, which is judged by its bound.
    """
    names = [spec.name for spec in inputs] or ["context", "target"]
    alone = bool(inputs) and len(inputs[0].dims) == 2
    noise = {spec.name: tuple(spec.dims[1:]) for spec in inputs[2:]}
    more: dict[str, Any] = {"noise": noise, "change": words_left_out(names[1])} if noise else {}
    made = {split: batches(_rows(split), names, batch_size=batch_size, alone=alone, **more) for split in EVERY}
    kind = LatentNextToken if noise else NextToken
    return kind(
        name="sgd_dialogues",
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        labels=vocabulary().words,
        unit="perplexity",
    )
