"""The groups of units of a model as a table: which can be cut, and which operation keeps the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from models.records import Model

from .axes import Axis, Mask, keep_mask
from .ties import Ties
from .units import Group, analyse, groups_of

if TYPE_CHECKING:
    from compress.console import Console

_SHOWN = 4  # places of a group that the table names; all are in the document


@dataclass(frozen=True)
class Row:
    """One group as it is told.

    Attributes:
        layer: the first layer that makes the units.
        kind: its type; "parameter" for a tensor that is no layer's.
        size: how many units.
        places: weight and dimension, as in "features.0.weight[0]".
        reason: which operation keeps them, and why; "" where they can be cut.
    """

    layer: str
    kind: str
    size: int
    places: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Summary:
    """Of all groups, those that can be cut.

    Attributes:
        parameters: of the network; cuttable_parameters are those that go when all units of all such groups do.
    """

    groups: int
    cuttable_groups: int
    units: int
    cuttable_units: int
    parameters: int
    cuttable_parameters: int

    def __str__(self) -> str:
        """One line a person can read."""
        share = self.cuttable_parameters / self.parameters if self.parameters else 0.0
        return (
            f"{self.cuttable_units:,} of {self.units:,} units, in {self.cuttable_groups} of {self.groups} groups, can "
            f"be cut; they hold {share:.1%} of {self.parameters:,} parameters"
        )


def table_of(model: Model) -> tuple[tuple[Row, ...], Summary]:
    """The groups of a model, in the order of its layers, and what they come to.

    Args:
        model: lifted, or ONNX, which is lifted first.

    Raises:
        LiftError: it is ONNX and has no torch form.
    """
    if model.is_onnx:
        from export.from_onnx import lift_onnx

        model = lift_onnx(model)
    network = model.network
    assert isinstance(network, nn.Module)
    ties = analyse(model)
    found = list(groups_of(ties))
    rows = tuple(Row(g.layer, _kind(network, g.layer), g.size, g.places, g.reason) for g in found)
    return rows, _summary(ties, found)


def tell(console: Console, model: Model) -> None:
    """Print the table and its sum, or one document."""
    rows, summary = table_of(model)
    cells = [(r.layer or "the network", r.kind, _some(r.places), _fate(r), f"{r.size:,}") for r in rows]
    console.table(("layer", "type", "where", "", "units"), cells, texts=4)
    console.result(str(summary))
    console.document(model=model.name, groups=rows, summary=summary)


def _summary(ties: Ties, found: Sequence[Group]) -> Summary:
    free = [group for group in found if not group.reason]
    none: dict[Axis, Mask] = {group.axis: np.zeros(group.size, bool) for group in free}
    left = total = 0
    for tied in ties.tensors.values():
        if isinstance(tied.tensor, nn.Parameter):
            total += tied.tensor.numel()
            left += int(np.prod([keep_mask(dim, none).sum() for dim in tied.dims]))
    return Summary(
        groups=len(found),
        cuttable_groups=len(free),
        units=sum(g.size for g in found),
        cuttable_units=sum(g.size for g in free),
        parameters=total,
        cuttable_parameters=total - left,
    )


def _kind(network: nn.Module, layer: str) -> str:
    module = network.get_submodule(layer)
    return "parameter" if type(module) is nn.Module or module is network else type(module).__name__


def _some(places: Sequence[str]) -> str:
    more = len(places) - _SHOWN
    return ", ".join(places[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _fate(row: Row) -> str:
    return f"kept: {row.reason}" if row.reason else "can be cut"
