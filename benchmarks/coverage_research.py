"""Networks of the coverage test whose forward does what only research code does."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SegNet(nn.Module):
    """Pooling that remembers where, and unpooling that puts back there."""

    def __init__(self) -> None:
        super().__init__()
        self.e1, self.e2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.d2, self.d1 = nn.Conv2d(32, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, first = self.pool(F.relu(self.e1(x)))
        x, second = self.pool(F.relu(self.e2(x)))
        x = F.relu(self.d2(self.unpool(x, second)))
        return self.d1(self.unpool(x, first))


class StyleGan(nn.Module):
    """Filters modulated and demodulated for each example, run as one grouped convolution; adaptive normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32))
        self.const = nn.Parameter(torch.randn(1, 24, 4, 4))
        self.weight = nn.Parameter(torch.randn(1, 32, 24, 3, 3) / 10)
        self.modulation, self.style, self.rgb = nn.Linear(32, 24), nn.Linear(32, 64), nn.Conv2d(32, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        w = self.mapping(z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8))
        b = z.shape[0]
        x = F.interpolate(self.const.repeat(b, 1, 1, 1), scale_factor=2, mode="bilinear", align_corners=False)
        weight = self.weight * self.modulation(w).view(b, 1, 24, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(b, 32, 1, 1, 1)
        x = F.conv2d(x.view(1, b * 24, 8, 8), weight.view(b * 32, 24, 3, 3), padding=1, groups=b).view(b, 32, 8, 8)
        gain, shift = self.style(w).chunk(2, 1)
        x = F.instance_norm(F.leaky_relu(x, 0.2)) * (1 + gain[:, :, None, None]) + shift[:, :, None, None]
        return self.rgb(x)


class Bert(nn.Module):
    """Positions looked up from a buffer, types of tokens made up, a mask of zeros and ones; a dict of outputs."""

    def __init__(self, d: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.word, self.position, self.kind = (
            nn.Embedding(60, d, padding_idx=0),
            nn.Embedding(16, d),
            nn.Embedding(2, d),
        )
        self.query, self.key, self.value, self.dense = (nn.Linear(d, d) for _ in range(4))
        self.norm0, self.norm1, self.norm2 = (nn.LayerNorm(d, eps=1e-12) for _ in range(3))
        self.intermediate, self.output = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.pooler, self.classifier = nn.Linear(d, d), nn.Linear(d, 3)
        self.register_buffer("position_ids", torch.arange(16).expand((1, -1)), persistent=False)

    def _heads(self, x: Tensor) -> Tensor:
        new_shape = (*x.size()[:-1], self.heads, x.size(-1) // self.heads)
        return x.view(new_shape).permute(0, 2, 1, 3)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        if token_type_ids is None:
            token_type_ids = torch.zeros(input_ids.size(), dtype=torch.long, device=input_ids.device)
        places = self.position(self.position_ids[:, : input_ids.size(1)])
        x = self.norm0(self.word(input_ids) + self.kind(token_type_ids) + places)
        mask = (1.0 - attention_mask[:, None, None, :].to(dtype=x.dtype)) * torch.finfo(x.dtype).min
        q, k, v = self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(x.size(-1) / self.heads) + mask
        context = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        context = context.view((*context.size()[:-2], context.size(-1) * self.heads))
        x = self.norm1(self.dense(context) + x)
        x = self.norm2(self.output(F.gelu(self.intermediate(x))) + x)
        return {"logits": self.classifier(torch.tanh(self.pooler(x[:, 0]))), "hidden": x.mean(1)}


class Ddpm(nn.Module):
    """A denoiser: time as sines, group normalization scaled by it, attention over pixels, shortcuts on a stack."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()
        self.c = c
        self.time = nn.Sequential(nn.Linear(c, 4 * c), nn.SiLU(), nn.Linear(4 * c, 4 * c))
        self.inp, self.out_norm, self.out = (
            nn.Conv2d(3, c, 3, padding=1),
            nn.GroupNorm(4, c),
            nn.Conv2d(c, 3, 3, padding=1),
        )
        shapes = {"d1": (c, c), "d2": (c, 2 * c), "mid": (2 * c, 2 * c), "u1": (4 * c, c), "u2": (2 * c, c)}
        self.blocks = nn.ModuleDict(
            {
                name: nn.ModuleDict(
                    {
                        "n1": nn.GroupNorm(4, i), "c1": nn.Conv2d(i, o, 3, padding=1), "t": nn.Linear(4 * c, 2 * o),
                        "n2": nn.GroupNorm(4, o), "c2": nn.Conv2d(o, o, 3, padding=1),
                        "s": nn.Conv2d(i, o, 1) if i != o else nn.Identity(),
                    }
                )
                for name, (i, o) in shapes.items()
            }
        )  # fmt: skip
        self.down, self.up = nn.Conv2d(c, c, 3, 2, 1), nn.Conv2d(c, c, 3, padding=1)
        self.norm, self.qkv, self.proj = nn.GroupNorm(4, 2 * c), nn.Conv1d(2 * c, 6 * c, 1), nn.Conv1d(2 * c, 2 * c, 1)

    def _block(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        m = self.blocks[name]
        h = m["c1"](F.silu(m["n1"](x)))
        scale, shift = m["t"](F.silu(emb))[:, :, None, None].chunk(2, dim=1)
        return m["c2"](F.silu(m["n2"](h) * (1 + scale) + shift)) + m["s"](x)

    def _attend(self, h: Tensor) -> Tensor:
        b, c, height, width = h.shape
        qkv = self.qkv(self.norm(h).view(b, c, height * width))
        q, k, v = qkv.reshape(b * 4, 3 * c // 4, height * width).split(c // 4, dim=1)
        scale = 1 / math.sqrt(math.sqrt(c // 4))
        weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), dim=-1)
        a = torch.einsum("bts,bcs->bct", weight, v).reshape(b, -1, height * width)
        return h + self.proj(a).reshape(b, c, height, width)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.c // 2
        freqs = torch.exp(-math.log(10000) * torch.arange(half) / half)
        args = t[:, None].float() * freqs[None]
        emb = self.time(torch.cat([torch.cos(args), torch.sin(args)], dim=-1))
        hs = [self._block("d1", self.inp(x), emb)]
        hs.append(self._block("d2", self.down(hs[-1]), emb))
        h = self._attend(self._block("mid", hs[-1], emb))
        h = self._block("u1", torch.cat([h, hs.pop()], dim=1), emb)
        h = self.up(F.interpolate(h, scale_factor=2, mode="nearest"))
        h = self._block("u2", torch.cat([h, hs.pop()], dim=1), emb)
        return self.out(F.silu(self.out_norm(h)))


class Mamba(nn.Module):
    """A selective state space, scanned step by step."""

    def __init__(self, d: int = 24, n: int = 4, inner: int = 48, rank: int = 3) -> None:
        super().__init__()
        self.n, self.rank = n, rank
        self.emb, self.norm, self.head = nn.Linear(10, d), nn.RMSNorm(d), nn.Linear(d, 4)
        self.in_proj, self.out_proj = nn.Linear(d, 2 * inner, bias=False), nn.Linear(inner, d, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj, self.dt_proj = nn.Linear(inner, rank + 2 * n, bias=False), nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float().repeat(inner, 1)))
        self.D = nn.Parameter(torch.ones(inner))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.emb(x)
        b, length, _ = residual.shape
        x, z = self.in_proj(self.norm(residual)).chunk(2, dim=-1)
        x = F.silu(self.conv1d(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        dt, B, C = self.x_proj(x).split([self.rank, self.n, self.n], dim=-1)
        dt, A = F.softplus(self.dt_proj(dt)), -torch.exp(self.A_log.float())
        decay = torch.exp(torch.einsum("bld,dn->bldn", dt, A))
        update = torch.einsum("bld,bln,bld->bldn", dt, B, x)
        h, ys = torch.zeros(b, x.shape[2], self.n), []
        for i in range(length):
            h = decay[:, i] * h + update[:, i]
            ys.append(torch.einsum("bdn,bn->bd", h, C[:, i]))
        y = torch.stack(ys, dim=1) + x * self.D
        return self.head(residual + self.out_proj(y * F.silu(z)))


class TemporalShift(nn.Module):
    """Some channels of each picture in a film moved to the next or the last one, written into zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 1, 1), nn.Conv2d(32, 48, 3, 2, 1)
        self.fc = nn.Linear(48, 5)

    @staticmethod
    def _shift(x: Tensor, segments: int, div: int = 8) -> Tensor:
        nt, c, h, w = x.size()
        x = x.view(nt // segments, segments, c, h, w)
        fold = c // div
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return out.view(nt, c, h, w)

    def forward(self, film: Tensor) -> Tensor:
        b, segments = film.size(0), film.size(1)
        x = F.relu(self.c1(film.flatten(0, 1)))
        x = F.relu(self.c2(self._shift(x, segments))) + x
        x = F.relu(self.c3(self._shift(x, segments)))
        return self.fc(x.mean((2, 3))).view(b, segments, -1).mean(1)


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees only what lies before."""

    def __init__(self, kind: str, i: int, o: int, k: int) -> None:
        super().__init__(i, o, k, padding=k // 2)
        mask = torch.ones_like(self.weight)
        mask[:, :, k // 2, k // 2 + (kind == "B") :] = 0
        mask[:, :, k // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCnn(nn.Module):
    """Masked convolutions with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            MaskedConv2d("A", 1, 24, 7), nn.BatchNorm2d(24), nn.ReLU(), MaskedConv2d("B", 24, 24, 3),
            nn.BatchNorm2d(24), nn.ReLU(), MaskedConv2d("B", 24, 24, 3), nn.ReLU(), nn.Conv2d(24, 8, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Experts(nn.Module):
    """A mixture of experts in stacked weights, weighed by a softmax gate."""

    def __init__(self, d: int = 24, experts: int = 4) -> None:
        super().__init__()
        self.inp, self.gate, self.out = nn.Linear(20, d), nn.Linear(d, experts, bias=False), nn.Linear(d, 3)
        self.w1, self.b1 = nn.Parameter(torch.randn(experts, d, 40) / 5), nn.Parameter(torch.zeros(experts, 1, 1, 40))
        self.w2 = nn.Parameter(torch.randn(experts, 40, d) / 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        p = self.gate(x).softmax(-1)
        h = F.gelu(torch.einsum("bnd,edh->ebnh", x, self.w1) + self.b1)
        return self.out(x + torch.einsum("bne,ebnd->bnd", p, torch.einsum("ebnh,ehd->ebnd", h, self.w2)))
