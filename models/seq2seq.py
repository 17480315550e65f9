"""Translation through one vector: a GRU reads, what it holds at the end is the thought, and a GRU writes it down."""

from __future__ import annotations

import torch
from torch import nn

from models.enja import LICENCE, LOGITS, SOURCE, TARGET, WORDS, task
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.variations import Initialization, initialize


class Seq2Seq(nn.Module):
    """(N, S) words of the source and (N, T) of the target to (N, T, words) logits of the target word after each.

    The thought vector h, (N, width), is all that the decoder learns of the source.
    """

    def __init__(self, *, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.source = nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.target = nn.Embedding(words, width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, words)
        self.head.weight = self.target.weight

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits after each word of the target."""
        return self.step(target, self.encode(source))[0]

    def encode(self, source: torch.Tensor) -> torch.Tensor:
        """The thought vector of the source."""
        _, h = self.encoder(self.dropout(self.source(source)))
        thought: torch.Tensor = h.squeeze(0)
        return thought

    def step(self, target: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after the target words that came now, and the state to hand to the next step."""
        said, h = self.decoder(self.dropout(self.target(target)), h.unsqueeze(0))
        return self.head(self.dropout(said)), h.squeeze(0)


def build(
    *, width: int = 128, words: int = WORDS, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The network with random weights; `width` is that of the embeddings, the states and the thought vector."""
    network = Seq2Seq(words=words, width=width, dropout=dropout)
    initialize(network, initialization)
    for table in (network.source, network.target):
        nn.init.normal_(table.weight, std=0.1)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, small enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="seq2seq",
    summary="Translates English into Japanese through one vector; a GRU reads, a GRU writes.",
    section="Sequence to sequence",
    build=build,
    tiny=tiny,
    inputs=(SOURCE, TARGET),
    outputs=(LOGITS,),
    forms={
        "encode": Form(
            method="encode", inputs=(SOURCE,), outputs=(OutputSpec(name="h", dtype="float32", dims=("N", 128)),)
        ),
        "step": Form(
            method="step",
            inputs=(TARGET, InputSpec(name="h", dtype="float32", dims=("N", 128), state_of="h_out")),
            outputs=(LOGITS, OutputSpec(name="h_out", dtype="float32", dims=("N", 128))),
        ),
    },
    task=task,
    data="enja",
    golden=Score(value=19.1808, low=17.4843, high=20.9233, n=500, unit="BLEU"),
    params=1_251_073,
    macs=8_259_072,
    paper="GRU encoder-decoder, Cho et al. 2014 (arXiv:1406.1078), where the thought vector is the decoder's first "
    "state and nothing else, as in Sutskever et al. 2014 (arXiv:1409.3215); the source is not reversed; the last layer "
    "shares the target's embedding",
    licence=LICENCE,
    training=Training(learning_rate=2e-3, batch_size=64, epochs=14, average=0.999),
    typical={"N": 1, "S": 8, "T": 12, "P": 6},
)
