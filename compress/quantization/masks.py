"""Masks of attention whose fill lies no lower than is needed: the runtime's Softmax is slow where exp underflows.

Softmax(x + m) with m = -1e4 or -3e38 at masked places takes exp of numbers below -87, which no normal float32 holds:
five times as long on x86 (8 x 64 x 64: 117 us for 25 us). Calibration sees the scores x. With a fill f, a masked place
has the exponent f + x - t, where t is the highest score of its row that is not masked. Over all masked places seen, let
x - t lie between -below and above. Then

- f = below - 80 keeps every exponent at -80 or higher, normal with room for the division by the row's sum;
- f = log 1e-9 - above lets no masked place weigh more than 1e-9 of the one that leads its row.

The lower of both is taken, and nothing is done where that is as low as what underflows anyway. An absolute fill, of
Softmax(Where(c, f, x)), stands where f + x does: f = highest t - 80, and at most log 1e-9 + lowest t.

One mask that several layers read keeps one fill for them. Rows that are masked whole have no right answer: they were
even or not a number, and are now like rows without a mask. Where the graph looks for such rows, by IsNaN, the mask
stays, and so it does in further forms of a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.base import Note
from compress.quantization.calibration import runs
from compress.quantization.onnx_edit import Editor, editors
from export.parity import verify
from export.reading import is_, made_by, number, numbers_of
from models.errors import VerificationError
from models.records import Arrays, Model

LEAST = -80.0  # exp of it is 1.8e-35; of -87.4, the least normal number
LEAK = 1e-9  # the most that one masked place may weigh beside the place that leads its row
_DEPTH = 12  # nodes to go back from a mask to the number it is filled with
_BATCHES = 4  # to compare on
_SAME = 1e-5
Array = np.ndarray[Any, Any]
Fills = Mapping[str, float]  # by the name of the Softmax in the main graph


@dataclass(frozen=True)
class Site:
    """A Softmax over masked scores: what puts the mask on them, Add or Where, and both of its sides."""

    softmax: ir.Node
    joint: ir.Node
    scores: ir.Value
    mask: ir.Value

    @property
    def is_absolute(self) -> bool:
        """Whether the mask stands in the place of scores, and is not added to them."""
        return self.joint.op_type == "Where"


@dataclass(frozen=True)
class Nearer:
    """A model with nearer fills, which those are, and what there is to say of them."""

    model: Model
    fills: Fills = field(default_factory=dict)
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()


def nearer_masks(model: Model, seen: Sequence[Arrays]) -> Nearer:
    """Bring the fills of the main graph's masks as near as the scores allow that the data show; the rest stays.

    Args:
        model: ONNX, its nodes named; stays as it is.
        seen: calibration data; without any nothing is done.
    """
    found = sites(model.onnx)
    if not found or not seen:
        return Nearer(model)
    reaches = {site.softmax.name or "": Reach() for site in found}
    names = [value.name or "" for site in found for value in (site.scores, site.joint.outputs[0])]
    for tensors, _ in runs(model, names, seen):
        for site in found:
            both = tensors[site.scores.name or ""], tensors[site.joint.outputs[0].name or ""]
            reaches[site.softmax.name or ""].look(*both, is_absolute=site.is_absolute)
    fills = fills_for(found, reaches)
    if not fills:
        return Nearer(model)
    made = with_fills(model, fills)
    try:
        apart = verify(model, made, batches=seen[:_BATCHES]).max_rel
        why = f"outputs differ by {apart:.1g}" if apart > _SAME else ""
    except VerificationError as error:
        why = str(error)
    if why:
        return Nearer(model, skipped=(Note("", f"masks keep their fill: with a nearer one {why}"),))
    return Nearer(made, fills, notes(fills))


@dataclass
class Reach:
    """How far masked scores were seen to lie from the highest one of their row that is not masked.

    Args:
        below, above: as above; infinite and the wrong way round where nothing was seen.
        lowest, highest: of the highest scores of rows with masked ones in them.
    """

    below: float = -math.inf
    above: float = -math.inf
    lowest: float = math.inf
    highest: float = -math.inf

    def look(self, scores: Array, masked_scores: Array, *, is_absolute: bool) -> None:
        """Look at scores, and at the same with the mask on them; rows that are masked whole say nothing."""
        scores = np.broadcast_to(scores, masked_scores.shape)
        with np.errstate(invalid="ignore"):
            masked = masked_scores < (LEAST if is_absolute else scores + LEAST)
        masked &= masked_scores != scores
        mixed = masked.any(-1) & ~masked.all(-1)
        if not mixed.any():
            return
        scores, masked = scores[mixed], masked[mixed]
        top = np.where(masked, -np.inf, scores).max(-1)
        self.below = max(self.below, float((top - np.where(masked, scores, np.inf).min(-1)).max()))
        self.above = max(self.above, float((np.where(masked, scores, -np.inf).max(-1) - top).max()))
        self.lowest, self.highest = min(self.lowest, float(top.min())), max(self.highest, float(top.max()))

    def fill(self, *, is_absolute: bool) -> float:
        """The fill by the rule above; infinite where nothing was seen."""
        if is_absolute:
            return min(self.highest + LEAST, self.lowest + math.log(LEAK))
        return min(self.below + LEAST, math.log(LEAK) - self.above)

    def gains(self, *, is_absolute: bool) -> bool:
        """Whether a mask with the fill is quicker than one as low as it likes."""
        fill = self.fill(is_absolute=is_absolute)
        return math.isfinite(fill) and fill < 0 and fill - (self.lowest if is_absolute else 0.0) > LEAST

    def __or__(self, other: Reach) -> Reach:
        """What holds for the scores of both."""
        return Reach(
            max(self.below, other.below),
            max(self.above, other.above),
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
        )


def notes(fills: Fills) -> tuple[Note, ...]:
    """What was done, a layer each."""
    text = "its mask is filled with {:.1f}: low enough for its scores, and no lower, so that exp does not underflow"
    return tuple(Note(layer, text.format(fill)) for layer, fill in fills.items())


def sites(network: ir.Model) -> list[Site]:
    """All Softmax of the main graph, along the last axis, over scores with a mask on them."""
    found = []
    for node in network.graph:
        joint = made_by(node.inputs[0], "Add", "Where") if is_(node, "Softmax") else None
        checked = any(is_(user, "IsNaN") for user, _ in node.outputs[0].uses())
        if joint is None or checked or any(is_(user, "IsNaN") for user, _ in joint.outputs[0].uses()):
            continue
        for scores, mask in ((0, 1), (1, 0)) if joint.op_type == "Add" else ((1, 2), (2, 1)):
            x, m = joint.inputs[scores], joint.inputs[mask]
            if x is not None and m is not None and _is_computed(x) and _is_mask(m, absolute=joint.op_type == "Where"):
                found.append(Site(node, joint, x, m))
                break
    return found


def _is_computed(value: ir.Value) -> bool:
    return value.const_value is None and value.producer() is not None and not value.is_graph_input()


def _is_mask(value: ir.Value, *, absolute: bool) -> bool:
    """Whether some of its numbers are as low as only a mask's are; a fill in the place of scores is one number."""
    if absolute:
        fill = number(value)
        return fill is not None and fill < LEAST
    return _lowest(value, _DEPTH) < LEAST


