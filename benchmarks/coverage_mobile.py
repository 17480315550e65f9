"""Small image networks of the coverage test: depthwise, shuffled, gated, reparameterized and normalized otherwise."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def separable(i: int, o: int, s: int = 1) -> nn.Sequential:
    """Depthwise, then pointwise."""
    return nn.Sequential(
        nn.Conv2d(i, i, 3, s, 1, groups=i, bias=False),
        nn.BatchNorm2d(i),
        nn.ReLU6(inplace=True),
        nn.Conv2d(i, o, 1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU6(inplace=True),
    )


class MobileNetV1(nn.Module):
    """Depthwise and pointwise layers by turns."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), separable(16, 32), separable(32, 64, 2), separable(64, 64), nn.AvgPool2d(8)
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model(x)
        return self.fc(x.view(-1, 64))


class Xception(nn.Module):
    """Separable convolutions in residual blocks, pooled at their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.rep = nn.ModuleList(
            nn.Sequential(nn.ReLU(), separable(i, o), separable(o, o), nn.MaxPool2d(3, 2, 1))
            for i, o in ((16, 32), (32, 64))
        )
        self.skip = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 1, 2, bias=False), nn.BatchNorm2d(o)) for i, o in ((16, 32), (32, 64))
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for rep, skip in zip(self.rep, self.skip, strict=True):
            x = rep(x) + skip(x)
        return self.fc(F.adaptive_avg_pool2d(F.relu(x), (1, 1)).view(x.size(0), -1))


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excitation, project."""

    def __init__(self, i: int, o: int, expand: int, stride: int, act: type[nn.Module], se: bool, gate: Any) -> None:
        super().__init__()
        mid = i * expand
        self.use_res = stride == 1 and i == o
        self.expand = nn.Sequential(nn.Conv2d(i, mid, 1, bias=False), nn.BatchNorm2d(mid), act())
        self.depth = nn.Sequential(
            nn.Conv2d(mid, mid, 5, stride, 2, groups=mid, bias=False), nn.BatchNorm2d(mid), act()
        )
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(mid, max(4, mid // 4), 1), nn.ReLU(), nn.Conv2d(max(4, mid // 4), mid, 1)
        )
        self.with_se, self.gate = se, gate
        self.project = nn.Sequential(nn.Conv2d(mid, o, 1, bias=False), nn.BatchNorm2d(o))
        self.drop_path = 0.1

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(self.expand(x))
        if self.with_se:
            y = y * self.gate(self.se(y))
        y = self.project(y)
        if not self.use_res:
            return y
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            y = y * torch.empty(y.shape[0], 1, 1, 1, device=y.device).bernoulli_(keep).div_(keep)
        return x + y


class MobileNetV2(nn.Module):
    """Linear bottlenecks; ReLU6, no squeeze-excitation."""

    def __init__(self, act: type[nn.Module] = nn.ReLU6, se: bool = False, gate: Any = torch.sigmoid) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1, bias=False),
            nn.BatchNorm2d(12),
            act(),
            InvertedResidual(12, 16, 3, 1, act, se, gate),
            InvertedResidual(16, 16, 4, 1, act, se, gate),
            InvertedResidual(16, 24, 4, 2, act, se, gate),
            InvertedResidual(24, 24, 4, 1, act, se, gate),
            nn.Conv2d(24, 96, 1),
            act(),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(96, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1)).flatten(1))


def mobilenet_v3() -> nn.Module:
    """Hard swish and hard sigmoid gates."""
    return MobileNetV2(nn.Hardswish, True, F.hardsigmoid)


