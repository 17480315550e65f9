"""Language models of the coverage test, and other users of attention written by hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalSelfAttention(nn.Module):
    """One projection for all three, a mask in a buffer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.n_head, self.n_embd = heads, width
        self.register_buffer("bias", torch.tril(torch.ones(32, 32)).view(1, 1, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(att, dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Gpt(nn.Module):
    """Blocks with normalization first, and the token table read backwards as the head."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(64, width), nn.Embedding(32, width)
        self.attn = nn.ModuleList(CausalSelfAttention(width, 4) for _ in range(2))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
            for _ in range(2)
        )
        self.ln = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.lm_head = nn.Linear(width, 64, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, idx: Tensor) -> Tensor:
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for i in range(2):
            x = x + self.attn[i](self.ln[2 * i](x))
            x = x + self.mlp[i](self.ln[2 * i + 1](x))
        return self.lm_head(self.ln[4](x))


class T5(nn.Module):
    """Relative positions in buckets, no scale, root-mean-square norms, an encoder's block and gated feed-forward."""

    def __init__(self, width: int = 24, heads: int = 4, inner: int = 32) -> None:
        super().__init__()
        self.shared, self.heads, self.key_dim = nn.Embedding(50, width), heads, inner // heads
        self.q, self.k = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.v, self.o = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
        self.relative = nn.Embedding(8, heads)
        self.norm1, self.norm2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.wi_0, self.wi_1 = nn.Linear(width, 64, bias=False), nn.Linear(width, 64, bias=False)
        self.wo = nn.Linear(64, width, bias=False)
        self.head = nn.Linear(width, 50)

    @staticmethod
    def _norm(x: Tensor, weight: Tensor) -> Tensor:
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return weight * (x * torch.rsqrt(variance + 1e-6))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.heads, self.key_dim).transpose(1, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.shared(input_ids)
        n = x.shape[1]
        distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        bucket = (distance > 0).long() * 4 + torch.clamp(distance.abs(), max=3)
        bias = self.relative(bucket).permute(2, 0, 1).unsqueeze(0)
        y = self._norm(x, self.norm1)
        scores = torch.matmul(self._split(self.q(y)), self._split(self.k(y)).transpose(3, 2)) + bias
        weights = F.softmax(scores.float(), dim=-1).type_as(scores)
        y = torch.matmul(weights, self._split(self.v(y))).transpose(1, 2).contiguous()
        x = x + self.o(y.view(x.shape[0], -1, self.heads * self.key_dim))
        y = self._norm(x, self.norm2)
        x = x + self.wo(F.gelu(self.wi_0(y), approximate="tanh") * self.wi_1(y))
        return self.head(x)


def rotate_half(x: Tensor) -> Tensor:
    """The second half, negated, before the first."""
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


class Llama(nn.Module):
    """Rotary positions from computed frequencies, keys shared by groups of heads, SwiGLU, RMSNorm."""

    def __init__(self, width: int = 32, heads: int = 8, kv_heads: int = 4, head_dim: int = 8) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.embed_tokens = nn.Embedding(64, width)
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(width, 88, bias=False), nn.Linear(width, 88, bias=False)
        self.down_proj = nn.Linear(88, width, bias=False)
        self.norm1, self.norm2, self.norm3 = nn.RMSNorm(width), nn.RMSNorm(width), nn.RMSNorm(width)
        self.lm_head = nn.Linear(width, 64, bias=False)
        inv_freq = 1.0 / (10000 ** (torch.arange(0, head_dim, 2).float() / head_dim))
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    def _repeat_kv(self, x: Tensor) -> Tensor:
        n_rep = self.heads // self.kv_heads
        batch, kv, n, d = x.shape
        return x[:, :, None, :, :].expand(batch, kv, n_rep, n, d).reshape(batch, kv * n_rep, n, d)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed_tokens(input_ids)
        b, n, _ = x.shape
        freqs = torch.outer(torch.arange(n).float(), self.inv_freq)
        emb = torch.cat((freqs, freqs), dim=-1)
        cos, sin = emb.cos()[None, None], emb.sin()[None, None]
        y = self.norm1(x)
        q = self.q_proj(y).view(b, n, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(y).view(b, n, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(y).view(b, n, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        out = F.scaled_dot_product_attention(q, self._repeat_kv(k), self._repeat_kv(v), is_causal=True)
        x = x + self.o_proj(out.transpose(1, 2).contiguous().reshape(b, n, -1))
        y = self.norm2(x)
        x = x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))
        return self.lm_head(self.norm3(x))


class GroupedQuery(nn.Module):
    """Grouped queries by torch's own flag, embeddings and head not tied, a feed-forward layer of gated units."""

    def __init__(self) -> None:
        super().__init__()
        self.tok = nn.Embedding(48, 32)
        self.q, self.kv, self.o = nn.Linear(32, 64), nn.Linear(32, 2 * 32), nn.Linear(64, 32)
        self.ff_in, self.ff_out = nn.Linear(32, 2 * 56), nn.Linear(56, 32)
        self.ln1, self.ln2, self.out = nn.LayerNorm(32), nn.LayerNorm(32), nn.Linear(32, 48)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tok(x)
        y = self.ln1(x)
        q = self.q(y).unflatten(-1, (8, 8)).transpose(1, 2)
        k, v = self.kv(y).unflatten(-1, (2, 4, 8)).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).flatten(-2))
        return self.out(x + self.ff_out(F.glu(self.ff_in(self.ln2(x)), dim=-1)))


class MultiQuery(nn.Module):
    """All heads share one key and one value, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(10, 40)
        self.to_q, self.to_k, self.to_v = nn.Linear(40, 48), nn.Linear(40, 12), nn.Linear(40, 12)
        self.to_out, self.head = nn.Linear(48, 40), nn.Linear(40, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        b, n, _ = x.shape
        q = self.to_q(x).reshape(b, n, 4, 12)
        k, v = self.to_k(x), self.to_v(x)
        sim = torch.einsum("b i h d, b j d -> b h i j", q, k) * 12**-0.5
        sim = sim - sim.amax(dim=-1, keepdim=True).detach()
        out = torch.einsum("b h i j, b j d -> b i h d", sim.softmax(dim=-1), v)
        return self.head(x + self.to_out(out.reshape(b, n, 48)))


class LinearAttention(nn.Module):
    """Softmax over features and over positions by themselves, so that keys meet values first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 4, 4)
        self.to_qkv = nn.Conv2d(32, 96, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(32, 32, 1), nn.GroupNorm(1, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, _, h, w = x.shape
        q, k, v = (t.reshape(b, 4, 8, h * w) for t in self.to_qkv(x).chunk(3, dim=1))
        q, k = q.softmax(dim=-2) * 8**-0.5, k.softmax(dim=-1)
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        out = torch.einsum("bhde,bhdn->bhen", context, q).reshape(b, 32, h, w)
        return self.head((x + self.to_out(out)).mean((2, 3)))


class GMlp(nn.Module):
    """A gate of positions by a linear layer over them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(50, 24), nn.LayerNorm(24)
        self.proj_in, self.proj_out = nn.Linear(24, 96), nn.Linear(48, 24)
        self.gate_norm, self.spatial = nn.LayerNorm(48), nn.Conv1d(12, 12, 1)
        self.fc = nn.Linear(24, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        u, v = F.gelu(self.proj_in(self.norm(x))).chunk(2, dim=-1)
        x = x + self.proj_out(u * self.spatial(self.gate_norm(v)))
        return self.fc(x.mean(1))


class Conformer(nn.Module):
    """Half-step feed-forward layers, attention, a gated convolution module with batch normalization."""

    def __init__(self, d: int = 24) -> None:
        super().__init__()
        self.inp = nn.Linear(20, d)
        self.ff1 = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d))
        self.ff2 = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d))
        self.attn, self.norm_attn, self.norm_conv = nn.MultiheadAttention(d, 4), nn.LayerNorm(d), nn.LayerNorm(d)
        self.pw1, self.dw = nn.Conv1d(d, 2 * d, 1), nn.Conv1d(d, d, 7, padding=3, groups=d)
        self.bn, self.pw2, self.norm, self.out = nn.BatchNorm1d(d), nn.Conv1d(d, d, 1), nn.LayerNorm(d), nn.Linear(d, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        x = x + 0.5 * self.ff1(x)
        y = self.norm_attn(x).transpose(0, 1)
        x = x + self.attn(y, y, y)[0].transpose(0, 1)
        y = F.glu(self.pw1(self.norm_conv(x).transpose(1, 2)), dim=1)
        x = x + self.pw2(F.silu(self.bn(self.dw(y)))).transpose(1, 2)
        return self.out(self.norm(x + 0.5 * self.ff2(x)))