def _lowest(value: ir.Value | None, depth: int) -> float:
    """The lowest number that goes into a mask; none where products of matrices do too, as into scores."""
    numbers = numbers_of(value)
    if numbers is not None:
        return float(numbers.min(initial=0)) if numbers.dtype.kind == "f" else 0.0
    node = value.producer() if value is not None else None
    if node is None or depth == 0:
        return 0.0
    if node.domain not in ("", "ai.onnx") or node.op_type in ("MatMul", "Gemm", "Conv", "Einsum", "Softmax"):
        return math.inf
    found = [_lowest(v, depth - 1) for v in node.inputs]
    return math.inf if math.inf in found else min(found, default=0.0)


def fills_for(found: Sequence[Site], reaches: Mapping[str, Reach]) -> dict[str, float]:
    """The fill of each site that gains by another one, by its Softmax's name; those of one mask have one."""
    groups: dict[ir.Value, list[Site]] = {}
    for site in found:
        if reaches[site.softmax.name or ""].gains(is_absolute=site.is_absolute):
            groups.setdefault(site.joint.outputs[0] if site.is_absolute else site.mask, []).append(site)
    fills = {}
    for group in groups.values():
        names, is_absolute = [site.softmax.name or "" for site in group], group[0].is_absolute
        together = reduce(or_, (reaches[name] for name in names))
        if together.gains(is_absolute=is_absolute):
            fills.update(dict.fromkeys(names, together.fill(is_absolute=is_absolute)))
    return fills


def with_fills(model: Model, fills: Fills) -> Model:
    """A copy of the model whose masks are filled so; layers that it does not have are passed over."""
    network = model.onnx.clone()
    _fill(network, fills)
    return replace(model, network=network)


def _fill(network: ir.Model, fills: Mapping[str, float]) -> None:
    edit = editors(network)[network.graph]
    made: dict[tuple[ir.Value, float], ir.Value] = {}
    for site in sites(network):
        fill = fills.get(site.softmax.name or "")
        if fill is None:
            continue
        key = site.mask, fill
        if key not in made:
            made[key] = _nearer(edit, site, fill)
        site.joint.replace_input_with(list(site.joint.inputs).index(site.mask), made[key])
    RemoveUnusedNodesPass()(network)


def _nearer(edit: Editor, site: Site, fill: float) -> ir.Value:
    """The mask with a nearer fill: a constant or a Where of one gets other numbers, else a Max stands behind it."""
    mask = site.mask
    dtype = mask.dtype.numpy() if mask.dtype is not None else np.dtype(np.float32)
    numbers, chosen = numbers_of(mask), made_by(mask, "Where")
    if numbers is not None:
        return edit.constant(f"{mask.name}_near", np.maximum(numbers, numbers.dtype.type(fill)))
    number_ = edit.shared("mask_fill", np.asarray(fill, dtype))
    if chosen is not None:
        fills = [value if (c := number(value)) is None or c >= LEAST else number_ for value in chosen.inputs[1:]]
        if number_ in fills and all(number(v) is not None for v in chosen.inputs[1:]):
            return edit.node("Where", [chosen.inputs[0], *fills], output=f"{mask.name}_near", before=chosen)
    after = site.joint if mask.producer() is None else mask.producer()
    made = edit.node("Max", [mask, number_], output=f"{mask.name}_near", before=after)
    if after is not site.joint and after is not None:  # behind what makes it, in front of all that read it
        maker = made.producer()
        assert maker is not None
        edit.graph.remove(maker)
        edit.graph.insert_after(after, maker)
    return made
