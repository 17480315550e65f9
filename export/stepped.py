"""A runner for scores: whoever hands it the steps of a sequence need not carry its states."""

from __future__ import annotations

from export.session import runner_for
from export.stream import Going
from models.records import Model, Runner


def stepped(model: Model) -> Runner:
    """A runner whose states go on from call to call where the arrays do not hold them; else the usual one.

    A model of several forms has its states in one of them, which is stepped by who knows the order.
    """
    run = runner_for(model)
    streams = not model.forms and any(spec.state_of for spec in model.inputs)
    return Going(run, model.inputs, model.outputs) if streams else run
