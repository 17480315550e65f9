"""One step of a training: forward, backward, the optimizer; what goes wrong in it becomes a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from models.errors import CompressError, TrainingError

from .feed import Tensors
from .optimizer import learning_rate
from .precision import computing_in
from .state import Run


def named(result: Any, outputs: Sequence[str]) -> Tensors:
    """A network's result under its outputs' names."""
    if isinstance(result, Mapping):
        return dict(result)
    parts = result if isinstance(result, tuple | list) else (result,)
    return dict(zip(outputs, parts, strict=True))


def advance(run: Run, inputs: Tensors, target: Any) -> torch.Tensor:
    """One step of the optimizer; gives the loss before it.

    Raises:
        TrainingError: the network, the batch and the loss do not fit each other.
    """
    loss = _backward(run, inputs, target)
    if run.training.clip_norm:
        run.scaler.unscale_(run.optimizer)
        torch.nn.utils.clip_grad_norm_(run.trained, run.training.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    run.average.update(run.step)
    return loss


def refuse_divergence(run: Run) -> None:
    """Raise TrainingError where a loss so far, or a parameter, is not finite."""
    finite = run.losses[: run.step].isfinite()
    if bool(finite.all()) and all(bool(p.isfinite().all()) for p in run.trained):
        return
    first = int(finite.logical_not().nonzero()[0]) if not bool(finite.all()) else run.step - 1
    raise TrainingError(
        f"{run.what}: diverged at step {first + 1} of {run.steps}, loss {float(run.losses[first]):g}, learning rate "
        f"{learning_rate(first, run.steps, run.training):.3g}. Try a learning rate of "
        f"{run.training.learning_rate / 10:.3g}, clip_norm 1, or a longer warmup; if it fails at step 1, look for NaN "
        "or huge values in the data."
    )


def _backward(run: Run, inputs: Tensors, target: Any) -> torch.Tensor:
    """Forward and backward of one batch; what a user's network or loss raises becomes a sentence."""
    try:
        loss = run.objective(_forward(run, inputs), target, inputs)
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, CompressError):
            raise
        shapes = ", ".join(f"{name} {str(a.dtype)[6:]}{list(a.shape)}" for name, a in inputs.items())
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise TrainingError(
            f"{run.what}: step {run.step + 1}, batch {shapes}: {reason} ({type(error).__name__}). "
            "Check that the data fits the network and the loss."
        ) from error
    return loss.detach()


def _forward(run: Run, inputs: Tensors) -> Tensors:
    if run.dtype is None:
        return named(run.network(*inputs.values()), run.outputs)
    with computing_in(run.dtype, run.feed.device):
        outputs = named(run.network(*inputs.values()), run.outputs)
    return {name: value.float() if value.dtype is run.dtype else value for name, value in outputs.items()}
