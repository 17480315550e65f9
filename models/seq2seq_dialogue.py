"""One utterance, one reply: a GRU reads what was said last, a GRU writes the answer, and nothing before it is known."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from models.dialogues import LICENCE, vocabulary
from models.hred import LOGITS, TARGET, WORDS, Replier, step, vectors
from models.records import Entry, Form, InputSpec, Score, Training
from models.replies import task
from models.variations import Initialization, initialize


class Seq2SeqDialogue(Replier):
    """(N, L) words of the last utterance, (N, T) of the reply -> (N, T, words) logits of the word after each."""

    def forward(self, context: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits after each word of the reply."""
        return self.step(target, *self.encode(context))[0]

    def encode(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The decoder's first state and what it is told."""
        return self.begin(self.read(context))


def build(
    *,
    width: int = 192,
    embedding: int = 128,
    words: int = WORDS,
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The network with random weights; `width` is that of both states. Its activations are the cells' own."""
    network = Seq2SeqDialogue(words=words, embedding=embedding, width=width, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8, embedding=6)


CONTEXT = InputSpec(name="context", dtype="int64", dims=("N", "L"), high=WORDS)

ENTRY = Entry(
    name="seq2seq-dialogue",
    summary="Replies to what was said last, and to nothing before it; a GRU reads, a GRU writes.",
    section="Dialogue",
    build=build,
    tiny=tiny,
    inputs=(CONTEXT, TARGET),
    outputs=(LOGITS,),
    forms={
        "encode": Form(method="encode", inputs=(CONTEXT,), outputs=vectors(h=192, told=128)),
        "step": step(192, 128),
    },
    labels=vocabulary().words,
    task=partial(task, inputs=(CONTEXT, TARGET)),
    data="sgd_dialogues",
    golden=Score(value=10.0313, low=9.6040, high=10.4624, n=30_891, unit="perplexity", higher_is_better=False),
    params=844_408,
    macs=12_496_896,
    paper="Vinyals & Le 2015 (arXiv:1506.05869), with GRUs (Cho et al. 2014, arXiv:1406.1078) in place of LSTMs; what "
    "was read is the decoder's first state and also added to each word that it reads, and one table of word vectors "
    "serves encoder, decoder and output",
    licence=LICENCE,
    training=Training(learning_rate=3e-3, weight_decay=0.01, batch_size=64, epochs=2, average=0.99),
    typical={"N": 1, "L": 16, "T": 16},
)
