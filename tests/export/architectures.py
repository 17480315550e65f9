"""Small networks of every kind: what the lifter, the checkpoint and the exporter are tried on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.records import InputSpec
from models.recurrent import PeepholeLSTM, SigmoidRNN


@dataclass(frozen=True)
class Architecture:
    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...] = ("y",)
    untrained: frozenset[str] = field(default_factory=frozenset)  # parameters that no gradient reaches by construction

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        module = self.build().eval()
        with torch.no_grad():
            for layer in module.modules():  # statistics as after training, so that a batch norm is no identity
                if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
                    layer.running_mean.normal_(0, 0.2)
                    layer.running_var.uniform_(0.5, 1.5)
        return module


def spec(name: str, *dims: int | str, dtype: str = "float32", high: int | None = None) -> InputSpec:
    return InputSpec(name=name, dtype=dtype, dims=dims, high=high)


IMAGE = (spec("x", "N", 3, 16, 16),)
SEQUENCE = (spec("x", "N", "T", 12),)
WORDS = (spec("words", "N", "T", dtype="int64", high=20),)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.block(x)
        y += x
        return self.fc(F.relu_(y).mean((2, 3)))


class ResidualThroughSlice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.a(x)
        y = self.b(x)
        y[:, :4] += x[:, 4:]
        y[:, 6] = 0
        return self.c(y)


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.drop = nn.Dropout2d(0.2)
        self.out = nn.Conv2d(15, 6, 1)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.out(self.drop(x)).flatten(2).amax(-1)


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Linear(8, 2)
        self.up = nn.Linear(2, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = F.silu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.out(x * gate[:, :, None, None])


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 12, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(12, 5),
    )


def transposed():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GELU(),
        nn.ConvTranspose2d(8, 6, 4, 2, 1),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(6, 6, 3, 2, 1, 1, groups=2),
        nn.PReLU(6),
        nn.Conv2d(6, 3, 3, padding="same"),
        nn.Tanh(),
    )


def conv1d():
    return nn.Sequential(
        nn.Conv1d(12, 8, 5, 2, 2),
        nn.BatchNorm1d(8),
        nn.ELU(),
        nn.Conv1d(8, 8, 3, dilation=2, padding=2, padding_mode="circular"),
        nn.MaxPool1d(2),
        nn.ConvTranspose1d(8, 4, 2, 2),
    )


def conv3d():
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1),
        nn.BatchNorm3d(6),
        nn.ReLU(),
        nn.AvgPool3d(2),
        nn.ConvTranspose3d(6, 3, 2, 2),
        nn.Dropout3d(0.1),
    )


def norms():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3),
        nn.InstanceNorm2d(8, affine=True),
        nn.Mish(),
        nn.Conv2d(8, 4, 1),
        nn.LayerNorm([4, 14, 14]),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.BatchNorm2d(4, affine=False, momentum=None),
    )


class GatedLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(12, 16, 3, padding=1)
        self.fc = nn.Linear(8, 12)
        self.norm = nn.RMSNorm(6)
        self.out = nn.Linear(6, 4)

    def forward(self, x):
        x = F.glu(self.conv(x.transpose(1, 2)), 1).transpose(1, 2)
        a, b = self.fc(x).chunk(2, -1)
        return self.out(self.norm(a * torch.sigmoid(b)))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.c = nn.Conv2d(8, 12, 1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x):
        x = self.b(F.channel_shuffle(self.a(x), 2))
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.up(self.c(x))


def weight_normed():
    return nn.Sequential(
        weight_norm(nn.Conv1d(12, 8, 3, padding=1)),
        nn.ReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Conv1d(8, 4, 1)),
    )


class Transposing(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(1, 2))


class SharedConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.conv(F.relu(self.conv(self.stem(x)))))
        return F.conv2d(x, self.conv.weight, self.conv.bias, stride=2)


class TiedLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("table", torch.randn(32, 8), persistent=False)

    def forward(self, words):
        x = self.embedding(words) + self.table[: words.shape[1]]
        return self.head(torch.tanh(self.fc(x)))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, 2)
        self.words = nn.Embedding(20, 8)
        self.join = nn.Bilinear(8, 8, 6)

    def forward(self, words, x, scale=None):
        a, b = self.image(x).mean((2, 3)), self.words(words).mean(1)
        return self.join(a, b), F.cosine_similarity(a, b)


class Pair(NamedTuple):
    mean: Tensor
    spread: Tensor


class DictOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(12, 8)
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 3), "b": nn.Linear(8, 2)})

    def forward(self, x):
        h = F.dropout(torch.relu(self.trunk(x)), 0.3, self.training)
        return {
            "classes": self.heads["a"](h),
            "box": [self.heads["b"](h), x],
            "moments": Pair(h.mean(-1), h.std(-1)),
            "none": None,
        }


def transformer_encoder():
    layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.place = nn.Parameter(torch.randn(1, 17, 12))
        self.block = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, norm_first=True, activation="gelu")
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.block(x)[:, 0])


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(12)

    def forward(self, x, memory):
        y, weights = self.attention(x, memory, memory)
        return self.norm(x + y), weights


class CausalAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.out = nn.Linear(12, 12)
        self.register_buffer("mask", torch.full((64, 64), -math.inf).triu(1))

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 3, c // 3).permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.einsum("nhtd,nhsd->nhts", q, k) / math.sqrt(c // 3) + self.mask[:t, :t]
        y = F.dropout(scores.softmax(-1), 0.1, self.training) @ v
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out((y + z).transpose(1, 2).reshape(n, t, c))


class HandWrittenCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(12 + 8, 16)
        self.candidate = nn.Parameter(torch.randn(20, 8) / 4)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], 8)
        for t in range(5):
            r, z = torch.sigmoid(self.gates(torch.cat([x[:, t], h], 1))).chunk(2, 1)
            h = (1 - z) * h + z * torch.tanh(torch.cat([x[:, t], r * h], 1) @ self.candidate)
        return self.out(h)


class CellLoop(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRUCell(12, 8)
        self.lstm = nn.LSTMCell(8, 6)
        self.rnn = nn.RNNCell(6, 4, nonlinearity="relu")

    def forward(self, x):
        h, c, s = x.new_zeros(x.shape[0], 8), None, None
        for t in range(4):
            h = self.gru(x[:, t], h)
            c = self.lstm(h, c)
            s = self.rnn(c[0], s)
        return s


class Recurrent(nn.Module):
    def __init__(self, kind, **settings):
        super().__init__()
        self.rnn = kind(12, 8 if not settings.get("proj_size") else 10, batch_first=True, **settings)
        self.head = nn.Linear(16 if settings.get("bidirectional") else 8, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


class Streaming(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 8, 2)
        self.head = nn.Linear(8, 4)

    def forward(self, x, h, c):
        y, (h, c) = self.rnn(x, (h, c))
        return self.head(y[-1]), h, c


class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.encoder = nn.GRU(8, 8, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(16, 8)
        self.decoder = nn.GRU(8, 8, batch_first=True)
        self.attend = nn.Linear(16, 8, bias=False)
        self.out = nn.Linear(16, 20)

    def forward(self, source, target):
        memory, last = self.encoder(self.embedding(source))
        start = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))[None]
        y, _ = self.decoder(self.embedding(target), start)
        keys = self.attend(memory)
        weights = (y @ keys.transpose(1, 2)).softmax(-1)
        return self.out(torch.cat([y, weights @ keys], -1))


class Word2Vec(nn.Module):
    def __init__(self):
        super().__init__()
        self.centre = nn.Embedding(20, 6)
        self.context = nn.Embedding(20, 6)

    def forward(self, centre, context):
        return (self.centre(centre).unsqueeze(1) * self.context(context)).sum(-1)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Linear(8, 12))

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        a = F.relu(self.down(x), inplace=True)
        b = F.relu(self.mid(F.max_pool2d(a, 2)))
        b = F.interpolate(b, scale_factor=2, mode="nearest")
        return self.up(torch.cat([a, F.pad(b, (0, 0, 0, 0))], 1)).sigmoid()


ARCHITECTURES = [
    Architecture("residual", Residual, IMAGE),
    Architecture("residual-slice", ResidualThroughSlice, IMAGE),
    Architecture("concat", Concat, IMAGE),
    Architecture("squeeze-excite", SqueezeExcite, IMAGE),
    Architecture("depthwise", depthwise, IMAGE),
    Architecture("transposed", transposed, IMAGE),
    Architecture("conv1d", lambda: Transposing(conv1d()), SEQUENCE),
    Architecture("conv3d", conv3d, (spec("x", "N", 2, 4, 8, 8),)),
    Architecture("norms", norms, IMAGE),
    Architecture("glu", GatedLinear, SEQUENCE),
    Architecture("shuffle", Shuffle, (spec("x", "N", 3, "H", "W"),)),
    Architecture("weight-norm", lambda: Transposing(weight_normed()), SEQUENCE),
    Architecture("shared", SharedConv, IMAGE),
    Architecture("tied", TiedLanguageModel, WORDS),
    Architecture(
        "two-inputs", TwoInputs, (spec("words", "N", 7, dtype="int64", high=20), IMAGE[0]), ("output_0", "output_1")
    ),
    Architecture(
        "dict", DictOutput, (spec("x", "N", 12),), ("classes", "box_0", "box_1", "moments_mean", "moments_spread")
    ),
    Architecture("transformer", transformer_encoder, (spec("src", "N", "T", 12),)),
    Architecture("vit", Vit, IMAGE),
    Architecture(
        "cross-attention", CrossAttention, (SEQUENCE[0], spec("memory", "N", "S", 12)), ("output_0", "output_1")
    ),
    Architecture("causal", CausalAttention, SEQUENCE),
    Architecture("hand-written-cell", HandWrittenCell, (spec("x", "N", 5, 12),)),
    Architecture("cells", CellLoop, (spec("x", "N", 4, 12),)),
    Architecture("rnn", lambda: Recurrent(nn.RNN), SEQUENCE),
    Architecture("gru", lambda: Recurrent(nn.GRU, num_layers=2, dropout=0.2), SEQUENCE),
    Architecture("lstm", lambda: Recurrent(nn.LSTM, bidirectional=True), SEQUENCE),
    Architecture("peephole", lambda: Recurrent(PeepholeLSTM), SEQUENCE),
    Architecture("carousel", lambda: Recurrent(PeepholeLSTM, forget_gate=False), SEQUENCE),
    Architecture("sigmoid-rnn", lambda: Recurrent(SigmoidRNN), SEQUENCE),
    Architecture("gru-both", lambda: Recurrent(nn.GRU, bidirectional=True, num_layers=2), SEQUENCE),
    Architecture("projection", lambda: Recurrent(nn.LSTM, proj_size=8), SEQUENCE),
    Architecture(
        "streaming",
        Streaming,
        (spec("x", "T", "N", 12), spec("h", 2, "N", 8), spec("c", 2, "N", 8)),
        ("output_0", "output_1", "output_2"),
    ),
    Architecture(
        "encoder-decoder",
        EncoderDecoder,
        (spec("source", "N", "S", dtype="int64", high=20), spec("target", "N", "T", dtype="int64", high=20)),
    ),
    Architecture(
        "word2vec",
        Word2Vec,
        (spec("centre", "N", dtype="int64", high=20), spec("context", "N", "K", dtype="int64", high=20)),
    ),
    Architecture("autoencoder", Autoencoder, (spec("x", "N", 12),)),
    Architecture("unet", Unet, (spec("x", "N", 3, "H", "W"),)),
]
