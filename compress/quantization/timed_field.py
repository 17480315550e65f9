"""Puts a time to each candidate, in each form, and looks longer where the clock could not tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from compress.base import Context
from compress.quantization.by_turns import level, overall, timed
from compress.quantization.choose import FLOAT, Judged
from export.forms import MAIN, parts
from export.profile import optimized_graph
from export.session import in_form
from export.stopwatch import Timings
from models.records import Arrays

_AGAIN = 3  # candidates that are timed longer
_LONGER = 4.0  # times as long


def with_times(
    judged: Sequence[Judged],
    context: Context,
    unseen: Sequence[Arrays],
    refusing: Callable[[str], AbstractContextManager[object]],
) -> list[Judged]:
    """The candidates with their times, all by turns; the first is float. One that cannot be run in a form is left out.

    One that runs float's own operators in each form takes float's time by construction: it is not timed, so that no
    noise calls it slower. Those that keep the score and would be the fastest, were the clock sure of it, are timed once
    more, for longer, in the forms where it was not.
    """
    alike = _alike(judged)
    judged = [
        replace(one, comparison=level(FLOAT, one.name)) if alike[one.name] == set(parts(one.model)) else one
        for one in judged
    ]
    models = {one.name: one.model for one in judged if one.comparison is None}
    if len(models) == 1:  # float alone
        return judged
    timings = timed(models, context, unseen, refusing=refusing)
    refused = {name for name in models for timing in timings.values() if name not in timing.timings}
    judged = [one for one in judged if one.name not in refused]
    first = [_timed(one, timings, alike) for one in judged]
    unsure = [one for one in first if one.loss.keeps and one.computes and one.standing == "cannot tell"]
    sure = max((one.speedup for one in first if one.loss.keeps and one.standing == "faster"), default=1.0)
    unsure = sorted((one for one in unsure if one.speedup > sure), key=lambda one: -one.speedup)[:_AGAIN]
    if not unsure or context.measure is None:
        return first
    forms = {form for one in unsure for form, c in one.forms.items() if c.verdict == "cannot tell"}
    longer = replace(context, measure=context.measure.longer(_LONGER))
    again = timed({name: models[name] for name in (FLOAT, *(one.name for one in unsure))}, longer, unseen, forms=forms)
    merged = {form: _merged(found, again.get(form)) for form, found in timings.items()}
    return [_timed(one, merged, alike) for one in judged]


def _timed(one: Judged, timings: Mapping[str, Timings], alike: Mapping[str, set[str]]) -> Judged:
    if one.name not in timings[MAIN].timings:
        return one
    return replace(
        one,
        median_ms=timings[MAIN].timings[one.name].median_ms,
        comparison=overall(timings, one.name, alike=alike[one.name]),
        forms={form: c for form, taken in timings.items() for c in taken.comparisons if c.b == one.name},
    )


def _merged(found: Timings, again: Timings | None) -> Timings:
    """The first look with the comparisons of the longer one."""
    longer = {} if again is None else {c.b: c for c in again.comparisons}
    return replace(found, comparisons=tuple(longer.get(c.b, c) for c in found.comparisons))


def _alike(judged: Sequence[Judged]) -> dict[str, set[str]]:
    """For each candidate the forms whose optimized graph has float's own operators, and as many of each."""
    original, *others = judged
    own = {form: optimized_graph(in_form(original.model, form)) for form in parts(original.model)}

    def same(one: Judged, form: str) -> bool:
        if one.half or (form == MAIN and one.integer_nodes):  # it computes elsewhere, or in other operators
            return False
        return optimized_graph(in_form(one.model, form)) == own[form]

    return {original.name: set(), **{one.name: {form for form in own if same(one, form)} for one in others}}
