"""How much each unit matters: one number a unit for every group, by one of several importances. Imports no torch.

An importance is a function (model, ties, axes, context) -> {axis: one number a unit}; the larger, the more it matters.
It leaves the model as it is and gives the same for the same seed. Of a group that it can say nothing about it leaves
the axis out, and l2 is asked instead. Another package offers its own by an entry point (`compress.plugins`), and
anybody's function can be named as pkg.module:function. What a function needs: `ties.tensors` holds every weight with
its dimensions, and `axes.share_out` adds one value an index of a dimension up to one value a unit.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.base import Context, Note
from compress.plugins import find_code
from models.errors import CompressError, UsageError, did_you_mean
from models.records import Model

from .axes import Axis

if TYPE_CHECKING:
    from .ties import Ties

Scores = dict[Axis, np.ndarray[Any, np.dtype[np.float64]]]

# name -> "module:function"; "random" is the control
IMPORTANCES: dict[str, str] = {
    "l2": "compress.pruning.weight_norms:l2",
    "l1": "compress.pruning.weight_norms:l1",
    "bn-scale": "compress.pruning.batch_norm_scale:bn_scale",
    "taylor": "compress.pruning.taylor:taylor",
    "activation": "compress.pruning.activation:activation",
    "random": "compress.pruning.importance:random",
}
_FALLBACK = "l2"


class Importance(Protocol):
    """Scores the units of some axes."""

    def __call__(self, model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Mapping[Axis, Any]:
        """One number a unit, an array of the axis's size, for each axis that it can say something about."""
        ...


def random(model: Model, ties: Ties, axes: Sequence[Axis], context: Context) -> Scores:
    """The control: numbers that depend on the seed alone."""
    rng = np.random.default_rng(context.seed)
    return {axis: rng.random(axis.size) for axis in axes}


def score_units(
    model: Model, ties: Ties, axes: Sequence[Axis], kind: str, context: Context
) -> tuple[Scores, tuple[Note, ...]]:
    """One number a unit for each axis, and a note where the importance had to leave a group to l2.

    Args:
        model: its network is `ties.network`; it is left as it is.
        ties: its analysis.
        axes: of the groups to score.
        kind: one of IMPORTANCES, the name of a plug-in's, or pkg.module:function.
        context: its task or calibration data is what a data-driven importance measures on; its seed draws the batches.

    Raises:
        UsageError: there is no such importance, or it needs data and there is none; `--data` is named.
        CompressError: a plug-in's importance raised, or gives no finite number for each unit.
    """
    found = find_importance(kind)(model, ties, axes, context)
    scores = {axis: _checked(found[axis], axis, kind) for axis in axes if axis in found}
    left = [axis for axis in axes if axis not in scores]
    if not left:
        return scores, ()
    scores |= {axis: np.ones(axis.size) for axis in left}  # a group of biases alone has no weights to tell by
    scores |= find_importance(_FALLBACK)(model, ties, left, context)
    return scores, (Note("", f"importance {kind!r} says nothing of {_layers(ties, left)}: scored by {_FALLBACK}"),)


def find_importance(name: str) -> Importance:
    """The function of that name.

    Raises:
        UsageError: there is none.
        CompressError: it belongs to a plug-in that is broken.
    """
    if name in IMPORTANCES:
        module, _, function = IMPORTANCES[name].partition(":")
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    found = find_code("importance", name, option="--importance")
    if found is None:
        near = did_you_mean(name, IMPORTANCES) or f" There are: {', '.join(IMPORTANCES)}."
        raise UsageError(f"prune: no importance named {name!r}.{near} Your own is named as pkg.module:function.")
    return found  # type: ignore[no-any-return]


def comparable(name: str) -> bool:
    """Whether an importance's scores of different groups are in one unit: its function says so, `comparable = True`."""
    return bool(getattr(find_importance(name), "comparable", False))


def _checked(values: Any, axis: Axis, kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, np.float64)
    if array.shape != (axis.size,):
        raise CompressError(
            f"prune: importance {kind!r} gives numbers of shape {list(array.shape)} for a group of {axis.size} units; "
            f"wanted one a unit, [{axis.size}]. The mistake is in that function."
        )
    if not np.isfinite(array).all():
        raise CompressError(
            f"prune: importance {kind!r} gives numbers that are not finite for a group of {axis.size} units. "
            "Look for NaN or huge values in the model's weights and in the data."
        )
    return array


def _layers(ties: Ties, axes: Sequence[Axis]) -> str:
    """The first layer of each group."""
    from .units import groups_of

    layers = [group.layer or "the network" for group in groups_of(ties) if group.axis in set(axes)]
    return ", ".join(f"'{layer}'" for layer in dict.fromkeys(layers)) or "a group"
