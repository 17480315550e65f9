"""Skip-gram: a vector for each word, such that it tells which words stand near it."""

from __future__ import annotations

import torch
from torch import nn

from models.dialogues import LICENCE, vocabulary
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.word_vectors import skipgram_task


class SkipGram(nn.Module):
    """A centre (N,) and words (N, K) -> the product of their vectors, (N, K): how likely each stands near the centre.

    A word has two vectors, one as a centre and one as a neighbour. The first are what is kept in the end.
    """

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.word = nn.Embedding(words, width)
        self.neighbour = nn.Embedding(words, width)
        # as the paper's own program starts: short vectors, and no neighbour more likely than another
        nn.init.uniform_(self.word.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.neighbour.weight)

    def forward(self, centre: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Scores of the words, (N, K); the probability of word against noise is their sigmoid."""
        # (N, 1, width) @ (N, width, K)
        scores: torch.Tensor = self.word(centre).unsqueeze(1) @ self.neighbour(words).transpose(1, 2)
        return scores.squeeze(1)

    def vector(self, word: torch.Tensor) -> torch.Tensor:
        """(N,) words -> (N, width) vectors."""
        found: torch.Tensor = self.word(word)
        return found


def build(*, width: int = 64, words: int = 3000) -> nn.Module:
    """The two tables as they start; `width` is that of the vectors."""
    return SkipGram(words, width).eval()


def tiny() -> nn.Module:
    """The same network with short vectors."""
    return build(width=4)


_WORDS = len(vocabulary())

ENTRY = Entry(
    name="word2vec-skipgram",
    summary="A vector for each word, learned from which words stand near it.",
    section="Word vectors",
    build=build,
    tiny=tiny,
    inputs=(
        InputSpec(name="centre", dtype="int64", dims=("N",), high=_WORDS),
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
    task=skipgram_task,
    data="sgd_pairs",
    golden=Score(value=0.7851, low=0.7794, high=0.7907, n=20_000, unit="true above noise"),
    params=384_000,
    macs=384,
    paper="Mikolov et al. 2013 (arXiv:1301.3781), with negative sampling and subsampling, arXiv:1310.4546",
    licence=LICENCE,
    training=Training(learning_rate=1e-2, weight_decay=0.0, batch_size=4096, epochs=4),
    typical={"N": 1, "K": 6},
)
