"""The next reply of a dialogue as a task: what the system says, from the turns before it or from the last one alone.

Contexts are words' numbers of utterances, each with EOS behind its last word, so that an utterance that says nothing
is still one. A batch holds contexts of one number of utterances; the words of a shorter utterance are followed by PAD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from models.dialogues import Dialogue, dialogues, vocabulary
from models.latent_text import LatentNextToken, words_left_out
from models.records import InputSpec, Split
from models.sequence_batches import SequenceBatches, padded
from models.tasks import Array, NextToken
from models.vocabulary import PAD

TURNS = 7  # utterances of a context at most: three exchanges and the question
_EVERY: dict[Split, int] = {"train": 1, "validation": 9, "test": 12}  # one dialogue in so many: about 2,000 replies

Reply = tuple[list[list[str]], list[str]]  # what was said before it, utterance by utterance, and it


def replies(dialogue: Dialogue) -> Iterator[Reply]:
    """Everything the system says, each with the last TURNS utterances before it; the first of them is the user's."""
    said = [words for _, words in dialogue]
    for turn, (speaker, words) in enumerate(dialogue):
        if speaker == "SYSTEM" and turn:
            yield said[max(0, turn - TURNS) : turn], words


def batches(
    rows: Sequence[Reply], names: Sequence[str], *, batch_size: int, alone: bool = False, **more: Any
) -> SequenceBatches:
    """Contexts (U, L), or (L,) of the last utterance `alone`, and replies from BOS on; the target is each next word."""
    words = vocabulary()
    heard: list[Array] = []
    for context, _ in rows:
        numbers = [words.encode(utterance, end=True) for utterance in context]
        heard.append(numbers[-1] if alone else padded(numbers, PAD))
    marked = [words.encode(reply, begin=True, end=True) for _, reply in rows]
    return SequenceBatches(
        inputs={names[0]: heard, names[1]: [row[:-1] for row in marked]},
        target=[row[1:] for row in marked],
        batch_size=batch_size,
        alike=(names[0],),
        **more,
    )


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> NextToken:
    """Predict what the system says next; perplexity per word, the end of the reply being one.

    Validation is every ninth of its dialogues and test every twelfth, 233 and 244: about 2,000 replies each.

    Args:
        batch_size: replies of a batch.
        inputs: of the model. Contexts of three dimensions hold the turns before the reply, of two the last one alone;
            a third input is the noise of a latent variable, which is judged by its bound.
    """
    names = [spec.name for spec in inputs] or ["context", "target"]
    alone = bool(inputs) and len(inputs[0].dims) == 2
    noise = {spec.name: tuple(spec.dims[1:]) for spec in inputs[2:]}
    made = {
        split: batches(
            [row for dialogue in dialogues(split)[::step] for row in replies(dialogue)],
            names,
            batch_size=batch_size,
            alone=alone,
            **({"noise": noise, "change": words_left_out(names[1])} if noise else {}),
        )
        for split, step in _EVERY.items()
    }
    kind = LatentNextToken if noise else NextToken
    return kind(
        name="sgd_dialogues",
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        labels=vocabulary().words,
        unit="perplexity",
    )
