"""A training under way, and its checkpoint: everything that decides the next step, in types that need no pickle."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from export.files import whole
from models.errors import TrainingError, UsageError
from models.records import Training

from .early_stop import Best
from .feed import Feed, Tensors, generators

Loss = Callable[[Tensors, Any, Tensors], torch.Tensor]  # outputs, target, inputs of one batch -> mean loss

_FORMAT = 1


class Average:
    """Exponentially averaged weights (and running statistics), beside the live ones.

    After step t the average moves by 1 - d towards the live weights, d = min(decay, (1 + t) / (10 + t)): a fixed decay
    would remember the random start for 1 / (1 - decay) steps. A decay of 0 keeps no average at all.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        state = [*network.parameters(), *network.buffers()] if decay else []
        self.live = [t.detach() for t in state if t.is_floating_point()]
        self.averaged = [t.clone() for t in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after step 1, 2, ... in."""
        if self.averaged:
            move = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
            move(self.averaged, self.live, step)

    @torch.no_grad()
    def copy_into(self, network: nn.Module) -> None:
        """Give the network the averaged weights; without an average it keeps its own."""
        for live, averaged in zip(self.live, self.averaged, strict=True):
            live.copy_(averaged)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """Meanwhile the network has the averaged weights."""
        kept = [live.clone() for live in self.live]
        self.copy_into(network)
        try:
            yield
        finally:
            with torch.no_grad():
                for live, value in zip(self.live, kept, strict=True):
                    live.copy_(value)


@dataclass(kw_only=True)
class Run:
    """Where a training is, and all that its next step needs."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    feed: Feed
    objective: Loss
    outputs: tuple[str, ...]
    training: Training
    seed: int
    steps: int
    what: str
    dtype: torch.dtype | None  # of products and convolutions; None for float32
    scaler: torch.amp.GradScaler
    also: Mapping[str, Any]  # what else the identity of this run holds
    best: Best = field(default_factory=Best)
    step: int = 0
    seconds: float = 0.0
    losses: torch.Tensor = field(init=False)  # (steps,), on the device, so that no step waits for it
    trained: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        self.losses = torch.zeros(self.steps, device=self.feed.device)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Become the run that was saved; the network's weights are already in."""
        self.optimizer.load_state_dict(saved["optimizer"])
        for mine, theirs in zip(self.average.averaged, saved["average"], strict=True):
            mine.copy_(theirs)
        self.losses.copy_(saved["losses"])
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.feed.resume(saved["epoch"], saved["index"], saved["generators"])
        if "best" in saved:
            self.best.load(saved["best"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])


def identity(training: Training, seed: int, also: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The settings that a resumed run must share with the one that was stopped."""
    return {"seed": seed, **asdict(training), **also}


def store(run: Run, path: Path) -> None:
    """Write the checkpoint, whole or not at all; a disk that is full leaves the last one as it was."""
    state = {
        "compress_training": _FORMAT,
        "identity": identity(run.training, run.seed, run.also),
        "steps": run.steps,
        "step": run.step,
        "seconds": run.seconds,
        "epoch": run.feed.epoch,
        "index": run.feed.index,
        "generators": generators(),
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "average": run.average.averaged,
        "losses": run.losses,
        "best": run.best.state(),
        "scaler": run.scaler.state_dict(),
    }
    written = io.BytesIO()  # torch's own writer to a file hides why it failed: a full disk, a quota
    torch.save(state, written)
    with whole(path) as part:
        part.write_bytes(written.getbuffer())


def restore(path: Path, settings: Mapping[str, Any], network: nn.Module) -> dict[str, Any] | None:
    """Load the network's weights and give the rest of the checkpoint; None where there is no checkpoint yet.

    Raises:
        UsageError: it is of a run with other settings, or of another network.
        TrainingError: it is no checkpoint of a training.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        version = saved["compress_training"]
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path}: not a checkpoint of a training ({type(error).__name__}). Remove it, or train without --resume."
        ) from error
    if version != _FORMAT:
        raise TrainingError(f"{path}: checkpoint format {version}, and this version reads {_FORMAT}. Train anew.")
    for name, asked in settings.items():
        if (found := saved["identity"].get(name)) != asked:
            raise UsageError(
                f"{path}: was written by a run with {name}={found!r}, and {name}={asked!r} is asked for now. "
                "Resume with the same settings, or train without --resume."
            )
    try:
        network.load_state_dict(saved["network"])
    except RuntimeError as error:
        raise UsageError(
            f"{path}: holds the weights of another network: {str(error).splitlines()[-1].strip()} "
            "Resume with the same network, or train without --resume."
        ) from error
    return dict(saved)
