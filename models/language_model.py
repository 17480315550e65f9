"""A recurrent language model: one LSTM that reads tokens and predicts the one after each; for characters and words."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.records import Form, InputSpec, OutputSpec


class LanguageModel(nn.Module):
    """(N, T) token numbers -> (N, T, vocabulary) logits of the token after each.

    Source: Mikolov et al. 2010 ("Recurrent neural network based language model", Interspeech), with an LSTM, and with
    dropout before and after it as Zaremba et al. 2014 (arXiv:1409.2329) sec. 3.
    """

    def __init__(self, *, vocabulary: int, embedding: int, width: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self._make_head(vocabulary, embedding, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the next token at every position, from an empty memory."""
        read, _ = self.lstm(self.dropout(self.token(ids)))
        return self.predict(read)

    def step(self, ids: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits after each token that is new, and the states to hand to the next step; h and c are (N, width)."""
        read, (h_out, c_out) = self.lstm(self.dropout(self.token(ids)), (h.unsqueeze(0), c.unsqueeze(0)))
        return self.predict(read), h_out.squeeze(0), c_out.squeeze(0)

    def predict(self, read: torch.Tensor) -> torch.Tensor:
        """What the LSTM says, (N, T, width) -> (N, T, vocabulary)."""
        logits: torch.Tensor = self.head(self.dropout(read))
        return logits

    def _make_head(self, vocabulary: int, embedding: int, width: int) -> None:
        self.head = nn.Linear(width, vocabulary)


class TiedLanguageModel(LanguageModel):
    """The same, but a word's logit is the product of its own vector and what the LSTM says, made as narrow.

    So the largest matrix is there once and not twice.

    Source: Press & Wolf 2017 (arXiv:1608.05859) sec. 3; Inan et al. 2017 (arXiv:1611.01462).
    """

    def predict(self, read: torch.Tensor) -> torch.Tensor:
        """What the LSTM says, (N, T, width) -> (N, T, vocabulary)."""
        return F.linear(self.dropout(self.narrow(read)), self.token.weight, self.bias)

    def _make_head(self, vocabulary: int, embedding: int, width: int) -> None:
        self.narrow = nn.Linear(width, embedding)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.token.weight, std=embedding**-0.5)  # a product of vectors must not start large


def tokens(vocabulary: int) -> InputSpec:
    """What it reads: numbers of tokens, of any length."""
    return InputSpec(name="ids", dtype="int64", dims=("N", "T"), high=vocabulary)


def logits(vocabulary: int) -> OutputSpec:
    """What it gives."""
    return OutputSpec(name="logits", dtype="float32", dims=("N", "T", vocabulary))


def step(vocabulary: int, width: int) -> Form:
    """The form that goes on from a memory: the new tokens and both states to logits and both states after them."""
    return Form(
        method="step",
        inputs=(
            tokens(vocabulary),
            *(InputSpec(name=s, dtype="float32", dims=("N", width), state_of=f"{s}_out") for s in "hc"),
        ),
        outputs=(
            logits(vocabulary),
            *(OutputSpec(name=f"{s}_out", dtype="float32", dims=("N", width)) for s in "hc"),
        ),
    )
