"""Stop when the score on the validation split no longer gets better, and keep the weights that were best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

_LOOKS = 20  # in a full run: evenly spaced steps and no clock, so that the same run stops at the same step


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """What an engine looks at, and for how long in vain.

    Args:
        score: of the network as it stands; more is better. It may draw random numbers, and leaves the modes alone.
        patience: looks in a row without a better score, after which training ends.
    """

    score: Callable[[nn.Module], float]
    patience: int


@dataclass
class Best:
    """The best look so far: its score, its step, its weights, and how many looks since were no better."""

    score: float = -math.inf
    step: int = 0
    stale: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def take(self, score: float, step: int, network: nn.Module) -> None:
        """Note one look; a score that is no number is no better."""
        if not score > self.score:
            self.stale += 1
            return
        self.score, self.step, self.stale = score, step, 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"score": self.score, "step": self.step, "stale": self.stale, "weights": self.weights}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's."""
        self.score, self.step, self.stale = saved["score"], saved["step"], saved["stale"]
        self.weights = dict(saved["weights"])


def is_due(step: int, steps: int) -> bool:
    """Whether there is a look after step 1, 2, ..., steps: twenty times, or after every step of a shorter run."""
    return step * _LOOKS // steps > (step - 1) * _LOOKS // steps
