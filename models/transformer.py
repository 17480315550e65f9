"""Translation by attention alone: the Transformer's encoder and decoder, small."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from models.enja import LICENCE, LOGITS, SOURCE, TARGET, WORDS, task
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


class Position(nn.Module):
    """Sinusoids: position p is (sin(p w_0), ..., cos(p w_0), ...) with w_i = 10000^(-2i / width).

    Computed, so that no length is the longest. Sines come first and cosines after them, which is the paper's order
    with its columns moved: no layer can tell.

    Source: Vaswani et al. 2017 (arXiv:1706.03762) sec. 3.5.
    """

    frequency: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, x: torch.Tensor, before: int = 0) -> torch.Tensor:
        """Adds the T positions after the first `before` to x, (N, T, width)."""
        places = torch.arange(before + x.shape[1], device=x.device)[before:]
        angles = places[:, None].to(x.dtype) * self.frequency
        return x + torch.cat([angles.sin(), angles.cos()], -1)


class Attention(nn.Module):
    """Multi-head attention in three parts, so that keys and values can be kept: `read` and `remember`.

    Source: Vaswani et al. 2017 sec. 3.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def remember(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of what may be read, (N, S, width) each."""
        return self.key(x), self.value(x)

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What x, (N, T, width), reads from them; where the mask (T, S) is false it does not look."""
        query, key, value = (self._split(part) for part in (self.query(x), keys, values))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: torch.Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        # (N, T, width) -> (N, heads, T, size)
        split: torch.Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split


class FeedForward(nn.Module):
    """Two linear layers at each position, (N, T, width) -> (N, T, width). Source: Vaswani et al. 2017 sec. 3.3."""

    def __init__(self, width: int, inner: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.wide = nn.Linear(width, inner)
        self.act = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same at every position."""
        narrow: torch.Tensor = self.narrow(self.dropout(self.act(self.wide(x))))
        return narrow


class EncoderBlock(nn.Module):
    """Self-attention, then feed-forward, each normalized before and added after (pre-norm)."""

    def __init__(self, width: int, heads: int, inner: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, activation, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, S, width) -> (N, S, width); every position reads all."""
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, *self.attention.remember(y)))
        out: torch.Tensor = x + self.dropout(self.feed_forward(self.norm2(x)))
        return out


class DecoderBlock(nn.Module):
    """Masked self-attention, attention to the encoder's memory, feed-forward; normalized and added as the encoder's."""

    def __init__(self, width: int, heads: int, inner: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, activation, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor],
        past: tuple[torch.Tensor, torch.Tensor] | None,
        mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The block's x, (N, T, width), and keys and values of all positions so far, (N, P + T, width) each."""
        y = self.norm1(x)
        keys, values = self.attention.remember(y)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 1), torch.cat([past[1], values], 1)
        x = x + self.dropout(self.attention(y, keys, values, mask))
        x = x + self.dropout(self.cross(self.norm2(x), *memory))
        return x + self.dropout(self.feed_forward(self.norm3(x))), keys, values


