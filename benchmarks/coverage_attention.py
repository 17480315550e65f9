"""Networks of the coverage test with attention, or in its place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Seq2Seq(nn.Module):
    """A two-way GRU encoder, a decoder loop with additive attention."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.src, self.trg = nn.Embedding(50, 16), nn.Embedding(60, 16)
        self.encoder = nn.GRU(16, hidden, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.attn, self.v = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, 1, bias=False)
        self.decoder = nn.GRU(2 * hidden + 16, hidden)
        self.out = nn.Linear(3 * hidden + 16, 60)

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:
        memory, hidden = self.encoder(self.src(src.T))
        hidden = torch.tanh(self.bridge(torch.cat((hidden[-2], hidden[-1]), dim=1)))
        memory = memory.permute(1, 0, 2)
        outputs = []
        for t in range(trg.shape[1]):
            word = self.trg(trg[:, t]).unsqueeze(0)
            repeated = hidden.unsqueeze(1).repeat(1, memory.shape[1], 1)
            energy = torch.tanh(self.attn(torch.cat((repeated, memory), dim=2)))
            a = F.softmax(self.v(energy).squeeze(2), dim=1).unsqueeze(1)
            context = torch.bmm(a, memory).permute(1, 0, 2)
            output, h = self.decoder(torch.cat((word, context), dim=2), hidden.unsqueeze(0))
            hidden = h.squeeze(0)
            outputs.append(self.out(torch.cat((output.squeeze(0), context.squeeze(0), word.squeeze(0)), dim=1)))
        return torch.stack(outputs, dim=1)


class PositionalEncoding(nn.Module):
    """Sines and cosines in a buffer, time first."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        position = torch.arange(64).unsqueeze(1)
        div = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(64, 1, d_model)
        pe[:, 0, 0::2], pe[:, 0, 1::2] = torch.sin(position * div), torch.cos(position * div)
        self.register_buffer("pe", pe)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[: x.size(0)])


class TransformerTutorial(nn.Module):
    """nn.TransformerEncoder with time first, scaled embedding, and a causal mask made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.pos = nn.Embedding(60, 32), PositionalEncoding(32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.decoder = nn.Linear(32, 60)

    def forward(self, src: Tensor) -> Tensor:
        x = self.pos(self.emb(src.t()) * math.sqrt(32))
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(0))
        return self.decoder(self.encoder(x, mask)).transpose(0, 1)


class FullTransformer(nn.Module):
    """nn.Transformer, encoder and decoder, batch first, padding masked by ids."""

    def __init__(self) -> None:
        super().__init__()
        self.src, self.tgt = nn.Embedding(40, 24), nn.Embedding(40, 24)
        self.t = nn.Transformer(24, 4, 1, 1, 48, batch_first=True, norm_first=True)
        self.generator = nn.Linear(24, 40)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        causal = torch.triu(torch.ones(tgt.size(1), tgt.size(1), dtype=torch.bool), 1)
        y = self.t(self.src(src), self.tgt(tgt), tgt_mask=causal, src_key_padding_mask=src == 0)
        return self.generator(y)


class CrossAttention(nn.Module):
    """Perceiver-like: learned latents read the input by nn.MultiheadAttention, then each other."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(6, 32))
        self.inp = nn.Linear(10, 24)
        self.cross = nn.MultiheadAttention(32, 4, kdim=24, vdim=24, batch_first=True)
        self.self_attn = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(32), nn.LayerNorm(24), nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 96), nn.GELU(), nn.Linear(96, 32))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.inp(x))
        z = self.latents.unsqueeze(0).repeat(x.size(0), 1, 1)
        z = z + self.cross(self.norm1(z), x, x, need_weights=False)[0]
        y = self.norm3(z)
        z = z + self.self_attn(y, y, y)[0]
        z = z + self.mlp(z)
        return self.head(z.mean(1))


class ViT(nn.Module):
    """Class token, learned positions, fused qkv as timm writes it."""

    def __init__(self, dim: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.proj = nn.Conv2d(3, dim, 8, 8)
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 17, dim))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(dim), "qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim),
                    "norm2": nn.LayerNorm(dim), "fc1": nn.Linear(dim, 2 * dim), "fc2": nn.Linear(2 * dim, dim),
                }
            )
            for _ in range(2)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        for b in self.blocks:
            B, N, C = x.shape
            qkv = b["qkv"](b["norm1"](x)).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
            q, k, v = qkv[0], qkv[1], qkv[2]
            attn = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
            x = x + b["proj"]((attn @ v).transpose(1, 2).reshape(B, N, C))
            x = x + b["fc2"](F.gelu(b["fc1"](b["norm2"](x))))
        return self.head(self.norm(x)[:, 0])


class Swin(nn.Module):
    """Windows, shifted by a roll, with a table of relative positions; patches merged between stages."""

    def __init__(self, dim: int = 24, heads: int = 3, window: int = 4) -> None:
        super().__init__()
        self.dim, self.heads, self.window = dim, heads, window
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.qkv, self.out = nn.ModuleList(), nn.ModuleList()
        for _ in range(2):
            self.qkv.append(nn.Linear(dim, 3 * dim))
            self.out.append(nn.Linear(dim, dim))
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) / 10)
        coords = torch.stack(torch.meshgrid([torch.arange(window)] * 2, indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", relative[..., 0] * (2 * window - 1) + relative[..., 1])
        self.norm = nn.LayerNorm(dim)
        self.merge_norm, self.merge = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)
        self.head = nn.Linear(2 * dim, 10)

    def _attend(self, x: Tensor, which: int) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv[which](x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = q * (c // self.heads) ** -0.5 @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        attn = F.softmax(attn + bias.unsqueeze(0), dim=-1)
        return self.out[which]((attn @ v).transpose(1, 2).reshape(b, n, c))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        w = self.window
        for which, shift in enumerate((0, w // 2)):
            y = torch.roll(self.norm(x), shifts=(-shift, -shift), dims=(1, 2))
            y = y.view(B, H // w, w, W // w, w, C).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, w * w, C)
            y = self._attend(y, which).view(-1, w, w, C)
            y = y.view(B, H // w, W // w, w, w, -1).permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)
            x = x + torch.roll(y, shifts=(shift, shift), dims=(1, 2))
        x = torch.cat([x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]], -1)
        return self.head(self.merge(self.merge_norm(x)).mean((1, 2)))


class MlpMixer(nn.Module):
    """Layers over positions and over channels by turns, written with Sequential and a residual wrapper."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 24, 8, 8), nn.Flatten(2))
        self.token = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(2))
        self.channel = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 96), nn.GELU(), nn.Linear(96, 24)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(24) for _ in range(2))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(-1, -2)
        for token, channel, norm in zip(self.token, self.channel, self.norms, strict=True):
            x = x + token(norm(x).mT).mT
            x = x + channel(x)
        return self.head(x.mean(dim=1))
