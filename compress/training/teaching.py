"""What a teacher teaches: which of its outputs are logits, and how far a student's are from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional as F

from models.errors import TrainingError
from models.records import Model, Task
from models.tasks import IGNORED

from .feed import Tensors

Kind = Literal["logits", "probabilities", "values"]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One output that is taught: as logits or probabilities along an axis, or as plain values."""

    output: str
    kind: Kind
    axis: int = -1

    def loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, target: Any = None
    ) -> torch.Tensor:
        """How far the student is from the teacher: `divergence` for classes, the mean squared error for values.

        Positions whose target is IGNORED are padding: nothing is learned from what a teacher says there.
        """
        if self.kind == "values":
            student, teacher = (_counted(output, target, 0) for output in (student, teacher))
            return F.mse_loss(student, teacher)
        if self.kind == "probabilities":
            student, teacher = student.clamp_min(1e-12).log(), teacher.clamp_min(1e-12).log()
        student, teacher = (_counted(output.movedim(self.axis, -1), target, 1) for output in (student, teacher))
        return divergence(student, teacher, temperature=temperature)


def divergence(
    student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 1.0, axis: int = -1
) -> torch.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) along an axis, the mean over all others.

    T^2 keeps the gradient's size where it is beside a loss on labels. For a T far above the logits the gradient with
    respect to a student's logit approaches (z - v) / N, N classes, both logits z and v zero-meaned.

    Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) sec. 2 and eq. 2 to 4; KL for their cross-entropy, which has
    the same gradient and is 0 where the two agree.
    """
    soft = (teacher / temperature).log_softmax(axis)
    mine = (student / temperature).log_softmax(axis)
    return temperature**2 * (soft.exp() * (soft - mine)).sum(axis).mean()


def class_axis(output: torch.Tensor, target: Any, classes: int = 0) -> int | None:
    """The axis of an output that holds one logit a class for targets that are class numbers; None where there is none.

    (N, C) for (N,), (N, T, C) for (N, T), (N, C, H, W) for (N, H, W); C is `classes`, where that is not 0.
    """
    if not isinstance(target, torch.Tensor) or target.is_floating_point() or not output.is_floating_point():
        return None
    if output.shape[:-1] == target.shape and classes in (0, output.shape[-1]):
        return output.ndim - 1
    dense = output.ndim > 2 and (*output.shape[:1], *output.shape[2:]) == target.shape
    return 1 if dense and classes in (0, output.shape[1]) else None


def plan_lessons(model: Model, task: Task | None, target: Any, answers: Mapping[str, torch.Tensor]) -> list[Lesson]:
    """Decide for each output how it is taught, from a batch of the teacher's answers.

    States and whole-number outputs are not taught. An output has classes along an axis where

    - the targets are whole numbers, its shape is theirs with one axis more, and that axis is as long as the task has
      labels, or the task names none;
    - or, without targets, its last axis is as long as the model has labels, or, for (N, T, C), as an input of whole
      numbers has values: a next token.

    Everything else is values. Classes that are all positive and add up to 1 are probabilities, else they are logits.

    Raises:
        TrainingError: no output is left.
    """
    states = {spec.state_of for spec in model.inputs}
    lessons = []
    for spec in model.outputs:
        answer = answers.get(spec.name)
        if spec.name in states or answer is None or not answer.is_floating_point():
            continue
        axis = _axis(model, task, target, answer)
        lessons.append(Lesson(output=spec.name, kind=_kind(answer, axis), axis=-1 if axis is None else axis))
    if not lessons:
        raise TrainingError(
            f"no output of {model.name or 'the model'} can be taught: {[s.name for s in model.outputs]} are states or "
            "whole numbers. Give a model whose scores, and not only its decisions, are outputs."
        )
    return lessons


def taught(
    lessons: Sequence[Lesson], outputs: Tensors, answers: Tensors, temperature: float, target: Any = None
) -> torch.Tensor:
    """The sum over the lessons of how far the student is from the teacher; what the target ignores is not taught."""
    parts = [lesson.loss(outputs[lesson.output], answers[lesson.output], temperature, target) for lesson in lessons]
    return torch.stack(parts).sum()


def _counted(output: torch.Tensor, target: Any, classes: int) -> torch.Tensor:
    """The rows of an output, (rows, ...), whose target counts; all of it where none is ignored.

    Args:
        output: (*target's shape, ...), the last axis being the classes where there are some; of another shape, an
            output is not one of positions, and is taken whole.
        target: class numbers, or anything else.
        classes: 1 where the output has classes.
    """
    if not isinstance(target, torch.Tensor) or target.is_floating_point() or target.ndim < 2:
        return output
    shape = output.shape[:-1] if classes else output.shape[: target.ndim]
    ignored = target == IGNORED
    return output[~ignored] if shape == target.shape and bool(ignored.any()) else output


def _axis(model: Model, task: Task | None, target: Any, answer: torch.Tensor) -> int | None:
    classes = len(task.labels) if task is not None and task.labels else len(model.labels)
    if target is not None:
        return class_axis(answer, target, classes)
    tokens = {spec.high for spec in model.inputs if spec.high} if answer.ndim == 3 else set()
    return answer.ndim - 1 if answer.ndim >= 2 and answer.shape[-1] in ({classes} | tokens) - {0, 1} else None


def _kind(answer: torch.Tensor, axis: int | None) -> Kind:
    if axis is None:
        return "values"
    sums = answer.sum(axis)
    return "probabilities" if bool((answer >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()) else "logits"