def efficientnet() -> nn.Module:
    """SiLU and sigmoid gates, stochastic depth in training."""
    return MobileNetV2(nn.SiLU, True, torch.sigmoid)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of all groups out in turn."""
    b, c, h, w = x.data.size()
    x = x.view(b, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(b, -1, h, w)


class ShuffleNetV1(nn.Module):
    """Grouped pointwise convolutions, shuffled; the blocks that halve the picture concatenate."""

    def __init__(self, groups: int = 4) -> None:
        super().__init__()
        self.groups = groups
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.squeeze, self.depth, self.out = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, o, s in ((16, 32, 2), (48, 48, 1)):
            self.squeeze.append(nn.Sequential(nn.Conv2d(i, 96, 1, groups=groups), nn.BatchNorm2d(96), nn.ReLU()))
            self.depth.append(nn.Sequential(nn.Conv2d(96, 96, 3, s, 1, groups=96), nn.BatchNorm2d(96)))
            self.out.append(nn.Sequential(nn.Conv2d(96, o, 1, groups=groups), nn.BatchNorm2d(o)))
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for squeeze, depth, last in zip(self.squeeze, self.depth, self.out, strict=True):
            y = last(depth(channel_shuffle(squeeze(x), self.groups)))
            if y.size(2) != x.size(2):
                x = F.relu(torch.cat([F.avg_pool2d(x, 3, stride=2, padding=1), y], 1))
            else:
                x = F.relu(x + y)
        return self.fc(x.mean(3).mean(2))


class ShuffleNetV2(nn.Module):
    """Half of the channels pass, the other half is worked on, then they are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.down1, self.down2 = separable(16, 16, 2), nn.Sequential(nn.Conv2d(16, 16, 1), separable(16, 16, 2))
        self.stage = nn.ModuleList(nn.Sequential(nn.Conv2d(16, 16, 1), separable(16, 16)) for _ in range(3))
        self.conv5 = nn.Sequential(nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64), nn.ReLU())
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = channel_shuffle(torch.cat((self.down1(x), self.down2(x)), dim=1), 2)
        for block in self.stage:
            x1, x2 = x.chunk(2, dim=1)
            x = channel_shuffle(torch.cat((x1, block(x2)), dim=1), 2)
        return self.fc(self.conv5(x).mean([2, 3]))


class GhostModule(nn.Module):
    """Few channels by convolution, as many more by cheap depthwise ones, cut to the wanted number."""

    def __init__(self, i: int, o: int, relu: bool = True) -> None:
        super().__init__()
        self.oup, init = o, (o + 1) // 2
        act = nn.ReLU if relu else nn.Identity
        self.primary_conv = nn.Sequential(nn.Conv2d(i, init, 1, bias=False), nn.BatchNorm2d(init), act())
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(init, init, 3, 1, 1, groups=init, bias=False), nn.BatchNorm2d(init), act()
        )

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        x2 = self.cheap_operation(x1)
        return torch.cat([x1, x2], dim=1)[:, : self.oup, :, :]


class GhostNet(nn.Module):
    """Ghost modules in bottlenecks, one of them of odd width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.ghost1, self.ghost2 = GhostModule(16, 48), GhostModule(48, 16, relu=False)
        self.ghost3, self.ghost4 = GhostModule(16, 61), GhostModule(61, 32, relu=False)
        self.head, self.fc = nn.Conv2d(32, 64, 1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.ghost2(self.ghost1(x))
        x = self.ghost4(self.ghost3(x))
        x = F.relu(self.head(F.adaptive_avg_pool2d(x, 1)))
        return self.fc(x.view(x.size(0), -1))


class SqueezeNet(nn.Module):
    """Fire modules and a convolution for a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, stride=2)
        fires = ((24, 8, 24), (48, 8, 32), (64, 12, 32))
        self.squeeze = nn.ModuleList(nn.Conv2d(i, s, 1) for i, s, _ in fires)
        self.expand1 = nn.ModuleList(nn.Conv2d(s, e, 1) for _, s, e in fires)
        self.expand3 = nn.ModuleList(nn.Conv2d(s, e, 3, padding=1) for _, s, e in fires)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(64, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True)
        for squeeze, one, three in zip(self.squeeze, self.expand1, self.expand3, strict=True):
            x = F.relu(squeeze(x))
            x = torch.cat([F.relu(one(x)), F.relu(three(x))], 1)
        return torch.flatten(self.classifier(x), 1)
