"""How much each unit matters by how much the loss would change without it, to first order.

Setting weights w to zero changes a loss by -sum(g w) to first order, g being the gradient. A unit's score is the
absolute value of that sum over all weights that read it (`.readers`), averaged over batches: the gradient of a trained
network is near zero on average, and its size from batch to batch is what tells units apart. What reads a unit is what
goes with it; the weights that make it would count it again, or before a batch normalization count what that undoes.
A unit that no layer reads is scored by all that it holds. The score is in units of the loss, so that nothing is
normalized and groups can be compared. Statistics and dropout are as in use.

Without labels the loss is the mean square of the outputs: how much of what the network says goes with the unit. (How
far the outputs are from a teacher's would say nothing: there the gradient at the teacher itself is zero.)

Source: Molchanov et al. 2019 (arXiv:1906.10771) sec. 3.1, the contribution of a group of weights; its absolute value,
Molchanov et al. 2017 (arXiv:1611.06440) sec. 2.2; the loss without labels, Aljundi et al. 2018 (arXiv:1711.09601)
sec. 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.base import Context
from compress.training.feed import Tensors, own_generators
from export.lifted import evaluating
from models.errors import CompressError, TrainingError
from models.records import Model

from .axes import Axis, share_out
from .importance import Scores
from .measured_on import batches
from .readers import Place, reading_places
from .ties import Tied, Ties

Objective = Callable[[Tensors, Any], torch.Tensor]


def taylor(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """The mean over batches of |sum of g w| where a unit is read; groups that the loss does not reach are left out.

    Raises:
        UsageError: there is no data.
        TrainingError: the data does not fit the network or the loss.
    """
    weights = [tied for tied in ties.tensors.values() if isinstance(tied.tensor, nn.Parameter)]
    sums: Scores = {}
    count, read = 0, reading_places(ties)
    with own_generators(context.seed), evaluating(ties.network), _differentiable(weights):
        for inputs, target in batches(model, context, "taylor"):
            labelled = context.task is not None and target is not None
            objective = context.task.loss if labelled and context.task is not None else mean_square
            gradients = _gradients(model, weights, objective, inputs, target)
            for axis, change in _changes(weights, gradients, axes, read).items():
                sums[axis] = sums.get(axis, 0.0) + np.abs(change)
            count += 1
    return {axis: values / count for axis, values in sums.items()}


taylor.comparable = True  # type: ignore[attr-defined]


def mean_square(outputs: Tensors, target: Any) -> torch.Tensor:
    """The mean square of what is given, each output over its own mean square so that none outweighs another."""
    floats = [output for output in outputs.values() if output.is_floating_point()]
    squares = [output.square().mean() for output in floats]
    return torch.stack([s / s.detach().clamp_min(torch.finfo(s.dtype).tiny) for s in squares]).sum()


def _gradients(
    model: Model, weights: Sequence[Tied], objective: Objective, inputs: Tensors, target: Any
) -> tuple[torch.Tensor | None, ...]:
    """The gradient of the loss of one batch by each weight; nothing is left in `.grad`."""
    try:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # its recurrent layers go back in training
            given = model.module(*inputs.values())
            given = given if isinstance(given, tuple) else (given,)
            loss = objective({spec.name: value for spec, value in zip(model.outputs, given, strict=True)}, target)
            return torch.autograd.grad(loss, [tied.tensor for tied in weights], allow_unused=True)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, CompressError):
            raise
        shapes = ", ".join(f"{name} {str(a.dtype)[6:]}{list(a.shape)}" for name, a in inputs.items())
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise TrainingError(
            f"prune: importance 'taylor', batch {shapes}: {reason} ({type(error).__name__}). "
            "Check that the data fits the network and the loss."
        ) from error


def _changes(
    weights: Sequence[Tied], gradients: Sequence[torch.Tensor | None], axes: Sequence[Axis], read: Collection[Place]
) -> dict[Axis, np.ndarray[Any, Any]]:
    """The sum of g w over each unit where it is read, else wherever it is, of the axes that the loss reaches."""
    wanted = set(axes)
    reading: dict[Axis, np.ndarray[Any, Any]] = {}
    other: dict[Axis, np.ndarray[Any, Any]] = {}
    for tied, gradient in zip(weights, gradients, strict=True):
        if gradient is None:
            continue
        product = (gradient * tied.tensor.detach()).double().cpu().numpy()
        for position, dim in enumerate(tied.dims):
            found = reading if (id(tied.tensor), position) in read else other
            per_index = product.sum(tuple(i for i in range(product.ndim) if i != position))
            for axis, values in share_out(dim, per_index):
                if axis in wanted:
                    found[axis] = found.get(axis, 0.0) + values
    return other | reading


@contextmanager
def _differentiable(weights: Sequence[Tied]) -> Iterator[None]:
    """Gradients of frozen parameters too, meanwhile."""
    frozen = [tied.tensor for tied in weights if not tied.tensor.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
