"""Ten networks of random weights, one of each kind that is quantized, as a user of torch writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.wrap import Model
from models import records
from models.records import Arrays, InputSpec, example

_SEEN, _BATCH = 40, 8  # 320 samples: as many as are calibrated with, and a quarter more to judge on


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network, what it takes, and the usual length where that is free."""

    name: str
    build: Callable[[], nn.Module]
    dims: tuple[int | str, ...]
    dtype: str = "float32"
    high: int | None = None
    typical: Mapping[str, int] = field(default_factory=lambda: {"N": 1})

    @property
    def spec(self) -> InputSpec:
        """Its one input."""
        return InputSpec(name="x", dtype=self.dtype, dims=self.dims, high=self.high)

    def batches(self, seed: int = 1) -> Iterator[Arrays]:
        """Random samples, the same ones for the same seed.

        Noise alone would be the same to whatever takes a mean of it: each sample has a colour of its own, a level for
        each channel of a picture and each feature of a frame.
        """
        for number in range(_SEEN):
            noise = example([self.spec], {**self.typical, "N": _BATCH}, seed=1000 * seed + number)["x"]
            if noise.dtype == np.float32 and noise.ndim > 2:
                rng = np.random.default_rng(1000 * seed + number + _SEEN)
                levels = (*noise.shape[:2], 1, 1) if noise.ndim == 4 else (noise.shape[0], 1, noise.shape[2])
                noise = noise + rng.standard_normal(levels).astype(np.float32)
            yield {"x": noise}

    def module(self, seed: int = 0) -> nn.Module:
        """The same weights for the same seed, and statistics of its own data as after some training."""
        torch.manual_seed(seed)
        module = self.build()
        _settle(module, torch.from_numpy(np.concatenate([batch["x"] for batch in self.batches(seed=2)])))
        return module.eval()

    def model(self) -> records.Model:
        """The module, lifted."""
        return Model(self.module(), [self.spec], typical=self.typical, name=self.name)


@torch.no_grad()
def _settle(module: nn.Module, data: Tensor) -> None:
    """Norms whose statistics are those of the data, and that leave most of what passes above zero.

    Around zero a deep network of random weights is chaos, which no trained one is: each ReLU that is cut in the middle
    makes rounding grow, and of a MobileNet even half precision left 27 dB. Without statistics of its own its answers
    hardly differ from sample to sample.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.ones_(norm.bias)
        norm.momentum = None  # a plain mean: of this one batch
        norm.train()
    if norms:
        module(data)


def _conv(i: int, o: int, kernel: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    layer = nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(o), nn.ReLU())


def _separable(i: int, o: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(i, i, 3, stride, groups=i), _conv(i, o, 1))


def _pooled(width: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


class _Block(nn.Module):
    """Two convolutions beside a shortcut, projected where the shape changes."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(i, o, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if i == o else nn.Conv2d(i, o, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.short(x))


def resnet8() -> nn.Module:
    """MLPerf Tiny's image classifier: three residual stages."""
    return nn.Sequential(_conv(3, 16), _Block(16, 16, 1), _Block(16, 32, 2), _Block(32, 64, 2), *_pooled(64, 10))


def mobilenet() -> nn.Module:
    """MobileNet V1 at a quarter of its width, MLPerf Tiny's person detector. Howard et al. 2017 (arXiv:1704.04861)."""
    widths = [8, 16, 32, 32, 64, 64, *[128] * 6, 256, 256]
    strides = [1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1]
    blocks = [_separable(i, o, stride) for (i, o), stride in zip(pairwise(widths), strides, strict=True)]
    return nn.Sequential(_conv(3, 8, 3, 2), *blocks, *_pooled(256, 2))


def dscnn() -> nn.Module:
    """MLPerf Tiny's keyword spotter: four depthwise-separable convolutions."""
    return nn.Sequential(_conv(1, 64, (10, 4), 2), *(_separable(64, 64) for _ in range(4)), *_pooled(64, 12))


def autoencoder() -> nn.Module:
    """MLPerf Tiny's anomaly detector: dense layers around a narrow code."""
    layers: list[nn.Module] = []
    for i, o in pairwise([640, *[128] * 4, 8, *[128] * 4]):
        layers += [nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640))


def vgg() -> nn.Module:
    """Plain convolutions, wide enough to be worth a matrix product."""
    layers: list[nn.Module] = []
    for i, o in pairwise([3, 64, 128, 256]):
        layers += [_conv(i, o), _conv(o, o), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, *_pooled(256, 10))


class Reader(nn.Module):
    """(N, T, features) -> (N, classes) by a recurrent layer: what it knows at the end."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 12)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each sequence."""
        logits: Tensor = self.head(self.layer(x)[0][:, -1])
        return logits


class Encoder(nn.Module):
    """(N, T) words -> (N, classes) by attention: three layers of torch's own encoder, their mean."""

    def __init__(self, *, words: int = 1000, width: int = 128, longest: int = 128) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(0.1 * torch.randn(longest, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(width, 12)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each text."""
        logits: Tensor = self.head(self.encoder(self.words(x) + self.places[: x.shape[1]]).mean(1))
        return logits


_FRAMES: Any = {"dims": ("N", "T", 40), "typical": {"N": 1, "T": 50}}
NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(name="random resnet8", build=resnet8, dims=("N", 3, 32, 32)),
        Network(name="random mobilenet", build=mobilenet, dims=("N", 3, 96, 96)),
        Network(name="random dscnn", build=dscnn, dims=("N", 1, 49, 10)),
        Network(name="random autoencoder", build=autoencoder, dims=("N", 640)),
        Network(name="random vgg", build=vgg, dims=("N", 3, 32, 32)),
        Network(name="random rnn", build=lambda: Reader(nn.RNN(40, 256, batch_first=True)), **_FRAMES),
        Network(name="random lstm", build=lambda: Reader(nn.LSTM(40, 256, batch_first=True)), **_FRAMES),
        Network(name="random gru", build=lambda: Reader(nn.GRU(40, 256, batch_first=True)), **_FRAMES),
        Network(
            name="random bilstm",
            build=lambda: Reader(nn.LSTM(40, 128, num_layers=2, batch_first=True, bidirectional=True)),
            **_FRAMES,
        ),
        Network(
            name="random encoder",
            build=Encoder,
            dims=("N", "T"),
            dtype="int64",
            high=1000,
            typical={"N": 1, "T": 64},
        ),
    )
}