class Transformer(nn.Module):
    """(N, S) words of the source and (N, T) of the target to (N, T, words) logits of the target word after each.

    For a step the encoder gives each decoder block the keys and values of its memory, (N, S, width) each; the block's
    own, (N, P, width) for the P words read before, are its state and grow.
    """

    def __init__(
        self, *, words: int, width: int, heads: int, inner: int, blocks: int, activation: Activation, dropout: float
    ) -> None:
        super().__init__()
        sizes = (width, heads, inner, activation, dropout)
        self.scale = math.sqrt(width)
        self.source = nn.Embedding(words, width)
        self.position = Position(width)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(blocks))
        self.memory_norm = nn.LayerNorm(width)
        self.target = nn.Embedding(words, width)
        self.decoder = nn.ModuleList(DecoderBlock(*sizes) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, words)
        self.head.weight = self.target.weight

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Logits after each word of the target."""
        return self._decode(target, self.encode(source), ())[0]

    def encode(self, source: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values of the memory for the first block, for the second, and so on."""
        x = self.dropout(self.position(self.source(source) * self.scale))
        for block in self.encoder:
            x = block(x)
        memory = self.memory_norm(x)
        given: list[torch.Tensor] = []
        for block in self.decoder:
            given += block.get_submodule("cross").remember(memory)  # type: ignore[operator]
        return tuple(given)

    def step(self, target: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits after the target words that came now, and the keys and values to hand to the next step.

        Args:
            target: (N, T).
            given: memory keys and values of each block, then the past keys and values of each block.
        """
        half = len(given) // 2
        return self._decode(target, given[:half], given[half:])

    def _decode(
        self, target: torch.Tensor, memory: tuple[torch.Tensor, ...], past: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        before = past[0].shape[1] if past else 0
        x = self.dropout(self.position(self.target(target) * self.scale, before))
        places = torch.arange(before + target.shape[1], device=x.device)
        mask = places <= places[before:, None]  # (T, P + T): a word reads itself and those before it
        states = []
        for i, block in enumerate(self.decoder):
            pair = slice(2 * i, 2 * i + 2)
            x, keys, values = block(x, memory[pair], past[pair] or None, mask)
            states += [keys, values]
        return self.head(self.norm(x)), *states


def build(
    *,
    width: int = 96,
    heads: int = 4,
    inner: int = 384,
    blocks: int = 2,
    words: int = WORDS,
    activation: Activation = "relu",
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The Transformer with random weights; embeddings start normal with deviation 1 / sqrt(width)."""
    network = Transformer(
        words=words, width=width, heads=heads, inner=inner, blocks=blocks, activation=activation, dropout=dropout
    )
    initialize(network, initialization)
    for table in (network.source, network.target):
        nn.init.normal_(table.weight, std=width**-0.5)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, small enough for a test."""
    return build(width=8, heads=2, inner=16)


def forms(*, width: int = 96, blocks: int = 2) -> dict[str, Form]:
    """What a device runs, `encode` and `step`, of a network of that width and depth."""
    pairs = [f"{part}_{i}" for i in range(blocks) for part in ("key", "value")]
    kept: dict[str, Any] = {"dtype": "float32", "dims": ("N", "S", width)}
    before: dict[str, Any] = {"dtype": "float32", "dims": ("N", "P", width)}
    after: dict[str, Any] = {"dtype": "float32", "dims": ("N", "P+T", width)}
    return {
        "encode": Form(
            method="encode",
            inputs=(SOURCE,),
            outputs=tuple(OutputSpec(name=f"memory_{pair}", **kept) for pair in pairs),
        ),
        "step": Form(
            method="step",
            inputs=(
                TARGET,
                *(InputSpec(name=f"memory_{pair}", **kept) for pair in pairs),
                *(InputSpec(name=pair, state_of=f"{pair}_out", **before) for pair in pairs),
            ),
            outputs=(LOGITS, *(OutputSpec(name=f"{pair}_out", **after) for pair in pairs)),
        ),
    }


ENTRY = Entry(
    name="transformer",
    summary="Translates English into Japanese by attention alone; encoder and decoder.",
    section="Attention",
    build=build,
    tiny=tiny,
    inputs=(SOURCE, TARGET),
    outputs=(LOGITS,),
    forms=forms(),
    task=task,
    data="enja",
    golden=Score(value=32.3798, low=30.1182, high=34.6568, n=500, unit="BLEU"),
    params=1_313_345,
    macs=9_997_440,
    paper="Vaswani et al. 2017 (arXiv:1706.03762), with the normalization before each part instead of after "
    "it; the last layer shares the target's embedding alone",
    licence=LICENCE,
    training=Training(learning_rate=3e-3, batch_size=64, epochs=12, average=0.999),
    typical={"N": 1, "S": 8, "T": 12, "P": 6},
)
