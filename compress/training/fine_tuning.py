"""What a structure pass does after its change: recover where there is something to learn from, or say it did not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from compress import checkpoints
from compress.base import Context, Note
from models.errors import UsageError
from models.records import Model

from .settings import DEFAULTS, Recovery

RECOVER = "training steps afterwards, 0 for none; or your own training, pkg.module:function"  # help of the field
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")  # pkg.module:function


def check_recovery(what: str, recover: int | str, minutes: float, learning_rate: float = 1e-3) -> None:
    """Raise UsageError where a pass's fields of these names are out of their ranges."""
    if isinstance(recover, str) and not _FUNCTION.fullmatch(recover):
        raise UsageError(
            f"{what}: recover {recover!r} asked, and it must be a number of steps, or your own training function as "
            "pkg.module:function."
        )
    for name, value in (("recover", recover), ("minutes", minutes)):
        if not isinstance(value, str) and not 0 <= value < math.inf:
            raise UsageError(f"{what}: {name} {value} asked, and it must be 0 or more.")
    if not 0 < learning_rate < math.inf:
        raise UsageError(f"{what}: learning_rate {learning_rate:g} asked, and it must be more than 0.")


def fine_tune(
    model: Model,
    before: Model,
    context: Context,
    *,
    steps: int | str,
    minutes: float,
    what: str,
    settings: Recovery = DEFAULTS,
    round: int = 0,
    after_step: Callable[[nn.Module], None] | None = None,
) -> tuple[Model, Mapping[str, Any], tuple[Note, ...]]:
    """The model trained for some steps, or minutes where these are given; the facts; a note on what was not trained.

    Args:
        model: with its new structure.
        before: with the old one; it teaches where the context names no teacher.
        context: its task, or its calibration data and teacher; where it names a checkpoint, the training is written
            there, and taken up again where the context says so.
        steps: batches to train on; 0 for none; or `pkg.module:function`, which trains in our place.
        minutes: a budget in place of steps; 0 for none.
        what: the pass.
        settings: of our own training.
        round: of a pass that recovers several times: 0, 1, ...; each has a checkpoint of its own.
        after_step: called with the network in training after each step, to hold what must stay as it is.
    """
    if not steps and not minutes:
        return model, {}, ()
    context = context if context.teacher is not None else replace(context, teacher=before)
    if isinstance(steps, str):
        return _by_their_own(steps, model, context, minutes, after_step)
    if context.task is None and next(iter(context.calibration), None) is None:
        return (
            model,
            {},
            (Note("", f"{what}: not recovered by training, since there is no data: name some with --data"),),
        )
    from .recovery import recover, untrained

    recovered, facts = recover(
        model,
        context,
        settings,
        steps=0 if minutes else steps,
        minutes=minutes,
        recalibrate=True,  # after few steps the running mean of the statistics still remembers the network that was
        checkpoint=None if context.checkpoint is None else checkpoints.of_round(context.checkpoint, round),
        resume=context.resume,
        what=what,
        after_step=after_step,
    )
    left = untrained(model)
    return recovered, facts, (Note("", f"{what}: {left}"),) if left else ()


_STEPS = 300  # of a user's own function, where no minutes are given


def _by_their_own(
    function: str,
    model: Model,
    context: Context,
    minutes: float,
    after_step: Callable[[nn.Module], None] | None,
) -> tuple[Model, Mapping[str, Any], tuple[Note, ...]]:
    from .own_function import Budget, train_by

    budget = Budget(steps=None, minutes=minutes) if minutes else Budget(steps=_STEPS, minutes=None)
    trained, facts = train_by(function, model, context, budget, afterwards=after_step)
    return trained, facts, ()
