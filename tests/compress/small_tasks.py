"""Tasks and networks small enough for any test: 8x8 digits, sums of sequences, a line to fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from export.lift import lift
from models.batches import ArrayBatches
from models.records import InputSpec, Model, OutputSpec
from models.tasks import Classification

DIGIT = InputSpec(name="x", dtype="float32", dims=("N", 1, 8, 8))
LOGITS = OutputSpec(name="logits", dtype="float32", dims=("N", 10))
FRAMES = InputSpec(name="x", dtype="float32", dims=("N", "T", 8))
IDS = InputSpec(name="ids", dtype="int64", dims=("N", "T"), high=10)


def digits(batch_size=64, *, frames=False):
    """Scikit-learn's digits: images (N, 1, 8, 8), or their rows as frames (N, 8, 8)."""
    images, target = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) if frames else images.reshape(-1, 1, 8, 8)).astype(np.float32) / 16
    parts = {"train": slice(0, 960), "validation": slice(960, 1280), "test": slice(1280, None)}
    splits = {
        name: ArrayBatches(inputs={"x": images[part]}, target=target[part], batch_size=batch_size)
        for name, part in parts.items()
    }
    return Classification(name="digits", labels=tuple("0123456789"), **splits)


class CountingTask:
    """The digits, counting how often each split is scored."""

    def __init__(self):
        self.task, self.scored = digits(), []

    def __getattr__(self, name):
        return getattr(self.task, name)

    def score(self, runner, split="test", reference=None):
        self.scored.append(split)
        return self.task.score(runner, split, reference)


@dataclass
class Plain:
    """A task whose batches are whatever iterable is given."""

    train: Any
    name: str = "plain"
    labels: tuple[str, ...] = ()
    validation: Any = ()
    test: Any = ()

    def loss(self, outputs, target):
        """Mean squared error for floats, cross-entropy for classes."""
        (output,) = outputs.values()
        return F.mse_loss(output, target) if target.is_floating_point() else F.cross_entropy(output, target)


class Recurrent(nn.Module):
    """A GRU over frames, with dropout."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        return self.head(self.dropout(self.gru(x)[0][:, -1]))


class Attending(nn.Module):
    """One layer of self-attention over frames."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


def convolutional(width=8, seed=0):
    """Two convolutions with batch normalization, dropout and a head."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(4 * width, 10),
    ).eval()


def lifted(network, inputs=(DIGIT,), outputs=("logits",), **options):
    """The network as a Model."""
    result = lift(network.eval(), inputs, outputs=list(outputs))
    return Model(result.network, inputs=tuple(inputs), outputs=result.outputs, **options)


def same(one, other):
    """Whether two networks have bit for bit the same weights and buffers."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
