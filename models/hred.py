"""The next reply of a dialogue, hierarchically: one GRU reads words, one reads utterances, one writes the reply."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from models.dialogues import LICENCE, vocabulary
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.replies import task
from models.variations import Initialization, initialize
from models.vocabulary import PAD

WORDS = 3000


class Replier(nn.Module):
    """What the dialogue networks share: a GRU that reads utterances, and one that writes a reply it is told about.

    One table of word vectors serves both and the output, whose logits are products with it.

    Source: shared vectors, Press & Wolf 2017 (arXiv:1608.05859).
    """

    def __init__(self, *, words: int, embedding: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(words, embedding)
        self.encoder = nn.GRU(embedding, width, batch_first=True)
        self.start = nn.Linear(width, width)
        self.tell = nn.Linear(width, embedding)
        self.decoder = nn.GRU(embedding, width, batch_first=True)
        self.narrow = nn.Linear(width, embedding)
        self.bias = nn.Parameter(torch.zeros(words))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.word.weight, std=embedding**-0.5)  # a product of vectors must not start large

    def step(self, target: torch.Tensor, h: torch.Tensor, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after the words of the reply that came now, and the state to hand to the next step.

        Args:
            target: (N, T).
            h: (N, width).
            told: (N, embedding), added to each word, so that what the reply is about is not forgotten.
        """
        words = self.dropout(self.word(target) + told.unsqueeze(1))
        said, h = self.decoder(words, h.unsqueeze(0))
        logits = F.linear(self.dropout(self.narrow(said)), self.word.weight, self.bias)
        return logits, h.squeeze(0)

    def read(self, utterance: torch.Tensor) -> torch.Tensor:
        """(N, L) words -> (N, width), the state after the last of them that is no padding."""
        words, real = self.dropout(self.word(utterance)), utterance.ne(PAD)
        if self.training:  # utterances of all lengths lie in one batch, and packed, a step takes 0.6 of the time
            packed = pack_padded_sequence(words, real.sum(1).clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            _, h = self.encoder(packed)
            read: torch.Tensor = h.squeeze(0) * real[:, :1]
            return read
        return last(self.encoder(words)[0], real)

    def begin(self, heard: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From the state that holds what was heard, (N, width), the decoder's first state h and what it is told."""
        return self.start(heard).tanh(), self.tell(heard)


def last(states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Of states (N, L, width) the last that is real, (N, width); zero where none is."""
    chosen = real & (real.cumsum(1) == real.sum(1, keepdim=True))
    return (states * chosen.unsqueeze(-1)).sum(1)


class Hred(Replier):
    """(N, U, L) words of the utterances before, (N, T) of the reply -> (N, T, words) logits of the word after each.

    Source: Sordoni et al. 2015 (arXiv:1507.02221) sec. 3.
    """

    def __init__(self, *, words: int, embedding: int, width: int, dropout: float) -> None:
        super().__init__(words=words, embedding=embedding, width=width, dropout=dropout)
        self.context = nn.GRU(width, width, batch_first=True)

    def forward(self, context: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits after each word of the reply."""
        return self.step(target, *self.begin(self.hear(context)))[0]

    def listen(self, context: torch.Tensor, h_context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The utterances that came now: the state to hand on, and what a reply to them begins with."""
        heard = self.hear(context, h_context.unsqueeze(0))
        return heard, *self.begin(heard)

    def hear(self, context: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """(N, U, L) -> (N, width), the state after the last utterance; one that is padding is passed over."""
        utterances = self.read(context.flatten(0, 1)).unflatten(0, (-1, context.shape[1]))
        states, _ = self.context(self.dropout(utterances), state)
        return last(states, context.ne(PAD).any(-1))


def build(
    *,
    width: int = 192,
    embedding: int = 128,
    words: int = WORDS,
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The network with random weights; `width` is that of all three states. Its activations are the cells' own."""
    network = Hred(words=words, embedding=embedding, width=width, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8, embedding=6)


CONTEXT = InputSpec(name="context", dtype="int64", dims=("N", "U", "L"), high=WORDS)
TARGET = InputSpec(name="target", dtype="int64", dims=("N", "T"), high=WORDS)
LOGITS = OutputSpec(name="logits", dtype="float32", dims=("N", "T", WORDS))


def state(name: str, width: int) -> InputSpec:
    """A state that goes on from step to step."""
    return InputSpec(name=name, dtype="float32", dims=("N", width), state_of=f"{name}_out")


def vectors(**widths: int) -> tuple[OutputSpec, ...]:
    """Outputs (N, width) each."""
    return tuple(OutputSpec(name=name, dtype="float32", dims=("N", width)) for name, width in widths.items())


def step(width: int, embedding: int) -> Form:
    """The form that writes: the reply's new words, the state before them and the tidings, to logits and the state."""
    told = InputSpec(name="told", dtype="float32", dims=("N", embedding))
    return Form(method="step", inputs=(TARGET, state("h", width), told), outputs=(LOGITS, *vectors(h_out=width)))


ENTRY = Entry(
    name="hred",
    summary="Replies to a dialogue of several turns; one GRU over words, one over utterances, one that writes.",
    section="Dialogue",
    build=build,
    tiny=tiny,
    inputs=(CONTEXT, TARGET),
    outputs=(LOGITS,),
    forms={
        "listen": Form(
            method="listen",
            inputs=(CONTEXT, state("h_context", 192)),
            outputs=vectors(h_context_out=192, h=192, told=128),
        ),
        "step": step(192, 128),
    },
    labels=vocabulary().words,
    task=partial(task, inputs=(CONTEXT, TARGET)),
    data="sgd_dialogues",
    golden=Score(value=9.6234, low=9.2111, high=10.1048, n=30_891, unit="perplexity", higher_is_better=False),
    params=1_066_744,
    macs=31_739_904,
    paper="Sordoni et al. 2015 (arXiv:1507.02221); here what the context says is also added to each word that the "
    "decoder reads, one table of word vectors serves encoder, decoder and output, and the output has one linear layer",
    licence=LICENCE,
    training=Training(learning_rate=3e-3, weight_decay=0.01, batch_size=64, epochs=2, average=0.99),
    typical={"N": 1, "U": 7, "L": 16, "T": 16},
)
