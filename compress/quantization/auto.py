"""The mode `auto`: makes every candidate, judges its loss, times it against float, and says which one and why.

A network of several forms is timed in each of them: what is never slower is so in the step that a device runs again and
again, and not in the whole sequence alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from compress.base import Context, Note, Progress
from compress.quantization.candidates import LOOPED, Candidate, Maker, static_name
from compress.quantization.choose import FLOAT, ByAgreement, ByScore, Judge, Judged, Loss, best, overall, timed
from compress.quantization.other_ranges import other_ranges
from compress.quantization.schemes import Scheme
from export.device import Device
from export.forms import MAIN
from export.machine import machine
from export.onnx_file import to_bytes
from export.session import optimized_graph
from models.errors import CompressError
from models.records import Arrays, Model, example, sizes_of

# operators of the optimized graph that compute in integers
_INTEGER = ("QLinear", "QGemm", "MatMulInteger", "DynamicQuantize", "ConvInteger")


@dataclass(frozen=True)
class Decision:
    """The candidate to return, and the numbers it was chosen by."""

    chosen: Candidate
    facts: Mapping[str, Any]


def decide(
    maker: Maker,
    context: Context,
    device: Device,
    unseen: Sequence[Arrays],
    *,
    max_drop: float,
    prefer: Literal["speed", "size"],
) -> Decision:
    """Choose for this device.

    Args:
        maker: of the candidates.
        context: for its task, stopwatch and seed.
        device: the target; timed only where times taken here are its times.
        unseen: data that were not calibrated on; empty where there are none.
        max_drop: points that may be lost.
        prefer: the fastest, or the smallest that is no slower.
    """
    model = maker.model
    offered, refused = _offered(maker, context.progress)
    judge, judged_on = _judge(model, context, unseen, max_drop)
    judged = []
    for position, (candidate, nodes) in enumerate(offered.values()):
        _tell(context.progress, "judging candidates", position, len(offered), candidate.name)
        judged.append(_judged(candidate, nodes, _ITSELF if candidate.name == FLOAT else judge(candidate.model)))
    static = [one for one in judged if one.name.startswith("static")]
    lost = [] if any(one.loss.keeps for one in static) else [one.name for one in static]
    for candidate, loss in other_ranges(maker, lost, judge):
        nodes = integer_nodes(candidate.model) if maker.scheme.fuses else {}
        if loss.keeps:
            offered[candidate.name] = candidate, nodes
            judged.append(_judged(candidate, nodes, loss))
        else:  # need not be timed
            refused.append({"name": candidate.name, "refused": f"it loses too much: {loss.text}"})
    timed_on = ""
    if context.measure is not None and (device.is_here or device.name == "any") and len(offered) > 1:
        _tell(context.progress, "timing candidates", len(offered), len(offered), "by turns")
        judged, timed_on = _with_times(judged, context, unseen), machine()["instruction_set"]
    order = [n for start in _untimed_order(maker.scheme, device) for n in offered if n.split(",")[0] == start]
    winner = best(judged, prefer, order=order)
    chosen, nodes = offered[winner.name]
    why = _why(winner, judged, device, timed_on, prefer)
    if not maker.ranges and not maker.scheme.why_not_int8:
        why += "; static int8 was not tried: there are no calibration data"
    facts = {
        "chosen": winner.name,
        "why": why,
        "judged_on": judged_on,
        "timed_on": timed_on,
        "integer_nodes": nodes,
        "candidates": [*map(_row, judged), *refused],
    }
    return Decision(replace(chosen, skipped=(Note("", why), *chosen.skipped)), facts)


_ITSELF = Loss(points=0.0, text="what the others are held against", keeps=True)


def _offered(
    maker: Maker, progress: Progress | None
) -> tuple[dict[str, tuple[Candidate, dict[str, int]]], list[dict[str, Any]]]:
    """Each candidate with its integer nodes, float first; and those that are no choice, with the reason."""
    offered: dict[str, tuple[Candidate, dict[str, int]]] = {FLOAT: (Candidate(FLOAT, maker.model), {})}
    refused: list[dict[str, Any]] = []
    makers = list(_makers(maker))
    for position, (name, make) in enumerate(makers):
        _tell(progress, "making candidates", position, len(makers), name)
        try:
            candidate = make()
            nodes = integer_nodes(candidate.model) if maker.scheme.fuses else {}
        except CompressError as error:  # an old graph that no converter raises, or one that the runtime does not take
            refused.append({"name": name, "refused": str(error)})
            continue
        if not candidate.changed:
            refused.append({"name": name, "refused": "it changes no layer"})
        elif maker.scheme.fuses and not nodes and name.startswith(("static", "dynamic")):
            refused.append({"name": name, "refused": "the runtime computes nothing of it in integers"})
        else:
            offered[name] = candidate, nodes
    return offered, refused


def _judged(candidate: Candidate, nodes: Mapping[str, int], loss: Loss) -> Judged:
    return Judged(
        name=candidate.name,
        model=candidate.model,
        bytes=size(candidate.model),
        loss=loss,
        integer_nodes=sum(nodes.values()),
    )


def _tell(progress: Progress | None, what: str, done: int, total: int, detail: str) -> None:
    if progress is not None:
        progress(what, done, total, detail=detail)


def _makers(maker: Maker) -> Iterator[tuple[str, Callable[[], Candidate]]]:
    """What there is to choose from; static int8 only where calibration saw something."""
    scheme = maker.scheme
    yield "weights", maker.weights
    yield "fp16", maker.half
    if scheme.why_not_int8:
        return
    if maker.ranges:
        for per_channel in (True, False):
            for operators in (False, True) if scheme.fuses else (False,):
                name = static_name(per_channel, operators)
                yield name, partial(maker.static, store_rest=True, per_channel=per_channel, operators=operators)
    if scheme.fuses:
        yield "dynamic", partial(maker.dynamic, store_rest=True)
        if maker.has_loops():
            yield LOOPED, partial(maker.dynamic, store_rest=True, loops=True)


def integer_nodes(model: Model) -> dict[str, int]:
    """How many integer nodes of each operator the runtime's optimized graph has."""
    return {op: n for op, n in optimized_graph(model).items() if op.startswith(_INTEGER)}


