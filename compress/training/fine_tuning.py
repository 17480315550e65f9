"""What a structure pass does after its change: recover where there is something to learn from, or say it did not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from compress.base import Context, Note
from models.records import Model


def fine_tune(
    model: Model,
    before: Model,
    context: Context,
    *,
    steps: int,
    minutes: float,
    what: str,
    after_step: Callable[[nn.Module], None] | None = None,
) -> tuple[Model, Mapping[str, Any], tuple[Note, ...]]:
    """The model trained for some steps, or minutes where these are given; the facts; a note on what was not trained.

    Args:
        model: with its new structure.
        before: with the old one; it teaches where the context names no teacher.
        context: its task, or its calibration data and teacher.
        steps: batches to train on; 0 for none.
        minutes: a budget in place of steps; 0 for none.
        what: the pass.
        after_step: called with the network in training after each step, to hold what must stay as it is.
    """
    if not steps and not minutes:
        return model, {}, ()
    if context.task is None and next(iter(context.calibration), None) is None:
        return (
            model,
            {},
            (Note("", f"{what}: not recovered by training, since there is no data: name some with --data"),),
        )
    from .recovery import recover, untrained

    context = context if context.teacher is not None else replace(context, teacher=before)
    recovered, facts = recover(
        model,
        context,
        steps=0 if minutes else steps,
        minutes=minutes,
        recalibrate=True,  # after few steps the running mean of the statistics still remembers the network that was
        what=what,
        after_step=after_step,
    )
    left = untrained(model)
    return recovered, facts, (Note("", f"{what}: {left}"),) if left else ()
