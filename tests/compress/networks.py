"""Small networks of the kinds that are hard to prune: each ties its dimensions in a way of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from models.records import InputSpec
from models.recurrent import PeepholeLSTM, SigmoidRNN


@dataclass(frozen=True)
class Network:
    """One network; `averaged` names the layers whose units a mean by hand runs over, so that none may be missing."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[InputSpec, ...]
    averaged: tuple[str, ...] = ()

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        module = self.build().eval()
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
                    layer.running_mean.normal_(0, 0.2)
                    layer.running_var.uniform_(0.5, 1.5)
        return module


def spec(name, *dims, dtype="float32", high=None):
    return InputSpec(name=name, dtype=dtype, dims=dims, high=high)


IMAGE = (spec("x", "N", 3, 16, 16),)
FRAMES = (spec("x", "N", "T", 10),)
WORDS = (spec("words", "N", "T", dtype="int64", high=30),)


def conv_norm(inputs, outputs, kernel=3, **settings):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **settings), nn.BatchNorm2d(outputs)
    )


class Inverted(nn.Module):
    """MobileNetV2: expand, depthwise, project, beside a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                conv_norm(8, 24, 1), nn.ReLU6(), conv_norm(24, 24, groups=24), nn.ReLU6(), conv_norm(24, 8, 1)
            )
            for _ in range(2)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PaddedShortcut(nn.Module):
    """ResNet-20's shortcut A: every other pixel, and zeros for the channels that are new."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.a, self.b = conv_norm(8, 16, stride=2), conv_norm(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.b(F.relu(self.a(x)))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """DenseNet: every layer sees all before it, through a norm over the whole concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        widths = [8, 16, 24]
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
        self.convs = nn.ModuleList(nn.Conv2d(w, 8, 3, padding=1) for w in widths)
        self.last = nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 4, 5)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.head(F.adaptive_avg_pool2d(F.relu(self.last(x)), 2).flatten(1))


class Grouped(nn.Module):
    """ResNeXt: grouped convolutions between pointwise ones, group normalization, a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.down = nn.Conv2d(16, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(4, 16)
        self.up = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.up(F.silu(self.norm(self.grouped(self.down(x)))))
        return self.head(x.mean((2, 3)))


class ShuffleUnit(nn.Module):
    """ShuffleNetV2: half passes, half is convolved, then both are interleaved."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 8, 1)
            )
            for _ in range(2)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for branch in self.branches:
            a, b = x.chunk(2, 1)
            x = torch.cat([a, branch(b)], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x.mean((2, 3)))


