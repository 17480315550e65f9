"""A training that a test kills: `python killed_run.py CHECKPOINT STEPS`. It imports nothing that is slow to import."""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from compress.training.engine import train
from models.records import Training


def run(steps, *, checkpoint=None, every=60.0):
    """Train a little network with dropout and batch statistics, and give it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))
    x = torch.randn(96, 8, generator=torch.Generator().manual_seed(1))
    target = x[:, :4].argmax(1)
    task = SimpleNamespace(
        name="killed",
        train=[(x[i : i + 16], target[i : i + 16]) for i in range(0, 96, 16)],
        loss=lambda outputs, target: nn.functional.cross_entropy(outputs["y"], target),
    )
    settings = {"inputs": ["x"], "outputs": ["y"], "steps": steps, "checkpoint_seconds": every, "resume": True}
    log = train(network, task, Training(average=0.9, learning_rate=1e-2), **settings, checkpoint=checkpoint)
    return network, log


if __name__ == "__main__":
    run(int(sys.argv[2]), checkpoint=Path(sys.argv[1]), every=0.0)
