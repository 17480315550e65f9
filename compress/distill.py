"""Distillation: a small network learns the soft answers of a large one, beside the labels or without them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from models.errors import UsageError, did_you_mean
from models.records import Model

from .base import Context, NetworkForm, Note, Outcome
from .student import narrowed, new_student, untouched
from .training.recovery import recover, untrained
from .training.settings import Recovery


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Train a small network to answer as a large one does.

    With a student or a width, MODEL is the teacher. Without them MODEL, as the passes before have left it, is the
    student's start, and the recipe's first model teaches. For classes the loss is alpha T^2 KL(teacher at temperature
    T, student at T) + (1 - alpha) cross-entropy with the labels; for other outputs the mean squared error takes the
    place of the first term, and the task's own loss that of the second.

    Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531) sec. 2.
    """

    name: ClassVar[str] = "distill"

    student: str = field(
        default="", metadata={"help": "The small network: a reference model, or pkg.module:factory. MODEL teaches it."}
    )
    width: float = field(
        default=0.0, metadata={"help": "Instead: a copy of MODEL with this share of its units, 0 to 1; 0 is not used."}
    )
    temperature: float = field(
        default=4.0, metadata={"help": "How soft the teacher's answers are; at 1 they are as they are."}
    )
    alpha: float = field(
        default=0.9, metadata={"help": "Weight of the teacher, 0 to 1, the labels have the rest; at 0 nobody teaches."}
    )
    steps: int = field(default=1000, metadata={"help": "Batches to train on."})
    minutes: float = field(default=0.0, metadata={"help": "A budget of time in place of steps; 0 is not used."})
    learning_rate: float = field(default=6e-3, metadata={"help": "At the height of a cosine with warm-up."})
    batch_size: int = field(default=0, metadata={"help": "Samples in a batch; 0 is the data's own."})
    loss: str = field(
        default="",
        metadata={
            "help": "Of the labels, in place of the task's own: a plug-in's, or pkg.module:function.",
            "plugin": "loss",
        },
    )
    skip: tuple[str, ...] = field(default=(), metadata={"help": "A pattern of layers of the student left as they are."})

    def __post_init__(self) -> None:
        """Refuse values out of their ranges."""
        for name in ("temperature", "learning_rate"):
            if not (value := getattr(self, name)) > 0 or math.isinf(value):
                raise UsageError(f"distill: {name} {value:g} asked, it must be more than 0.")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"distill: alpha {self.alpha:g} asked, it must lie from 0 to 1.")
        if not 0 <= self.width < 1:
            raise UsageError(f"distill: width {self.width:g} asked, it must lie from 0 (not used) to less than 1.")
        if self.student and self.width:
            raise UsageError(
                f"distill: both student {self.student!r} and width {self.width:g} asked. Give one of them."
            )
        if self.steps < 0 or self.batch_size < 0 or not 0 <= self.minutes < math.inf:
            raise UsageError(
                f"distill: steps {self.steps}, minutes {self.minutes:g}, batch_size {self.batch_size} asked; none may "
                "be less than 0."
            )
        if not self.steps and not self.minutes:
            raise UsageError("distill: steps 0 and minutes 0 asked, so nothing would be learned. Give one of them.")

    @property
    def takes(self) -> NetworkForm:
        """A torch network: it is trained."""
        return "torch"

    def __call__(self, model: Model, context: Context) -> Outcome:
        """Teach the student; the model that came in is untouched.

        Raises:
            UsageError: teacher and student are the same, or do not fit each other.
            DataError: there is no data to learn from.
            TrainingError: it diverged.
        """
        teacher = model if self.student or self.width else context.teacher
        student = self._student(model, context)
        if self.alpha and (teacher is None or untouched(student, teacher)):
            raise UsageError(
                f"distill: {model.name or 'the model'!r} would be taught by itself, and there is nothing to learn. "
                "Name the small network (--student dscnn-fsdd, --student pkg.module:factory, or --width 0.5 for a "
                "narrowed copy), or put distill after a pass that makes the model smaller."
            )
        frozen = _matching(student, self.skip)
        trained, facts = recover(
            student,
            replace(context, teacher=teacher if self.alpha else None),
            Recovery(
                learning_rate=self.learning_rate,
                temperature=self.temperature,
                teacher_weight=self.alpha,
                batch_size=self.batch_size,
                loss=self.loss,
            ),
            steps=0 if self.minutes else self.steps,
            minutes=self.minutes,
            frozen=frozen,
            recalibrate=True,
            checkpoint=context.checkpoint,
            resume=context.resume,
            what="distill",
        )
        by = f"one of {_parameters(teacher):,}" if self.alpha and teacher is not None else "labels alone"
        note = f"a network of {_parameters(trained):,} parameters taught by {by} in {facts['steps']} steps"
        return Outcome(
            trained,
            changed=(Note("", note),),
            skipped=(
                *(Note(layer, "left as it is: --skip") for layer in frozen),
                *(Note("", f"distill: {left}") for left in [untrained(trained)] if left),
            ),
            facts=facts,
        )

    def _student(self, model: Model, context: Context) -> Model:
        if self.student:
            return new_student(self.student, model, seed=context.seed)
        return narrowed(model, self.width, context) if self.width else model


def _parameters(model: Model) -> int:
    if model.is_onnx:
        constants = [value.const_value for value in model.onnx.graph.initializers.values()]
        return sum(constant.size for constant in constants if constant is not None)
    return sum(parameter.numel() for parameter in model.module.parameters())


def _matching(student: Model, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Layers with parameters of their own whose names fit a pattern; raises UsageError for a pattern that fits none."""
    modules = student.module.named_modules()
    layers = [name for name, module in modules if name and any(True for _ in module.parameters(recurse=False))]
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            near = did_you_mean(pattern, layers) or f" There are: {', '.join(layers[:8])}."
            raise UsageError(f"distill: --skip {pattern!r} fits no layer of the student.{near}")
    return tuple(layer for layer in layers if any(fnmatchcase(layer, pattern) for pattern in patterns))