class ConvNext(nn.Module):
    """Channels last in the middle, a scale of its own for each channel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.spatial = nn.Conv2d(12, 12, 7, padding=3, groups=12)
        self.norm = nn.LayerNorm(12)
        self.wide, self.narrow = nn.Linear(12, 48), nn.Linear(48, 12)
        self.scale = nn.Parameter(torch.rand(12))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.spatial(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y)))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Channels that are weighed by a gate computed from all of them."""

    def __init__(self):
        super().__init__()
        self.conv = conv_norm(3, 16)
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.out = nn.Conv2d(16, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.silu(self.conv(x))
        x = x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(F.relu(self.out(x)).mean((2, 3)))


class Unet(nn.Module):
    """A contracting and an expanding path, joined by concatenation."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.low = conv_norm(3, 8), conv_norm(8, 16), conv_norm(16, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.join = conv_norm(16, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = F.relu(self.one(x))
        b = F.relu(self.low(F.relu(self.two(F.max_pool2d(a, 2)))))
        return self.out(F.relu(self.join(torch.cat([self.up(b), a], 1))))


class SuperResolution(nn.Module):
    """Channels become pixels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.c = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        x = F.pixel_shuffle(self.b(F.relu(self.a(x))), 2)
        return F.pixel_shuffle(self.c(F.relu(x)), 2)


class Pyramid(nn.Module):
    """A detector's pyramid: features of two scales added, one head for both."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.p1, self.p2 = nn.Conv2d(8, 12, 1), nn.Conv2d(16, 12, 1)
        self.tower = nn.Conv2d(12, 12, 3, padding=1)
        self.box, self.kind = nn.Conv2d(12, 8, 1), nn.Conv2d(12, 6, 1)

    def forward(self, x):
        a = F.relu(self.c1(x))
        b = self.p2(F.relu(self.c2(a)))
        a = self.p1(a) + F.interpolate(b, scale_factor=2, mode="nearest")
        found = [F.relu(self.tower(level)) for level in (a, b)]
        boxes = [self.box(f).permute(0, 2, 3, 1).reshape(f.shape[0], -1, 4) for f in found]
        kinds = [self.kind(f).permute(0, 2, 3, 1).reshape(f.shape[0], -1, 3) for f in found]
        return torch.cat(boxes, 1), torch.cat(kinds, 1).softmax(-1)


class Wavenet(nn.Module):
    """Dilated causal convolutions, gated, with skips that add up."""

    def __init__(self):
        super().__init__()
        self.start = nn.Conv1d(10, 12, 1)
        self.filters = nn.ModuleList(nn.Conv1d(12, 24, 2, dilation=2**i) for i in range(2))
        self.back = nn.ModuleList(nn.Conv1d(12, 12, 1) for _ in range(2))
        self.skips = nn.ModuleList(nn.Conv1d(12, 16, 1) for _ in range(2))
        self.end = nn.Conv1d(16, 6, 1)

    def forward(self, x):
        x = self.start(x.transpose(1, 2))
        total = 0
        for i, (both, back, skip) in enumerate(zip(self.filters, self.back, self.skips, strict=True)):
            a, b = both(F.pad(x, (2**i, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            total, x = total + skip(y), x + back(y)
        return self.end(F.relu(total)).transpose(1, 2)


class ConvRecurrent(nn.Module):
    """A text reader: columns of a feature map become the steps of a bidirectional LSTM."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.rnn = nn.LSTM(8 * 8, 12, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 7)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x, _ = self.rnn(x.permute(0, 3, 1, 2).flatten(2))
        return self.head(x).log_softmax(-1)


class LastState(nn.Module):
    """A classifier that reads the last states of both directions, not the sequence."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.rnn = nn.GRU(12, 16, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, words):
        _, last = self.rnn(self.table(words))
        return self.head(torch.cat([last[-2], last[-1]], 1))


class BothEnds(nn.Module):
    """A GRU that begins with what both directions of another one hold at their ends, side by side."""

    def __init__(self):
        super().__init__()
        self.reader = nn.GRU(10, 8, bidirectional=True, batch_first=True)
        self.writer = nn.GRU(10, 16, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        memory, ends = self.reader(x)
        said, _ = self.writer(x, ends.transpose(0, 1).flatten(1).unsqueeze(0))
        return self.head(torch.cat([memory, said], -1))


class PeepholeLoop(nn.Module):
    """An LSTM written by hand, whose gates see the cell."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(10 + 16, 64)
        self.peep = nn.Parameter(torch.randn(2, 16) / 4)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], 16)
        for t in range(4):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).split(16, 1)
            c = torch.sigmoid(f + self.peep[0] * c) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o + self.peep[1] * c) * torch.tanh(c)
        return self.out(h)


class OwnLayers(nn.Module):
    """Our own recurrent layers: two with peepholes, of which one hands both states to the other, and a sigmoid's."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.first = PeepholeLSTM(12, 16, batch_first=True)
        self.second = PeepholeLSTM(16, 16, batch_first=True, forget_gate=False)
        self.last = SigmoidRNN(16, 20, batch_first=True)
        self.out = nn.Linear(20, 4)

    def forward(self, words):
        x, states = self.first(self.table(words))
        x, _ = self.second(x, states)
        return self.out(self.last(x)[0])


class EncoderDecoder(nn.Module):
    """Attention between two LSTMs that hand over both states."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.encoder, self.decoder = nn.LSTM(12, 16, batch_first=True), nn.LSTM(12, 16, batch_first=True)
        self.score = nn.Bilinear(16, 16, 1)
        self.out = nn.Linear(32, 30)

    def forward(self, source, target):
        memory, state = self.encoder(self.table(source))
        y, _ = self.decoder(self.table(target), state)
        weights = torch.bmm(y, memory.transpose(1, 2)).softmax(-1)
        return self.out(torch.tanh(torch.cat([y, torch.bmm(weights, memory)], -1)))


