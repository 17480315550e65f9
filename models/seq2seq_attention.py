"""Translation with attention: the decoder looks at every word of the source again, and at some more than at others."""

from __future__ import annotations

import torch
from torch import nn

from models.enja import LICENCE, LOGITS, SOURCE, TARGET, WORDS, task
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.variations import Initialization, initialize


class GlobalAttention(nn.Module):
    """What the decoder says, (N, T, width), meets the memory, (N, S, width): (N, T, width).

    score(h, m) = h^T W m ("general"); the softmax over the source is the weight of each memory, their weighted sum the
    context c; out comes tanh(W_c [c; h]).

    Source: Luong et al. 2015 (arXiv:1508.04025) sec. 3.1, eq. 5, 7 and 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, width, bias=False)
        self.mix = nn.Linear(2 * width, width, bias=False)

    def weights(self, said: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """How much each source word counts for each target word, (N, T, S); a row adds up to 1."""
        found: torch.Tensor = (self.score(said) @ memory.transpose(1, 2)).softmax(-1)
        return found

    def forward(self, said: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """What the decoder says once it has looked."""
        context = self.weights(said, memory) @ memory
        return torch.tanh(self.mix(torch.cat([context, said], -1)))


class Seq2SeqAttention(nn.Module):
    """(N, S) words of the source and (N, T) of the target to (N, T, words) logits of the target word after each.

    The encoder reads from both ends, width / 2 each, so that its memory of a word, (N, S, width), knows what is on
    either side. The decoder begins with what both ends hold at their last word.
    """

    def __init__(self, *, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.source = nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.target = nn.Embedding(words, width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.attention = GlobalAttention(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, words)
        self.head.weight = self.target.weight

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits after each word of the target."""
        return self.step(target, *self.encode(source))[0]

    def encode(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The memory of each word of the source, and the state the decoder begins with."""
        memory, ends = self.encoder(self.dropout(self.source(source)))
        return memory, ends.transpose(0, 1).flatten(1)  # (2, N, width / 2) -> (N, width)

    def step(self, target: torch.Tensor, memory: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after the target words that came now, and the state to hand to the next step."""
        said, h = self._say(target, h)
        return self.head(self.dropout(self.attention(said, memory))), h

    def attend(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weight of each source word for the word after each target word, (N, T, S)."""
        memory, h = self.encode(source)
        return self.attention.weights(self._say(target, h)[0], memory)

    def _say(self, target: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        said, h = self.decoder(self.dropout(self.target(target)), h.unsqueeze(0))
        return self.dropout(said), h.squeeze(0)


def build(
    *, width: int = 128, words: int = WORDS, initialization: Initialization = "torch", dropout: float = 0.2
) -> nn.Module:
    """The network with random weights; `width`, an even number, is that of embeddings, states and memory."""
    network = Seq2SeqAttention(words=words, width=width, dropout=dropout)
    initialize(network, initialization)
    for table in (network.source, network.target):
        nn.init.normal_(table.weight, std=0.1)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, small enough for a test."""
    return build(width=8)


ENTRY = Entry(
    name="seq2seq-attention",
    summary="Translates English into Japanese with attention; it looks back at each word of the source.",
    section="Attention",
    build=build,
    tiny=tiny,
    inputs=(SOURCE, TARGET),
    outputs=(LOGITS,),
    forms={
        "encode": Form(
            method="encode",
            inputs=(SOURCE,),
            outputs=(
                OutputSpec(name="memory", dtype="float32", dims=("N", "S", 128)),
                OutputSpec(name="h", dtype="float32", dims=("N", 128)),
            ),
        ),
        "step": Form(
            method="step",
            inputs=(
                TARGET,
                InputSpec(name="memory", dtype="float32", dims=("N", "S", 128)),
                InputSpec(name="h", dtype="float32", dims=("N", 128), state_of="h_out"),
            ),
            outputs=(LOGITS, OutputSpec(name="h_out", dtype="float32", dims=("N", 128))),
        ),
        "attend": Form(
            method="attend",
            inputs=(SOURCE, TARGET),
            outputs=(OutputSpec(name="attention", dtype="float32", dims=("N", "T", "S")),),
        ),
    },
    task=task,
    data="enja",
    golden=Score(value=28.4862, low=26.4153, high=30.5798, n=500, unit="BLEU"),
    params=1_275_649,
    macs=8_676_864,
    paper="attention, Luong et al. 2015 (arXiv:1508.04025) sec. 3.1, the general score, without input feeding, so "
    "that all words are learned from at once; the encoder reads from both ends, as in Bahdanau et al. 2015 "
    "(arXiv:1409.0473)",
    licence=LICENCE,
    training=Training(learning_rate=2e-3, batch_size=64, epochs=10, average=0.999),
    typical={"N": 1, "S": 8, "T": 12, "P": 6},
)
