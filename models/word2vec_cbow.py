"""Continuous bag of words: a vector for each word, such that the mean of those around it tells the word."""

from __future__ import annotations

import torch
from torch import nn

from models.dialogues import LICENCE, vocabulary
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.vocabulary import PAD
from models.word_vectors import WINDOW, cbow_task


class BagOfWords(nn.Module):
    """A context (N, C) and words (N, K) -> scores (N, K): how likely each word is where the context stands around.

    The vectors of the context's words are averaged, in whatever order they stand; places that hold PAD do not count. A
    word has two vectors, one as a neighbour and one as the centre. The first are what is kept in the end.
    """

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.word = nn.Embedding(words, width)
        self.centre = nn.Embedding(words, width)
        # as the paper's own program starts: short vectors, and no centre more likely than another
        nn.init.uniform_(self.word.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.centre.weight)

    def forward(self, context: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Scores of the words, (N, K); the probability of word against noise is their sigmoid."""
        vectors = self.word(context)  # (N, C, width)
        real = (context != PAD).to(vectors.dtype).unsqueeze(1)  # (N, 1, C)
        mean = real @ vectors / real.sum(2, keepdim=True).clamp(min=1.0)  # (N, 1, width)
        # (N, 1, width) @ (N, width, K)
        scores: torch.Tensor = mean @ self.centre(words).transpose(1, 2)
        return scores.squeeze(1)

    def vector(self, word: torch.Tensor) -> torch.Tensor:
        """(N,) words -> (N, width) vectors."""
        found: torch.Tensor = self.word(word)
        return found


def build(*, width: int = 64, words: int = 3000) -> nn.Module:
    """The two tables as they start; `width` is that of the vectors."""
    return BagOfWords(words, width).eval()


def tiny() -> nn.Module:
    """The same network with short vectors."""
    return build(width=4)


_WORDS = len(vocabulary())

ENTRY = Entry(
    name="word2vec-cbow",
    summary="A vector for each word, learned by guessing a word from those around it.",
    section="Word vectors",
    build=build,
    tiny=tiny,
    inputs=(
        InputSpec(name="context", dtype="int64", dims=("N", "C"), high=_WORDS),
        InputSpec(name="words", dtype="int64", dims=("N", "K"), high=_WORDS),
    ),
    outputs=(OutputSpec(name="scores", dtype="float32", dims=("N", "K")),),
    forms={
        "vector": Form(
            method="vector",
            inputs=(InputSpec(name="word", dtype="int64", dims=("N",), high=_WORDS),),
            outputs=(OutputSpec(name="vector", dtype="float32", dims=("N", 64), own_width=True),),
        )
    },
    task=cbow_task,
    data="sgd_windows",
    golden=Score(value=0.8976, low=0.8933, high=0.9017, n=20_000, unit="true above noise"),
    params=384_000,
    macs=1024,
    paper="Mikolov et al. 2013 (arXiv:1301.3781), with negative sampling and subsampling, arXiv:1310.4546",
    licence=LICENCE,
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=1024, epochs=6),
    typical={"N": 1, "C": 2 * WINDOW, "K": 6},
)
