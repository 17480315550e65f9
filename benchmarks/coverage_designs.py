"""More image networks of the coverage test: newer designs, and ideas that were tried on convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class RegNet(nn.Module):
    """Groups of a fixed width, squeeze-excitation in the middle of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.ModuleList()
        for i, o, s in ((16, 32, 1), (32, 32, 1), (32, 64, 2)):
            block = nn.Module()
            block.a = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            block.b = nn.Sequential(nn.Conv2d(o, o, 3, s, 1, groups=o // 8, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            block.se = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(o, i // 4, 1), nn.ReLU(), nn.Conv2d(i // 4, o, 1), nn.Sigmoid()
            )
            block.c = nn.Sequential(nn.Conv2d(o, o, 1, bias=False), nn.BatchNorm2d(o))
            block.proj = nn.Identity() if i == o and s == 1 else nn.Conv2d(i, o, 1, s, bias=False)
            self.blocks.append(block)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for b in self.blocks:
            y = b.b(b.a(x))
            x = torch.relu_(b.c(y * b.se(y)) + b.proj(x))
        return self.head(x)


class RepVGG(nn.Module):
    """3 x 3, 1 x 1 and identity, each normalized, added up."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1))
        self.dense = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)) for i, o, s in shapes
        )
        self.point = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o)) for i, o, s in shapes
        )
        self.same = nn.ModuleList(nn.BatchNorm2d(i) if i == o and s == 1 else nn.Identity() for i, o, s in shapes)
        self.linear = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        for dense, point, same in zip(self.dense, self.point, self.same, strict=True):
            out = dense(x) + point(x)
            if isinstance(same, nn.BatchNorm2d):
                out = out + same(x)
            x = F.relu(out)
        return self.linear(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class LayerNorm2d(nn.LayerNorm):
    """Layer normalization over the channels of a picture."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patches, 7 x 7 depthwise, channels last in the block, a learned scale, normalized downsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 16, 4, 4), LayerNorm2d(16, eps=1e-6)),
                nn.Sequential(LayerNorm2d(16, eps=1e-6), nn.Conv2d(16, 32, 2, 2)),
            ]
        )
        self.blocks = nn.ModuleList()
        for c in (16, 32):
            block = nn.Module()
            block.dwconv, block.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
            block.pwconv1, block.pwconv2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
            block.gamma = nn.Parameter(0.5 * torch.ones(c))
            self.blocks.append(block)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        for down, b in zip(self.downsample, self.blocks, strict=True):
            x = down(x)
            y = b.norm(b.dwconv(x).permute(0, 2, 3, 1))
            y = b.gamma * b.pwconv2(F.gelu(b.pwconv1(y)))
            x = x + y.permute(0, 3, 1, 2)
        return self.head(self.norm(x.mean([-2, -1])))


class Cbam(nn.Module):
    """Channel attention from means and maxima through one shared network, then attention over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.mlp = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 32))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.conv2 = nn.Sequential(nn.Conv2d(32, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        b, c = x.shape[:2]
        avg, peak = F.avg_pool2d(x, x.shape[2:]).view(b, c), F.max_pool2d(x, x.shape[2:]).view(b, c)
        x = x * torch.sigmoid(self.mlp(avg) + self.mlp(peak)).unsqueeze(2).unsqueeze(3).expand_as(x)
        seen = torch.cat([torch.mean(x, dim=1, keepdim=True), torch.max(x, dim=1, keepdim=True)[0]], dim=1)
        x = self.conv2(x * torch.sigmoid(self.spatial(seen)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(start_dim=1))


class Maxout(nn.Module):
    """The largest of three candidates for each unit, by convolution and by linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16 * 3, 3, padding=1), nn.Conv2d(16, 24 * 3, 3, 2, 1)
        self.lin1, self.lin2 = nn.Linear(24 * 16, 32 * 3), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            y = conv(x)
            x = y.view(y.shape[0], y.shape[1] // 3, 3, y.shape[2], y.shape[3]).max(2)[0]
        y = self.lin1(F.adaptive_max_pool2d(x, 4).flatten(1))
        return self.lin2(y.reshape(y.shape[0], 32, 3).amax(-1))


class NormalizedWeights(nn.Module):
    """Weight normalization of the old and the new kind, and spectral normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.a = parametrizations.weight_norm(nn.Conv2d(3, 24, 3, padding=1))
        self.b = parametrizations.spectral_norm(nn.Conv2d(24, 32, 3, 2, 1))
        self.c = nn.utils.weight_norm(nn.Linear(32 * 16, 48))  # type: ignore[no-untyped-call]
        self.d = nn.utils.spectral_norm(nn.Linear(48, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.b(F.leaky_relu(self.a(x), 0.2)), 0.2)
        return self.d(F.leaky_relu(self.c(F.adaptive_avg_pool2d(x, 4).flatten(1)), 0.2))


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters are standardized at every call."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        std = w.std(dim=(1, 2, 3), keepdim=True) + 1e-5
        return F.conv2d(x, (w - mean) / std, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BigTransfer(nn.Module):
    """Standardized weights with group normalization before them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = StandardizedConv2d(3, 32, 3, 2, 1, bias=False)
        self.gn1, self.conv1 = nn.GroupNorm(8, 32), StandardizedConv2d(32, 32, 3, 1, 1, bias=False)
        self.gn2, self.conv2 = nn.GroupNorm(8, 32), StandardizedConv2d(32, 32, 3, 1, 1, bias=False)
        self.head = nn.Conv2d(32, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.root(x)
        x = x + self.conv2(F.relu(self.gn2(self.conv1(F.relu(self.gn1(x))))))
        return self.head(x.mean(dim=(2, 3), keepdim=True))[..., 0, 0]


class InstanceStyle(nn.Module):
    """Style transfer: reflected padding, instance normalization, residual blocks, resizing, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.down = nn.ReflectionPad2d(1), nn.Conv2d(3, 24, 3, 2)
        self.in1 = nn.InstanceNorm2d(24, affine=True)
        self.res = nn.ModuleList(
            nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(24, 24, 3), nn.InstanceNorm2d(24, affine=True), nn.PReLU(24))
            for _ in range(2)
        )
        self.up = nn.Conv2d(24, 16, 3)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.in1(self.down(self.pad(x))))
        for block in self.res:
            y = y + block(y)
        y = F.relu(self.up(self.pad(F.interpolate(y, scale_factor=2, mode="nearest"))))
        return torch.tanh(self.last(y)) * 0.5 + 0.5


class EcaNet(nn.Module):
    """A gate computed by a 1-D convolution that slides over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 64, 1)
        self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.three, self.four = nn.Conv2d(64, 48, 3, 2, 1), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.one(x))))
        y = self.eca(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2))
        x = x * torch.sigmoid(y.transpose(-1, -2).unsqueeze(-1)).expand_as(x)
        return self.four(F.relu(self.three(x)).mean((2, 3)))
