"""Image classifiers of the coverage test, after the ways in which people write them; each is small and random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AlexNet(nn.Module):
    """Plain convolutions, 4 x 4 adaptive pooling, three linear layers with dropout between them."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(32, 48, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(48 * 4 * 4, 96), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(96, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


class VGG(nn.Module):
    """A list of numbers and letters made layers, with batch normalization."""

    def __init__(self, cfg: tuple[int | str, ...] = (16, 16, "M", 32, 32, "M", 48, "M")) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for v in cfg:
            if isinstance(v, str):
                layers += [nn.MaxPool2d(2)]
            else:
                layers += [nn.Conv2d(channels, v, 3, padding=1), nn.BatchNorm2d(v), nn.ReLU(True)]
                channels = v
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.features(x)
        out = out.view(out.shape[0], out.shape[1] * out.shape[2] * out.shape[3])
        return self.fc(out)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (in groups), 1 x 1, with squeeze-excitation where asked, beside a projected shortcut."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, groups: int = 1, se: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.se = (
            nn.Sequential(nn.Linear(planes * 4, planes), nn.ReLU(), nn.Linear(planes, planes * 4), nn.Sigmoid())
            if se
            else None
        )
        self.downsample = None
        if stride != 1 or inplanes != planes * 4:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes * 4, 1, stride, bias=False), nn.BatchNorm2d(planes * 4)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.se is not None:
            b, c, _, _ = out.size()
            out = out * self.se(out.mean(dim=(2, 3))).view(b, c, 1, 1)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """Stem, two stages of bottlenecks, global pooling."""

    def __init__(self, groups: int = 1, se: bool = False, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(
            Bottleneck(16, width, groups=groups, se=se), Bottleneck(4 * width, width, groups=groups, se=se)
        )
        self.layer2 = nn.Sequential(
            Bottleneck(4 * width, 2 * width, 2, groups, se), Bottleneck(8 * width, 2 * width, groups=groups, se=se)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


class BasicResNet(nn.Module):
    """Two 3 x 3 convolutions a block; the shortcut of a wider stage is pooled and padded with zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        widths = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 48, 2)]
        self.conv_a = nn.ModuleList(nn.Conv2d(i, o, 3, s, 1, bias=False) for i, o, s in widths)
        self.conv_b = nn.ModuleList(nn.Conv2d(o, o, 3, 1, 1, bias=False) for _, o, _ in widths)
        self.bn_a = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _ in widths)
        self.bn_b = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _ in widths)
        self.linear = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu_()
        for a, b, norm_a, norm_b in zip(self.conv_a, self.conv_b, self.bn_a, self.bn_b, strict=True):
            out = norm_b(b(F.relu(norm_a(a(x)))))
            if out.shape[1] != x.shape[1]:
                x = F.avg_pool2d(x, 2)
                zeros = torch.zeros(x.size(0), out.size(1) - x.size(1), x.size(2), x.size(3), device=x.device)
                x = torch.cat((x, zeros), dim=1)
            x = F.relu(out + x)
        return self.linear(F.avg_pool2d(x, x.size()[2:]).squeeze(-1).squeeze(-1))


class WideResNet(nn.Module):
    """Normalization before convolution, dropout inside, the shortcut taken after the first activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        for i, o, s in ((16, 32, 1), (32, 32, 1), (32, 48, 2)):
            block = {
                "bn1": nn.BatchNorm2d(i),
                "conv1": nn.Conv2d(i, o, 3, s, 1, bias=False),
                "bn2": nn.BatchNorm2d(o),
                "drop": nn.Dropout(0.3),
                "conv2": nn.Conv2d(o, o, 3, 1, 1, bias=False),
            }
            if i != o:
                block["short"] = nn.Conv2d(i, o, 1, s, bias=False)
            self.blocks.append(nn.ModuleDict(block))
        self.bn = nn.BatchNorm2d(48)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for b in self.blocks:
            y = F.relu(b["bn1"](x))
            out = b["conv2"](b["drop"](F.relu(b["bn2"](b["conv1"](y)))))
            x = out + (b["short"](y) if "short" in b else x)
        x = F.relu(self.bn(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).reshape(len(x), -1))


class DenseNet(nn.Module):
    """Lists of features concatenated again and again, and transitions that halve them."""

    def __init__(self, growth: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layers, self.transitions = nn.ModuleList(), nn.ModuleList()
        channels = 16
        for _ in range(2):
            for _ in range(3):
                self.layers.append(
                    nn.Sequential(
                        nn.BatchNorm2d(channels),
                        nn.ReLU(),
                        nn.Conv2d(channels, 4 * growth, 1, bias=False),
                        nn.BatchNorm2d(4 * growth),
                        nn.ReLU(),
                        nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
                    )
                )
                channels += growth
            self.transitions.append(
                nn.Sequential(
                    nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2)
                )
            )
            channels //= 2
        self.classifier = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in range(2):
            features = [x]
            for layer in self.layers[3 * block : 3 * block + 3]:
                features.append(layer(torch.cat(features, 1)))
            x = self.transitions[block](torch.cat(features, 1))
        return self.classifier(x.mean([2, 3]))


def conv_bn_relu(i: int, o: int, k: int | tuple[int, int] = 1, s: int = 1) -> nn.Sequential:
    """The usual three."""
    pad = k // 2 if isinstance(k, int) else (k[0] // 2, k[1] // 2)
    return nn.Sequential(nn.Conv2d(i, o, k, s, pad, bias=False), nn.BatchNorm2d(o, eps=0.001), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches side by side, one of them factorized into 1 x 3 and 3 x 1, and an auxiliary head for training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, 24, 3, 2)
        for name, c in (("mixed1", 24), ("mixed2", 56)):
            branches = {
                "one": conv_bn_relu(c, 16),
                "three": nn.Sequential(conv_bn_relu(c, 12), conv_bn_relu(12, 16, 3)),
                "five": nn.Sequential(conv_bn_relu(c, 8), conv_bn_relu(8, 12, (1, 3)), conv_bn_relu(12, 12, (3, 1))),
                "pool": nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn_relu(c, 12)),
            }
            self.add_module(name, nn.ModuleDict(branches))
        self.aux = nn.Linear(56, 10)
        self.fc = nn.Linear(56, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = torch.cat([branch(x) for branch in self.mixed1.values()], 1)
        if self.training:
            aux = self.aux(x.mean((2, 3)))
        x = torch.cat([branch(x) for branch in self.mixed2.values()], 1)
        out = self.fc(F.dropout(x.mean((2, 3)), 0.5, training=self.training))
        return (out, aux) if self.training else out
