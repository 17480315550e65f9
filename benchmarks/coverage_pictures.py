"""Networks of the coverage test that give pictures, maps or boxes, or read several pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def double(i: int, o: int) -> nn.Sequential:
    """Two convolutions with batch normalization."""
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down by pooling, up by transposed convolution (or bilinear), joined after padding to the same size."""

    def __init__(self, bilinear: bool = False) -> None:
        super().__init__()
        self.inc, self.down1, self.down2 = double(3, 12), double(12, 24), double(24, 24 if bilinear else 48)
        self.pool = nn.MaxPool2d(2)
        if bilinear:
            self.up1: nn.Module = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.up2: nn.Module = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.up1, self.up2 = nn.ConvTranspose2d(48, 24, 2, 2), nn.ConvTranspose2d(24, 12, 2, 2)
        self.conv1, self.conv2 = double(48, 12 if bilinear else 24), double(24, 12)
        self.outc = nn.Conv2d(12, 2, 1)

    def _join(self, up: Tensor, skip: Tensor) -> Tensor:
        dy, dx = skip.size(2) - up.size(2), skip.size(3) - up.size(3)
        return torch.cat([skip, F.pad(up, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        x = self.conv1(self._join(self.up1(x3), x2))
        return self.outc(self.conv2(self._join(self.up2(x), x1)))


class FeaturePyramid(nn.Module):
    """Lateral and top-down paths, heads shared by all levels, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in ((3, 16), (16, 32), (32, 48))
        )
        self.inner = nn.ModuleList(nn.Conv2d(c, 24, 1) for c in (16, 32, 48))
        self.layer = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(3))
        self.cls, self.reg = nn.Conv2d(24, 3 * 4, 3, padding=1), nn.Conv2d(24, 3 * 4, 3, padding=1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features, x = [], images
        for block in self.body:
            x = block(x)
            features.append(x)
        last = self.inner[-1](features[-1])
        results = [self.layer[-1](last)]
        for i in range(len(features) - 2, -1, -1):
            lateral = self.inner[i](features[i])
            last = lateral + F.interpolate(last, size=lateral.shape[-2:], mode="nearest")
            results.insert(0, self.layer[i](last))
        scores = []
        for level in results:
            out = self.cls(level)
            n, _, h, w = out.shape
            out = out.view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2)
            scores.append(out.reshape(n, -1, 4))
        boxes = [self.reg(level).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for level in results]
        return {"cls_logits": torch.cat(scores, 1), "bbox_regression": torch.cat(boxes, 1)}


class Ssd(nn.Module):
    """Boxes and classes from maps of several sizes, one of them normalized and scaled; a tuple."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.classes = classes
        self.conv1, self.conv2 = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 32, 3, 2, 1)
        self.conv3 = nn.Sequential(nn.Conv2d(32, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.rescale_factors = nn.Parameter(torch.full((1, 32, 1, 1), 2.0))
        self.loc = nn.ModuleList(nn.Conv2d(32, 4 * 4, 3, padding=1) for _ in range(2))
        self.conf = nn.ModuleList(nn.Conv2d(32, 4 * classes, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = F.relu(self.conv2(F.relu(self.conv1(x))))
        b = self.conv3(a)
        norm = a.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        maps = [a / norm * self.rescale_factors, b]
        loc = [f(m).permute(0, 2, 3, 1).contiguous() for f, m in zip(self.loc, maps, strict=True)]
        conf = [f(m).permute(0, 2, 3, 1).contiguous() for f, m in zip(self.conf, maps, strict=True)]
        locs = torch.cat([o.view(o.size(0), -1) for o in loc], 1).view(x.size(0), -1, 4)
        return locs, torch.cat([o.view(o.size(0), -1) for o in conf], 1).view(x.size(0), -1, self.classes)


class Yolo(nn.Module):
    """Darknet blocks, a passthrough that folds pixels into channels, cells decoded with a grid and anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = double(3, 16), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1)
        self.through = nn.Conv2d(32, 8, 1)
        self.head = nn.Conv2d(64, 3 * 7, 1)
        self.register_buffer("anchors", torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]).view(1, 3, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.c2(F.max_pool2d(self.c1(x), 2)), 0.1)
        y = F.leaky_relu(self.c3(x), 0.1)
        side = F.leaky_relu(self.through(x), 0.1)
        b, c, h, w = side.shape
        side = side.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).contiguous()
        side = side.view(b, 4 * c, h // 2, w // 2)
        p = self.head(torch.cat([side, y], 1))
        bs, _, ny, nx = p.shape
        p = p.view(bs, 3, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        yv, xv = torch.meshgrid([torch.arange(ny), torch.arange(nx)], indexing="ij")
        grid = torch.stack((xv, yv), 2).view(1, 1, ny, nx, 2).float()
        xy, wh, conf = p.split((2, 2, 3), 4)
        return torch.cat((xy * 2 + grid, (wh * 2) ** 2 * self.anchors, conf), 4).view(bs, -1, 7)


class Fcn(nn.Module):
    """Scores of two depths added, brought back to the picture's size; an auxiliary output in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = double(3, 16), double(16, 32)
        self.score_a, self.score_b = nn.Conv2d(16, 4, 1), nn.Conv2d(32, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = x.shape[-2:]
        a = F.max_pool2d(self.a(x), 2)
        b = self.score_b(F.max_pool2d(self.b(a), 2))
        out = self.up(b) + self.score_a(a)
        return {
            "out": F.interpolate(out, size=size, mode="bilinear", align_corners=False),
            "aux": F.interpolate(b, size=size, mode="bilinear", align_corners=False),
        }


class DeepLab(nn.Module):
    """Atrous spatial pyramid pooling, with the picture's mean as one more branch, and a low-level shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU()), nn.Conv2d(16, 32, 3, 2, 1)
        self.aspp = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(32, 16, 3 if d > 1 else 1, padding=d if d > 1 else 0, dilation=d, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
            )
            for d in (1, 2, 4)
        )
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 16, 1, bias=False), nn.ReLU())
        self.project = nn.Sequential(nn.Conv2d(64, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Dropout(0.1))
        self.low_project, self.out = nn.Conv2d(16, 8, 1), nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        high = F.relu(self.high(low))
        branches = [f(high) for f in self.aspp]
        branches.append(F.interpolate(self.image(high), size=high.shape[2:], mode="bilinear", align_corners=False))
        y = self.project(torch.cat(branches, 1))
        y = F.interpolate(y, size=low.shape[2:], mode="bilinear", align_corners=False)
        y = self.out(torch.cat([y, self.low_project(low)], 1))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class HrNet(nn.Module):
    """Two resolutions side by side that exchange what they know, heat maps of both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.low = nn.Conv2d(16, 32, 3, 2, 1)
        self.branch = nn.ModuleList([double(16, 16), double(32, 32)])
        self.fuse = nn.ModuleDict(
            {
                "down": nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32)),
                "up": nn.Sequential(nn.Conv2d(32, 16, 1), nn.BatchNorm2d(16)),
            }
        )
        self.final = nn.Conv2d(48, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = F.relu(self.stem(x))
        low = F.relu(self.low(high))
        for _ in range(2):
            high, low = self.branch[0](high), self.branch[1](low)
            up = F.interpolate(self.fuse["up"](low), scale_factor=2, mode="nearest")
            high, low = F.relu(high + up), F.relu(low + self.fuse["down"](high))
        return self.final(torch.cat([high, F.interpolate(low, size=high.shape[2:], mode="bilinear")], 1))


class Edsr(nn.Module):
    """Super-resolution: scaled residual blocks without normalization, pixels from channels, mean shift."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.4, 0.5]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, 24, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(True), nn.Conv2d(24, 24, 3, padding=1))
            for _ in range(3)
        )
        self.tail = nn.Sequential(
            nn.Conv2d(24, 4 * 24, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(24, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        res = x
        for block in self.body:
            res = res + block(res).mul(0.1)
        return self.tail(res + x) + self.mean
