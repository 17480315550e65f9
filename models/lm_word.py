"""An LSTM that predicts the next word of what people say to a service, and so completes what they begin to say."""

from __future__ import annotations

from torch import nn

from models import language_model
from models.dialogues import LICENCE, vocabulary
from models.language_model import TiedLanguageModel
from models.records import Entry, Score, Training
from models.utterances import task
from models.variations import Initialization, initialize


def build(
    *,
    width: int = 256,
    embedding: int = 160,
    words: int = 3000,
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The network with random weights; `width` is that of the states. Its activations are the cell's own."""
    network = TiedLanguageModel(vocabulary=words, embedding=embedding, width=width, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=12, embedding=8)


_WORDS = len(vocabulary())

ENTRY = Entry(
    name="lm-word",
    summary="Predicts the next word of an utterance; an LSTM whose output shares the vectors of its input.",
    section="Language models",
    build=build,
    tiny=tiny,
    inputs=(language_model.tokens(_WORDS),),
    outputs=(language_model.logits(_WORDS),),
    forms={"step": language_model.step(_WORDS, 256)},
    labels=vocabulary().words,
    task=task,
    data="sgd_utterances",
    golden=Score(value=11.8341, low=11.4828, high=12.2064, n=52_485, unit="perplexity", higher_is_better=False),
    params=952_152,
    macs=15_151_104,
    paper="LSTM, Hochreiter & Schmidhuber 1997, with a forget gate (Gers et al. 2000), as a language model, Mikolov et "
    "al. 2010; input and output vectors tied, Press & Wolf 2017 (arXiv:1608.05859), through a projection as the states "
    "are wider",
    licence=LICENCE,
    training=Training(learning_rate=3e-3, weight_decay=0.01, batch_size=64, epochs=2, average=0.99),
    typical={"N": 1, "T": 16},
)
