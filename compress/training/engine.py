"""The one training engine: a network, a task and a budget go in; the network is trained, repeatably to the bit.

One process and plain torch: what a training framework would add here (placing tensors, one backward call) is four
lines, and importing one costs more than loading torch itself.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from compress.base import Progress
from compress.layout import channels_last
from models.errors import DeviceError, TrainingError, UsageError
from models.records import Task, Training

from .budget import budget
from .early_stop import EarlyStop, is_due
from .feed import Feed, Tensors, generators, own_generators, set_generators
from .optimizer import learning_rate, make_optimizer
from .precision import Precision, dtype_for, scaler_for
from .state import Average, Loss, Run, identity, restore, store
from .step import advance, refuse_divergence
from .teaching import class_axis

_FIRST_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 0.2, 0.02  # at most this share of the time goes into writing them
_CHECK_EVERY = 50  # steps between two looks at the losses: on a GPU each look waits for the device


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """What a training did; `steps` and `seed` repeat it, however its budget was given.

    Args:
        steps: of the whole run; an early stop leaves some of them out.
        epochs: passes over the training split that were begun.
        seconds: of training alone, before and after a resume.
        losses: (step, mean loss since the entry before), about twenty of them.
        resumed_at: the step a checkpoint was taken up at; 0 for a run from the start.
        stopped_at: the step an early stop ended it after; 0 where it ran to its end.
        best_step: the step whose weights were kept by an early stop's looks; 0 where there were none.
        precision: what products and convolutions were computed in.
    """

    steps: int
    epochs: int
    seconds: float
    seed: int
    device: str
    losses: tuple[tuple[int, float], ...]
    resumed_at: int = 0
    stopped_at: int = 0
    best_step: int = 0
    precision: str = "float32"


def train(
    network: nn.Module,
    task: Task,
    training: Training,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    loss: Loss | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    seed: int = 0,
    train_on: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Progress | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    precision: Precision = "off",
    early_stop: EarlyStop | None = None,
    also: Mapping[str, Any] = MappingProxyType({}),
    what: str = "train",
) -> TrainingLog:
    """Train a network in place and leave it in eval mode, on the device it came from.

    Args:
        network: takes its inputs by position; gives a tensor, several in a tuple, or a dict.
        task: its train split and its loss are used.
        training: optimizer, schedule and averaging; `epochs` counts where neither steps nor minutes are given.
        inputs: names of the network's inputs in order, as in the task's batches.
        outputs: names of its outputs in order, as the loss takes them.
        loss: in place of task.loss (with `training.label_smoothing`).
        steps: batches to train on; a last epoch may be cut short.
        minutes: a budget of time; the steps that fit are measured on a copy, then fixed, so that the run can be
            repeated by `steps`.
        checkpoint: written in between and at the end, whole or not at all.
        checkpoint_seconds: time between two checkpoints, at most; small ones, quickly written, come more often.
        resume: go on from the checkpoint, where there is one, to the weights of an undisturbed run.
        seed: of the order of the batches, of dropout, and of what a loader draws.
        train_on: "auto" is a GPU where there is one.
        progress: told at most four times a second.
        after_step: called with the network after each step, to hold what must stay as it is.
        precision: in which numbers the network computes; see `.precision`.
        early_stop: end before the last step when the score stands still, and keep the best weights.
        also: what a run must share, beside its training and seed, with the checkpoint it resumes.
        what: what progress is told, and the first word of errors.

    Raises:
        TrainingError: the loss is no longer finite, or the network and the loss do not fit each other.
        DataError: the batches do not hold what the network takes.
        UsageError: the budget is not positive, or the checkpoint is of another run.
        DeviceError: there is no such device here.
    """
    device = place(train_on)
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        raise TrainingError(f"{what}: the network has no parameter that can be trained. {_frozen_layers(network)}")
    home = trained[0].device
    batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
    feed = Feed(task.train, inputs, seed=seed, device=device, alone=not batch_norm)
    objective = loss or task_loss(task, training.label_smoothing)

    def make_run(network: nn.Module, steps: int) -> Run:
        return Run(
            network=network,
            optimizer=make_optimizer(network, training),
            average=Average(network, training.average),
            feed=copy.copy(feed),
            objective=objective,
            outputs=tuple(outputs),
            training=training,
            seed=seed,
            steps=steps,
            what=what,
            dtype=dtype,
            scaler=scaler_for(dtype, device),
            also=also,
        )

    with own_generators(seed), torch.enable_grad():
        probe = next(feed.walk(), None)
        channels_last(network.to(device), list(probe[0].values()) if probe is not None else [])
        _train_mode(network)
        dtype = dtype_for(precision, network, device)
        if dtype is not None:
            also = {**also, "precision": str(dtype)[6:]}
        ours = identity(training, seed, also)
        saved = restore(checkpoint, ours, network) if resume and checkpoint is not None else None
        if saved is None:
            steps = budget(steps, minutes, training, feed, lambda: _trial(make_run(copy.deepcopy(network), 0)))
        elif steps not in (None, saved["steps"]):
            raise UsageError(f"{checkpoint}: a run of {saved['steps']} steps cannot be resumed as one of {steps}.")
        else:
            steps = saved["steps"]
        run = make_run(network, steps)
        if saved is not None:
            run.load(saved)
        try:
            resumed_at = run.step
            _loop(run, checkpoint, checkpoint_seconds, progress, after_step, early_stop)
            if run.best.weights:
                network.load_state_dict(run.best.weights)
            else:
                run.average.copy_into(network)
        finally:
            network.to(home, memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return TrainingLog(
        steps=steps,
        epochs=run.feed.epoch + 1,
        seconds=round(run.seconds, 3),
        seed=seed,
        device=device,
        losses=_curve(run.losses[: run.step]),
        resumed_at=resumed_at,
        stopped_at=run.step if run.step < steps else 0,
        best_step=run.best.step,
        precision=str(dtype or torch.float32)[6:],
    )


def _train_mode(network: nn.Module) -> None:
    """Dropout and batch statistics on, but not in layers whose parameters are all frozen: those stay as they are."""
    for module in network.train().modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.training = False


def place(train_on: Literal["auto", "cpu", "cuda"]) -> str:
    """Where training happens: "cpu" or "cuda"."""
    if train_on == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if train_on == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--train-on cuda: torch finds no CUDA device here. Use --train-on cpu, or auto.")
    return train_on


def task_loss(task: Task, label_smoothing: float = 0.0) -> Loss:
    """The task's own loss, with labels smoothed where it is a cross-entropy: a share of it towards all classes alike.

    Source: Szegedy et al. 2016 (arXiv:1512.00567) sec. 7.
    """

    def smoothed(outputs: Tensors, target: Any, inputs: Tensors) -> torch.Tensor:
        loss = task.loss(outputs, target)
        if not label_smoothing:
            return loss
        for output in outputs.values():
            if (axis := class_axis(output, target, len(task.labels))) is not None:
                return (1 - label_smoothing) * loss - label_smoothing * output.log_softmax(axis).mean()
        shapes = {name: list(output.shape) for name, output in outputs.items()}
        raise UsageError(
            f"train: label_smoothing={label_smoothing:g} needs class numbers as targets and a logit for each class; "
            f"task {task.name!r} has outputs {shapes}. Set it to 0."
        )

    return smoothed


def _loop(
    run: Run,
    checkpoint: Path | None,
    checkpoint_seconds: float,
    progress: Progress | None,
    after_step: Callable[[nn.Module], None] | None,
    early_stop: EarlyStop | None,
) -> None:
    began = saved_at = told_at = time.perf_counter()
    pause = min(checkpoint_seconds, _FIRST_CHECKPOINT_SECONDS)
    before = run.seconds
    batches = iter(run.feed)
    last = run.step == run.steps or _exhausted(run, early_stop)  # of a run that was finished and is resumed
    while not last:
        rate = learning_rate(run.step, run.steps, run.training)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        loss = advance(run, *next(batches))
        run.losses[run.step - 1] = loss
        if after_step is not None:
            after_step(run.network)
        if early_stop is not None and is_due(run.step, run.steps):
            _look(run, early_stop)
        now = time.perf_counter()
        run.seconds = before + now - began
        last = run.step == run.steps or _exhausted(run, early_stop)
        due = checkpoint is not None and (last or now - saved_at >= pause)
        if due or last or run.step % _CHECK_EVERY == 0:
            refuse_divergence(run)
        if due and checkpoint is not None:
            store(run, checkpoint)
            saved_at = time.perf_counter()
            pause = min(checkpoint_seconds, (saved_at - now) / _CHECKPOINT_SHARE)
        if progress is not None and (last or now - told_at >= 0.25):
            recent = float(run.losses[max(0, run.step - 20) : run.step].mean())
            progress(run.what, run.step, run.steps, detail=f"loss {recent:.4f}, rate {rate:.2g}")
            told_at = now


def _look(run: Run, early_stop: EarlyStop) -> None:
    """Score the weights that would be kept if training ended here."""
    before = generators()
    with run.average.in_place(run.network):
        run.best.take(early_stop.score(run.network), run.step, run.network)
    set_generators(before)  # the next step draws what it would have drawn without a look


def _exhausted(run: Run, early_stop: EarlyStop | None) -> bool:
    return early_stop is not None and run.best.stale >= early_stop.patience


def _frozen_layers(network: nn.Module) -> str:
    """In words, for the error where nothing can be trained."""
    frozen = [name or "itself" for name, layer in network.named_modules() if any(True for _ in layer.parameters(False))]
    if not frozen:
        return "It has no weights."
    return f"All its layers with weights are frozen ({', '.join(frozen[:4])}{', ...' * (len(frozen) > 4)})."


def _trial(run: Run) -> Callable[[], object]:
    """One training step of a run that nobody keeps, again and again."""
    batches = iter(run.feed)
    return lambda: advance(run, *next(batches))


def _curve(losses: torch.Tensor, points: int = 20) -> tuple[tuple[int, float], ...]:
    ends = sorted({round(len(losses) * (i + 1) / points) for i in range(points)} - {0})
    return tuple((end, float(losses[start:end].mean())) for start, end in zip([0, *ends], ends, strict=False))
