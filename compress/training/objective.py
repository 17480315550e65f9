"""What a recovery makes small: the loss on the labels, on the teacher's answers, and on what it attends to."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from compress.base import Context
from models.errors import DataError, UsageError
from models.records import Model

from .engine import task_loss
from .features import apart, layers_to_watch, watched
from .feed import Tensors
from .own_loss import find_loss
from .settings import Recovery
from .state import Loss
from .teacher import Teacher
from .teaching import Lesson, plan_lessons, taught

Imitation = Callable[[Tensors, Tensors], torch.Tensor]  # (student's outputs, teacher's) -> how far apart they are


def objective(
    model: Model, context: Context, batch: tuple[Tensors, Any], teacher: Teacher | None, settings: Recovery, what: str
) -> Loss:
    """The loss that fits what there is: labels, a teacher, or both."""
    inputs, target = batch
    labelled = context.task is not None and target is not None
    hard = task_loss(context.task) if labelled and context.task is not None else None
    hard = find_loss(settings.loss) if settings.loss else hard
    if teacher is None:
        if hard is None:
            raise DataError(f"{what}: the data has no labels, and there is no teacher to learn from instead.")
        return hard
    answers = teacher.first(inputs, what)
    imitation: Imitation | None = getattr(context.task, "imitation", None)
    lessons = [] if imitation else plan_lessons(model, context.task, target, answers)
    _compare(model, answers, what)
    w = settings.teacher_weight
    hard = hard if w < 1 else None
    return blend(hard, teacher, lessons, temperature=settings.temperature, teacher_weight=w, imitation=imitation)


def blend(
    hard: Loss | None,
    teacher: Callable[[Tensors], Tensors] | None,
    lessons: Sequence[Lesson],
    *,
    temperature: float,
    teacher_weight: float,
    imitation: Imitation | None = None,
) -> Loss:
    """(1 - w) of the loss on labels and w of the loss on the teacher's answers; one of the two alone counts whole.

    For logits (N, C) and class numbers this is the loss of Hinton, Vinyals & Dean 2015 (arXiv:1503.02531):
    w T^2 KL(teacher_T || student_T) + (1 - w) CE. A task's own imitation takes the place of the lessons.
    """
    if teacher is None:
        assert hard is not None
        return hard

    def loss(outputs: Tensors, target: Any, inputs: Tensors) -> torch.Tensor:
        answers = teacher(inputs)
        soft = imitation(outputs, answers) if imitation else taught(lessons, outputs, answers, temperature, target)
        if hard is None:
            return soft
        return teacher_weight * soft + (1 - teacher_weight) * hard(outputs, target, inputs)

    return loss


@contextmanager
def attending(
    network: nn.Module, teacher: Teacher | None, inputs: Tensors, settings: Recovery
) -> Iterator[Callable[[], torch.Tensor] | None]:
    """Meanwhile how far apart student and teacher attended in the batch they have just seen; None where not asked."""
    if not settings.features or teacher is None:
        yield None
        return
    if teacher.network is None:
        raise UsageError("recovery: features are asked of a teacher that is ONNX, and has no layers to look into.")
    batch = [array.cpu() for array in inputs.values()]
    layers = layers_to_watch(network, copy.deepcopy(teacher.network).cpu(), batch)
    with watched(network, layers) as mine, watched(teacher.network, layers) as theirs:
        yield lambda: apart(mine, theirs)


def beside(loss: Loss, weight: float, attention: Callable[[], torch.Tensor]) -> Loss:
    """The loss, and with its weight how far apart student and teacher attend."""
    return lambda outputs, target, inputs: loss(outputs, target, inputs) + weight * attention()


def _compare(model: Model, answers: Tensors, what: str) -> None:
    for spec in model.outputs:
        shape = tuple(answers[spec.name].shape)
        fits = len(shape) == len(spec.dims) and all(
            isinstance(want, str) or have == want for have, want in zip(shape, spec.dims, strict=True)
        )
        if not fits and spec.name not in {i.state_of for i in model.inputs}:
            raise UsageError(
                f"{what}: the teacher gives {list(shape)} as output {spec.name!r}, and the student "
                f"{list(spec.dims)}. They need the same outputs."
            )
