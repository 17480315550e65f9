"""The mode `auto`: makes every candidate, judges its loss, times it against float, and says which one and why.

A network of several forms is timed in each of them: what is never slower is so in the step that a device runs again and
again, and not in the whole sequence alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from compress.base import Context, Note
from compress.on_test import most_frequent
from compress.own_tasks import Unlabelled
from compress.quantization.calibration_data import Joined, count, validation_of
from compress.quantization.candidates import Candidate, Maker
from compress.quantization.choose import FLOAT, Judged, best
from compress.quantization.field import Field
from compress.quantization.left_alone import is_quantized
from compress.quantization.loss import ByAgreement, ByScore, Judge, Loss
from compress.quantization.mixed_signs import mix_signs
from compress.quantization.other_ranges import other_ranges
from compress.quantization.pace import SLOWER, against_the_file, in_words
from compress.quantization.schemes import Scheme
from compress.quantization.second_look import look_again
from compress.quantization.study import Study, explore, study
from compress.quantization.timed_field import with_times
from export.device import Device
from export.machine import machine
from models.records import Arrays, Model, example, sizes_of

JUDGED = 256  # samples that agreement is judged on, where there are so many: of 64 one flip more or less is 1.6 %


@dataclass(frozen=True)
class Decision:
    """The candidate to return, the numbers it was chosen by, and what is known of its layers."""

    chosen: Candidate
    facts: Mapping[str, Any]
    study: Study | None = None


def decide(
    maker: Maker,
    context: Context,
    device: Device,
    unseen: Sequence[Arrays],
    *,
    max_drop: float,
    prefer: Literal["speed", "size"],
    apart: bool = True,
    given: Model | None = None,
) -> Decision:
    """Choose for this device.

    Args:
        maker: of the candidates.
        context: for its task, stopwatch and seed.
        device: the target; timed only where times taken here are its times.
        unseen: data that were not calibrated on; empty where there are none.
        max_drop: points that may be lost.
        prefer: the fastest, or the smallest that is no slower.
        apart: whether `unseen` were held out; there may be too few for that.
        given: the file as it came; None where the speed against it need not be told.
    """
    model = maker.model
    clock = context.measure is not None and device.is_timed_here
    judge, judged_on = _judge(model, context, unseen, max_drop, apart)
    field = Field(maker, judge, small=prefer == "size", progress=context.progress)
    mix_signs(field, unseen, context.progress)
    static = field.of_kind("static")
    if static and not any(loss.keeps for _, loss in static):
        for made, loss in other_ranges(maker, [made.way for made, _ in static], judge, refusing=field.refusing):
            field.offer(made, loss)
    looked = _looked(field, unseen, context, clock) if static else None
    timed_on = ""
    judged = field.judged
    if clock and len(judged) > 1:
        if context.progress is not None:
            context.progress("timing candidates", len(judged), len(judged), detail="by turns")
        judged, timed_on = with_times(judged, context, unseen, field.refusing), machine()["instruction_set"]
    order = [n for start in _untimed_order(maker.scheme, device) for n in field.candidates if n.split(",")[0] == start]
    winner = best(judged, prefer, order=order)
    if timed_on and prefer == "speed":
        more = look_again(field, judged, winner, unseen, looked=looked, progress=context.progress)
        if more:
            judged = [*judged, *with_times([judged[0], *more], context, unseen, field.refusing)[1:]]
            winner = best(judged, prefer, order=order)
    chosen = field.candidates[winner.name]
    why = _why(winner, judged, device, timed_on, prefer)
    if is_quantized(model):
        why += "; the network is quantized already"
    elif not maker.ranges and not maker.scheme.why_not_int8:
        nothing = "no layer here has a static integer kernel" if unseen else "there are no calibration data"
        why += f"; static int8 was not tried: {nothing}"
    pace = None if given is None else against_the_file(given, model, chosen, context, device, unseen)
    why += "" if pace is None else f"; {in_words(pace)}"
    facts = {
        "chosen": winner.name,
        "why": why,
        "judged_on": judged_on,
        "timed_on": timed_on,
        "integer_nodes": dict(field.nodes[winner.name]),
        "candidates": [*map(_row, judged), *field.refused],
        **({} if pace is None else {"file": asdict(pace)}),
        **({"warning": SLOWER} if pace is not None and pace.verdict == "slower" else {}),
    }
    return Decision(replace(chosen, skipped=(Note("", why), *chosen.skipped)), facts, looked)


def _looked(field: Field, unseen: Sequence[Arrays], context: Context, clock: bool) -> Study:
    """Look closer at a static candidate, and offer what follows: one that keeps the score, and computes most.

    Where none keeps it, the ranges that lost least.
    """

    def rank(pair: tuple[Candidate, Loss]) -> tuple[float, ...]:
        way, loss = pair[0].way, pair[1]
        coarse = way.operators, not way.per_channel
        return not loss.keeps, way.loops, not way.dynamic_rest, way.unsigned, *coarse, 0 if loss.keeps else loss.points

    lost = [pair for pair in field.lost if pair[0].way.kind == "static" and not pair[0].floats]
    whole, _ = min((*field.of_kind("static"), *lost), key=rank)
    looked = study(field.maker, whole, unseen, context, clock=clock)
    explore(field, looked)
    return looked


def _judge(model: Model, context: Context, unseen: Sequence[Arrays], max_drop: float, apart: bool) -> tuple[Judge, str]:
    """By labels where there are some that float knows, else by agreement with float, and on which data."""
    doubt = ""
    if context.task is not None and not isinstance(context.task, Unlabelled):
        by_score = ByScore(context.task, model, max_drop)
        guess = most_frequent(context.task, by_score.float, "validation")
        if not unseen or guess is None or by_score.float.value > guess:
            return by_score, f"validation split of {context.task.name}"
        doubt = f": by the labels float itself is no better than always the most frequent class, {guess:.4g}"
    if unseen:
        more = [] if context.task is None else validation_of(model, context.task, JUDGED - count(unseen))
        held_out = "data held out from calibration" if apart else "the calibration data, too few to hold any out"
        held_out += " and the validation rows" if more else ""
        return ByAgreement(model, Joined(unseen, more), max_drop), f"{held_out}, against float{doubt}"
    noise = example(model.inputs, sizes_of(model), seed=context.seed)
    return ByAgreement(model, [noise], max_drop), "random inputs, against float: there are no data"


def _untimed_order(scheme: Scheme, device: Device) -> tuple[str, ...]:
    """What to prefer where nothing is timed: what the device computes in, else what costs no time by construction."""
    if scheme.half_computes and scheme.why_not_int8:
        return ("fp16",)
    if not scheme.fuses or not device.is_timed_here:
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
    if winner.standing == "faster" and winner.computes:
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
    quick = [one for one in others if one.standing == "faster" and one.computes and not one.loss.keeps]
    if quick:
        one = max(quick, key=lambda one: one.speedup)
        return f"the fastest, {one.name} ({_pace(one)} times), loses too much: {one.loss.text}"
    tried = [one for one in others if one.integer_nodes]
    if not tried:
        return "nothing in it has an int8 kernel that could make it faster"
    one = max(tried, key=lambda one: one.speedup)
    pace = "" if one.comparison is None else f" ({_pace(one)} times float's speed, {_where(one)})"
    return f"no int8 candidate is faster than float; the best is {one.name}{pace}"


def _where(one: Judged) -> str:
    """Its standing; of several forms with those that it comes from: the worst decides, and others may be faster."""
    forms = [form for form, found in one.forms.items() if found.verdict == one.standing]
    return f"{one.standing} in {', '.join(forms)}" if len(one.forms) > 1 and forms else one.standing


def _untimed(device: Device) -> str:
    here = machine()["instruction_set"]
    return "no stopwatch" if device.is_timed_here else f"{device.name} is not this machine ({here})"


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
