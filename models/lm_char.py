"""An LSTM that predicts the next character of Shakespeare, from all it has read or one character at a time."""

from __future__ import annotations

from torch import nn

from models import language_model
from models.language_model import LanguageModel
from models.records import Entry, Score, Training
from models.shakespeare import VOCABULARY, task
from models.variations import Initialization, initialize


def build(
    *,
    width: int = 416,
    embedding: int = 64,
    vocabulary: int = 65,
    initialization: Initialization = "torch",
    dropout: float = 0.2,
) -> nn.Module:
    """The network with random weights; `width` is that of the states. Its activations are the cell's own."""
    network = LanguageModel(vocabulary=vocabulary, embedding=embedding, width=width, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=24, embedding=16)


ENTRY = Entry(
    name="lm-char",
    summary="Predicts the next character of Shakespeare; an LSTM, on a whole text or step by step.",
    section="Language models",
    build=build,
    tiny=tiny,
    inputs=(language_model.tokens(len(VOCABULARY)),),
    outputs=(language_model.logits(len(VOCABULARY)),),
    forms={"step": language_model.step(len(VOCABULARY), 416)},
    labels=tuple(VOCABULARY),
    task=task,
    data="tinyshakespeare",
    golden=Score(value=2.3449, low=2.3246, high=2.3647, n=111_488, unit="bits per character", higher_is_better=False),
    params=833_313,
    macs=105_697_280,
    paper="LSTM, Hochreiter & Schmidhuber 1997, with a forget gate (Gers et al. 2000), as a language model, Mikolov et "
    "al. 2010; dropout around the recurrent layer alone, Zaremba et al. 2014 (arXiv:1409.2329)",
    licence="MIT (tinyshakespeare as packaged by A. Karpathy; the text is in the public domain)",
    training=Training(learning_rate=4e-3, weight_decay=0.01, batch_size=32, epochs=4, average=0.99),
    typical={"N": 1, "T": 128},
)