class TiedTransformer(nn.Module):
    """GPT: one projection for query, key and value, and the embedding read backwards as the head."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(30, 16), nn.Parameter(torch.randn(1, 64, 16) / 4)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, words):
        x = self.token(words) + self.place[:, : words.shape[1]]
        n, t, c = x.shape
        q, k, v = (part.view(n, t, 4, c // 4).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(c, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, c))
        x = x + self.narrow(F.gelu(self.wide(self.norm2(x))))
        return self.norm3(x) @ self.token.weight.T


def turned(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Llama(nn.Module):
    """Root-mean-square norms by hand, rotated positions, shared keys and values, a gated feed-forward layer."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(30, 16)
        self.norm1, self.norm2 = nn.Parameter(torch.rand(16)), nn.Parameter(torch.rand(16))
        self.query, self.key, self.value = nn.Linear(16, 32), nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(32, 16)
        self.gate, self.up, self.down = nn.Linear(16, 40), nn.Linear(16, 40), nn.Linear(40, 16)
        self.head = nn.Linear(16, 30)
        angles = torch.arange(64)[:, None] * torch.rand(4).repeat(2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, words):
        x = self.token(words)
        n, t, _ = x.shape
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.norm1
        q, k, v = (f(y).view(n, t, -1, 8).transpose(1, 2) for f in (self.query, self.key, self.value))
        q, k = turned(q, self.cos[:t], self.sin[:t]), turned(k, self.cos[:t], self.sin[:t])
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(8)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1))
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.norm2
        return self.head(x + self.down(F.silu(self.gate(y)) * self.up(y)))


class OneHead(nn.Module):
    """Attention with a single head: its width shrinks, its scale stays."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(10, 16), nn.Linear(10, 16), nn.Linear(10, 12)
        self.out = nn.Linear(12, 4)

    def forward(self, x):
        return self.out(F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x)))


class VisionTransformer(nn.Module):
    """Patches, a token of its own, torch's encoder layer."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="gelu")
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.block(x)[:, 0])


class Mixer(nn.Module):
    """Layers over the channels, then over the positions."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.LayerNorm(12)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(12, 48), nn.GELU(), nn.Linear(48, 12))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(x.mean(1))


class Variational(nn.Module):
    """Mean and spread from one layer, in halves; the noise is an input."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 10))

    def forward(self, x):
        mean, spread = self.encoder(x).tensor_split(2, -1)
        return self.decoder(mean + torch.exp(spread / 2) * 0.1)


class Dueling(nn.Module):
    """A value and an advantage for each action, both from flattened features."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.ReLU(), nn.Conv2d(8, 12, 3, 2), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(12 * 9, 24), nn.ReLU(), nn.Linear(24, 1))
        self.advantage = nn.Sequential(nn.Linear(12 * 9, 24), nn.ReLU(), nn.Linear(24, 4))

    def forward(self, x):
        x = self.conv(x).flatten(1)
        a = self.advantage(x)
        return self.value(x) + a - a.mean(1, keepdim=True)


class SkipGram(nn.Module):
    """word2vec: two tables, their rows multiplied by an einsum."""

    def __init__(self):
        super().__init__()
        self.centre, self.context = nn.Embedding(30, 12), nn.Embedding(30, 12)

    def forward(self, centre, context):
        return torch.einsum("nd,nkd->nk", self.centre(centre), self.context(context))


class TwoTowers(nn.Module):
    """Two inputs, one score by cosine and one by a gate of the other's features, in a dict."""

    def __init__(self):
        super().__init__()
        self.image, self.words = nn.Conv2d(3, 16, 3, 2), nn.Embedding(30, 16)
        self.gate = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x, words):
        a, b = self.image(x).mean((2, 3)), self.words(words).sum(1)
        gated = a * torch.sigmoid(self.gate(b))
        return {"score": F.cosine_similarity(a, b), "kind": self.head(F.normalize(gated, dim=-1))}


