"""Times models by turns in each of their forms, and sums up what the forms say."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np

from compress.base import Context
from export.called import called
from export.forms import MAIN, new_elements, parts
from export.session import initial_state, session
from export.stopwatch import Comparison, Timings
from export.stream import growing
from export.whole_samples import are_whole, each_sample
from models.records import Arrays, InputSpec, Model, example, sizes_of

Standing = Literal["faster", "slower", "no difference", "cannot tell", "not timed"]


def timed(
    models: Mapping[str, Model],
    context: Context,
    held_out: Sequence[Arrays],
    *,
    forms: Collection[str] | None = None,
    refusing: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Timings]:
    """Time each form by turns at batch 1, the first model being what the others are compared with.

    A form that streams is timed on one new element, as a device steps it. All take the same arrays, but for states and
    what forms hand to each other, where a model is narrower than the first. `forms` are those to time; None is all. One
    but the first that cannot be run within `refusing` its name is left out of the form where it cannot.
    """
    assert context.measure is not None
    first = next(iter(models.values()))
    timings = {}
    for form in (one for one in parts(first) if forms is None or one in forms):
        feed = one_sample(first, held_out) if form == MAIN else one_step(first, form)
        calls = {}
        for name, model in models.items():
            with nullcontext() if model is first else refusing(name):
                made = session(model, threads=context.measure.threads, form=form)
                own = _fitted(feed, parts(model)[form].inputs)
                called(made, own, name)  # says what is wrong, once; the clock needs no more
                calls[name] = lambda made=made, own=own: made.run(None, own)
        timings[form] = context.measure.time(calls)
    return timings


def _fitted(feed: Arrays, inputs: Sequence[InputSpec]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays with each fixed width that is another one in these inputs made so."""
    fitted = {}
    for spec in inputs:
        have = np.asarray(feed[spec.name])
        widths = zip(spec.dims, have.shape, strict=True)
        shape = [dim if isinstance(dim, int) else size for dim, size in widths]
        fitted[spec.name] = have if shape == list(have.shape) else np.resize(have, shape)
    return fitted


def one_step(model: Model, form: str) -> dict[str, np.ndarray[Any, Any]]:
    """An example for a further form at usual sizes, of one new element where it streams."""
    forms = parts(model)
    one = {letter: 1 for letter in [new_elements(forms, form)] if letter}
    return example(forms[form].inputs, {**sizes_of(model), **one})


def overall(timings: Mapping[str, Timings], name: str, *, alike: Collection[str] = ()) -> Comparison | None:
    """A model against the first over all forms: the geometric mean, and no better than its worst form allows.

    It is slower where one form surely is, and uncertain where one form is. Else it is faster where one form is, so that
    a form with nothing to gain (a GRU that is heard once) does not keep the others from gaining.

    Args:
        timings: by form.
        name: of the model.
        alike: forms in which it runs the first one's own operators: they count as level, whatever the clock says.
    """
    found = [
        level(c.a, name) if form in alike else c
        for form, timing in timings.items()
        for c in timing.comparisons
        if c.b == name
    ]
    if not found:
        return None
    ranks: Sequence[Standing] = ("slower", "cannot tell", "faster", "no difference")
    return Comparison(
        a=found[0].a,
        b=name,
        speedup=_mean([c.speedup for c in found]),
        low=_mean([c.low for c in found]),
        high=_mean([c.high for c in found]),
        verdict=min((c.verdict for c in found), key=ranks.index),
        turns=min((c.turns for c in found if c.turns), default=0),
    )


def level(a: str, b: str) -> Comparison:
    """What is known without a clock of two models that run the same operators."""
    return Comparison(a=a, b=b, speedup=1.0, low=1.0, high=1.0, verdict="no difference", turns=0)


def _mean(speedups: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, speedups)) / len(speedups))


def one_sample(model: Model, data: Sequence[Arrays]) -> dict[str, np.ndarray[Any, Any]]:
    """The first row of the data with the model's states, or an example where there is none.

    A cache is as long as usual: what is fast with nothing remembered may be slow later.
    """
    sizes = sizes_of(model)
    made, lengths = example(model.inputs, sizes), {one: sizes[one] for one in growing(model.inputs, model.outputs)}
    for batch in data[:1]:
        if are_whole(batch, model.inputs):
            return next(each_sample(batch, model.inputs))
        fixed = {s.name for s in model.inputs if s.dims and isinstance(s.dims[0], int)}
        rows = {n: np.asarray(a) if n in fixed or not np.ndim(a) else np.asarray(a)[:1] for n, a in batch.items()}
        given = {s.name: rows[s.name].astype(s.dtype, copy=False) for s in model.inputs if s.name in rows}
        return {**made, **initial_state(model.inputs, given, lengths=lengths), **given}
    return made
