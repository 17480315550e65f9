"""A small decoder-only Transformer that predicts the next character of Shakespeare."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from models.records import Entry, InputSpec, OutputSpec, Score, Training
from models.shakespeare import VOCABULARY, task
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


class Attention(nn.Module):
    """Causal self-attention, (N, T, width) -> (N, T, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each position reads itself and those before it."""
        # (N, T, width) -> (N, heads, T, size)
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        read = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: torch.Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then two linear layers, each beside a shortcut and after its normalization."""

    def __init__(self, width: int, heads: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.act = ACTIVATIONS[activation]()
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, width) -> (N, T, width)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: torch.Tensor = x + self.dropout(self.narrow(self.act(self.wide(self.norm2(x)))))
        return out


class Transformer(nn.Module):
    """(N, T) character numbers -> (N, T, vocabulary) logits of the character after each; T is at most `context`."""

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        width: int,
        heads: int,
        blocks: int,
        activation: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, activation, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the next character, at every position."""
        x = self.dropout(self.token(ids) + self.position(torch.arange(ids.shape[1], device=ids.device)))
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x))
        return logits


def build(
    *,
    width: int = 128,
    heads: int = 4,
    blocks: int = 3,
    vocabulary: int = 65,
    context: int = 128,
    activation: Activation = "gelu",
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The Transformer with random weights; embeddings start normal with deviation 0.02, as in GPT-2."""
    network = Transformer(
        vocabulary=vocabulary,
        context=context,
        width=width,
        heads=heads,
        blocks=blocks,
        activation=activation,
        dropout=dropout,
    )
    initialize(network, initialization)
    for table in (network.token, network.position):
        nn.init.normal_(table.weight, std=0.02)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow and shallow enough for a test."""
    return build(width=16, heads=2, blocks=1)


ENTRY = Entry(
    name="transformer-char",
    summary="Predicts the next character of Shakespeare; attention and embeddings.",
    section="Attention",
    build=build,
    tiny=tiny,
    inputs=(InputSpec(name="ids", dtype="int64", dims=("N", "T"), high=len(VOCABULARY)),),
    outputs=(OutputSpec(name="logits", dtype="float32", dims=("N", "T", len(VOCABULARY))),),
    labels=tuple(VOCABULARY),
    task=task,
    data="tinyshakespeare",
    golden=Score(value=2.4764, low=2.4508, high=2.5000, n=111_488, unit="bits per character", higher_is_better=False),
    params=628_161,
    macs=89_145_344,
    paper="Transformer, Vaswani et al. 2017 (arXiv:1706.03762), as a decoder alone with the normalization first, as in "
    "GPT-2; query, key and value are layers of their own, the last layer has a bias and shares no weights",
    licence="MIT (tinyshakespeare as packaged by A. Karpathy; the text is in the public domain)",
    training=Training(learning_rate=2e-3, weight_decay=0.1, batch_size=12, epochs=5, average=0.999),
    typical={"N": 1, "T": 128},
)