class SlicedResidual(nn.Module):
    """A shortcut that carries half of the channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.a(x))
        y = self.b(x)
        y[:, :8] += x[:, 8:]
        return self.head(self.c(F.relu(y)).mean((2, 3)))


class Volume(nn.Module):
    """Three dimensions, down and up again, normalized each example by itself."""

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv3d(2, 12, 3, 2, 1), nn.InstanceNorm3d(12, affine=True)
        self.up, self.slope = nn.ConvTranspose3d(12, 8, 2, 2), nn.PReLU(8)
        self.out = nn.Conv3d(8, 2, 1)

    def forward(self, x):
        return self.out(self.slope(self.up(F.relu(self.norm(self.down(x))))))


class SharedConvolution(nn.Module):
    """One convolution used three times over."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.out = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = F.relu(self.conv(x))
        return self.out(x)


class AttentionPooling(nn.Module):
    """A sequence weighed by scores of its own, then averaged; positions are looked up."""

    def __init__(self):
        super().__init__()
        self.inner, self.score, self.head = nn.Linear(10, 20), nn.Linear(20, 1), nn.Linear(20, 4)
        self.places = nn.Embedding(64, 20)

    def forward(self, x):
        h = torch.tanh(self.inner(x) + self.places(torch.arange(x.shape[1])))
        weights = self.score(h).softmax(1)
        return self.head((weights * h).sum(1))


class ShiftedWindows(nn.Module):
    """Channels last, rolled, then channels turned to the last place of a matrix; a pointwise layer over positions."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)
        self.mix, self.places = nn.Linear(12, 24), nn.Conv1d(16, 16, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = torch.roll(self.patch(x), (1, -1), (2, 3)).flatten(2).mT
        x = self.places(F.gelu(self.mix(self.norm(x))))
        return self.head(x.mT.reshape(len(x), 24, -1).sum(-1))


class Segmenter(nn.Module):
    """What is pooled goes back to where it came from; one group for all channels."""

    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 12, 3, padding=1), nn.GroupNorm(1, 12), nn.Conv2d(12, 4, 3)
        self.low = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        x, where = F.max_pool2d(F.relu(self.norm(self.one(x))), 2, return_indices=True)
        return self.two(F.max_unpool2d(self.low(x), where, 2))


class Modulated(nn.Module):
    """Filters made for each example from its own style: as many groups as examples."""

    def __init__(self):
        super().__init__()
        self.start, self.style = nn.Linear(10, 12 * 4), nn.Linear(10, 12)
        self.filters = nn.Parameter(torch.randn(1, 16, 12, 3, 3) / 10)
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        n = len(x)
        y = F.interpolate(F.relu(self.start(x)).view(n, 12, 2, 2), scale_factor=2.0)
        filters = self.filters * self.style(x).view(n, 1, 12, 1, 1)
        y = F.conv2d(y.view(1, n * 12, 4, 4), filters.view(n * 16, 12, 3, 3), padding=1, groups=n)
        return self.out(F.relu(y.view(n, 16, 4, 4)))


class Involution(nn.Module):
    """Kernels made from the picture itself, applied to its unfolded pixels; then patches folded together again."""

    def __init__(self):
        super().__init__()
        self.stem, self.reduce, self.span = nn.Conv2d(3, 16, 3, 4, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 2 * 9, 1)
        self.wide, self.out = nn.Conv1d(16 * 4, 12 * 4, 1), nn.Conv2d(12, 3, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        n, c, h, w = x.shape
        kernels = self.span(F.relu(self.reduce(x))).view(n, 2, 1, 9, h, w)
        x = (F.unfold(x, 3, padding=1).view(n, 2, c // 2, 9, h, w) * kernels).sum(3).view(n, c, h, w)
        return self.out(F.fold(F.relu(self.wide(F.unfold(x, 2, stride=2))), (h, w), 2, stride=2))


class LookedUpPositions(nn.Module):
    """BERT: numbers of the positions lie in a buffer, of which a piece is looked up."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(30, 16), nn.Embedding(64, 16)
        self.inner, self.out = nn.Linear(16, 24), nn.Linear(24, 4)
        self.register_buffer("numbers", torch.arange(64).expand(1, -1))

    def forward(self, words):
        x = self.words(words) + self.places(self.numbers[:, : words.size(1)])
        return self.out(torch.tanh(self.inner(x)))