def _judge(model: Model, context: Context, unseen: Sequence[Arrays], max_drop: float) -> tuple[Judge, str]:
    """By labels where there are some, else by agreement with float, and on which data."""
    if context.task is not None:
        return ByScore(context.task, model, max_drop), f"validation split of {context.task.name}"
    if unseen:
        return ByAgreement(model, unseen, max_drop), "data held out from calibration, against float"
    noise = example(model.inputs, sizes_of(model), seed=context.seed)
    return ByAgreement(model, [noise], max_drop), "random inputs, against float: there are no data"


def size(model: Model) -> int:
    """Bytes of all forms' files."""
    parts = [
        replace(model, network=form.network, inputs=form.inputs, outputs=form.outputs) for form in model.forms.values()
    ]
    return sum(len(to_bytes(replace(part, forms={}))) for part in (model, *parts))


def _with_times(judged: Sequence[Judged], context: Context, unseen: Sequence[Arrays]) -> list[Judged]:
    timings = timed({one.name: one.model for one in judged}, context, unseen)
    main = timings[MAIN].timings
    return [
        replace(
            one,
            median_ms=main[one.name].median_ms,
            comparison=overall(timings, one.name),
            forms={form: c for form, taken in timings.items() for c in taken.comparisons if c.b == one.name},
        )
        for one in judged
    ]


def _untimed_order(scheme: Scheme, device: Device) -> tuple[str, ...]:
    """What to prefer where nothing is timed: what the device computes in, else what costs no time by construction."""
    if scheme.half_computes and scheme.why_not_int8:
        return ("fp16",)
    if not scheme.fuses or not (device.is_here or device.name == "any"):
        return ("static per channel", "static per tensor", "dynamic", "weights", "fp16")
    return ("weights", "fp16")


def _why(winner: Judged, judged: Sequence[Judged], device: Device, timed_on: str, prefer: str) -> str:
    original = judged[0]
    kept = f"{winner.loss.text}" if winner.name != FLOAT else ""
    sizes = f"{winner.bytes:,} bytes for {original.bytes:,}"
    if not timed_on:
        return (
            f"{winner.name}: {sizes}, {kept}; not timed: {_untimed(device)}" if kept else f"float kept: {_none(judged)}"
        )
    if winner.standing == "faster":
        return f"{winner.name}: {_pace(winner)} times as fast as float on {timed_on}, {sizes}, {kept}"
    reason = "asked for size" if prefer == "size" else _none(judged)
    return f"{winner.name}: {reason}; {sizes} at the speed of float, {kept}" if kept else f"float kept: {reason}"


def _pace(one: Judged) -> str:
    """Its speed against float's; of several forms, each one's."""
    if len(one.forms) < 2:
        return f"{one.speedup:.2f}"
    return ", ".join(f"{form} {found.speedup:.2f}" for form, found in one.forms.items())


def _none(judged: Sequence[Judged]) -> str:
    """Why none of the others is faster and right."""
    others = judged[1:]
    if not others:
        return "there is nothing to compress"
    quick = [one for one in others if one.standing == "faster"]
    if quick:
        one = max(quick, key=lambda one: one.speedup)
        return f"the fastest, {one.name} ({one.speedup:.2f} times), loses too much: {one.loss.text}"
    tried = [one for one in others if one.integer_nodes]
    if not tried:
        return "nothing in it has an int8 kernel that could make it faster"
    one = max(tried, key=lambda one: one.speedup)
    pace = "" if one.comparison is None else f" ({one.speedup:.2f} times float's speed, {one.standing})"
    return f"no int8 candidate is faster than float; the best is {one.name}{pace}"


def _untimed(device: Device) -> str:
    here = machine()["instruction_set"]
    return "no stopwatch" if device.is_here or device.name == "any" else f"{device.name} is not this machine ({here})"


def _row(one: Judged) -> dict[str, Any]:
    comparison = None if one.comparison is None else asdict(one.comparison)
    return {
        "name": one.name,
        "bytes": one.bytes,
        "integer_nodes": one.integer_nodes,
        "loss_points": _finite(one.loss.points),
        "loss": one.loss.text,
        "keeps": one.loss.keeps,
        "sqnr_db": _finite(one.loss.sqnr_db),
        "flip_rate": one.loss.flip_rate,
        "median_ms": one.median_ms,
        "comparison": comparison,
        **({"forms": {form: asdict(c) for form, c in one.forms.items()}} if len(one.forms) > 1 else {}),
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