class ComplexRotation(nn.Module):
    """Queries and keys turned by complex numbers."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(10, 32), nn.Linear(10, 32), nn.Linear(10, 32)
        self.out = nn.Linear(32, 4)
        angles = torch.outer(torch.arange(64.0), torch.rand(4))
        self.turns = torch.polar(torch.ones_like(angles), angles)

    def _turned(self, x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns[: x.shape[1]].unsqueeze(1)).flatten(3)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (4, 8)) for f in (self.query, self.key, self.value))
        q, k = self._turned(q).transpose(1, 2), self._turned(k).transpose(1, 2)
        return self.out(F.scaled_dot_product_attention(q, k, v.transpose(1, 2)).transpose(1, 2).flatten(2))


NETWORKS = [
    Network("inverted", Inverted, IMAGE),
    Network("padded-shortcut", PaddedShortcut, IMAGE),
    Network("dense", Dense, IMAGE),
    Network("grouped", Grouped, IMAGE),
    Network("shuffle", ShuffleUnit, IMAGE),
    Network("convnext", ConvNext, IMAGE),
    Network("squeeze-excite", SqueezeExcite, IMAGE),
    Network("unet", Unet, IMAGE),
    Network("super-resolution", SuperResolution, IMAGE),
    Network("pyramid", Pyramid, IMAGE),
    Network("wavenet", Wavenet, FRAMES),
    Network("conv-recurrent", ConvRecurrent, IMAGE),
    Network("last-state", LastState, WORDS),
    Network("both-ends", BothEnds, FRAMES),
    Network("peephole", PeepholeLoop, (spec("x", "N", 4, 10),)),
    Network("own-layers", OwnLayers, WORDS),
    Network(
        "encoder-decoder",
        EncoderDecoder,
        (spec("source", "N", "S", dtype="int64", high=30), spec("target", "N", "T", dtype="int64", high=30)),
    ),
    Network("tied-transformer", TiedTransformer, WORDS),
    Network("llama", Llama, WORDS, averaged=("token",)),
    Network("one-head", OneHead, FRAMES),
    Network("vision-transformer", VisionTransformer, IMAGE),
    Network("mixer", Mixer, IMAGE),
    Network("variational", Variational, (spec("x", "N", 10),)),
    Network("dueling", Dueling, IMAGE),
    Network(
        "skip-gram",
        SkipGram,
        (spec("centre", "N", dtype="int64", high=30), spec("context", "N", "K", dtype="int64", high=30)),
    ),
    Network("two-towers", TwoTowers, (IMAGE[0], spec("words", "N", 7, dtype="int64", high=30))),
    Network("sliced-residual", SlicedResidual, IMAGE),
    Network("volume", Volume, (spec("x", "N", 2, 4, 8, 8),)),
    Network("shared", SharedConvolution, IMAGE),
    Network("attention-pooling", AttentionPooling, FRAMES),
    Network("shifted-windows", ShiftedWindows, IMAGE),
    Network("segmenter", Segmenter, IMAGE),
    Network("modulated", Modulated, (spec("x", "N", 10),)),
    Network("involution", Involution, IMAGE),
    Network("looked-up-positions", LookedUpPositions, WORDS),
    Network("complex-rotation", ComplexRotation, FRAMES),
]
