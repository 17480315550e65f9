"""How the forms of one network hang together: their states, what one hands to another, all run as one. No torch.

A state's width, and the widths of what one form gives and another takes under the same name (an encoder's memory), are
the network's own business: nobody outside reads them but to hand them back. A pass may make them narrower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from export.stream import initial_state
from models.records import Arrays, Form, InputSpec, Model, OutputSpec, example

MAIN = "main"
_Array = np.ndarray[Any, Any]


def parts(model: Model) -> dict[str, Model | Form]:
    """What each form takes and gives, MAIN first."""
    return {MAIN: model, **model.forms}


def handed_over(forms: Mapping[str, Model | Form]) -> dict[str, str]:
    """What one form gives and another takes under the same name, and the form that gives it.

    What the main form takes or gives belongs to the user, so it is never among them.
    """
    public = {spec.name for kind in _specs(forms.get(MAIN)) for spec in kind}
    found: dict[str, str] = {}
    for giver, form in forms.items():
        takers = [other for other in forms if other != giver]
        taken = {spec.name for other in takers for spec in forms[other].inputs}
        for spec in form.outputs:
            if spec.name in taken - public:
                found.setdefault(spec.name, giver)
    return found


def own_names(forms: Mapping[str, Model | Form], form: str) -> frozenset[str]:
    """The inputs and outputs of one form whose widths are the network's own.

    They are states, what is handed over, and outputs that say so.
    """
    fed = [spec for spec in forms[form].inputs if spec.state_of is not None]
    names = {spec.name for spec in fed} | {spec.state_of for spec in fed if spec.state_of}
    names |= {spec.name for spec in forms[form].outputs if spec.own_width}
    here = {spec.name for kind in _specs(forms[form]) for spec in kind}
    return frozenset(names | here.intersection(handed_over(forms)))


def new_elements(forms: Mapping[str, Model | Form], form: str) -> str:
    """The letter of how many new elements a streaming form takes in one step (any number of words); "" for none."""
    inputs = forms[form].inputs
    if not any(spec.state_of for spec in inputs):
        return ""
    private = handed_over(forms)
    fed = [spec for spec in inputs if spec.state_of is None and spec.name not in private]
    letters = {spec.dims[1] for spec in fed if len(spec.dims) > 1}
    return next((str(d) for d in letters if isinstance(d, str)), "") if len(letters) == 1 else ""


def run_all(
    model: Model, batch: Arrays, run: Callable[[str, Arrays], Arrays], *, spare: Mapping[str, int] | None = None
) -> Iterator[tuple[str, dict[str, _Array], Arrays]]:
    """Run every form on one batch, as a device would: (form, its inputs, its outputs), givers before takers.

    What is handed over comes from the form that gives it, states are at their beginning, all else is in the batch.

    Args:
        model: of any number of forms.
        batch: the inputs of the main form, and of others by name.
        run: a form by its name, on named arrays.
        spare: sizes of random arrays for an input that the batch does not hold; without them its form is left out.
    """
    forms, known = parts(model), dict(batch)
    private = handed_over(forms)
    waiting = list(forms)
    while waiting:
        for form in waiting:
            given = _inputs(forms[form], known, private, spare)
            if given is not None:
                break
        else:
            return
        waiting.remove(form)
        outputs = run(form, given)
        known |= {name: np.asarray(value) for name, value in outputs.items() if private.get(name) == form}
        yield form, given, outputs


def examples(model: Model, sizes: Mapping[str, int], *, seed: int = 0) -> dict[str, _Array]:
    """Random arrays for `run_all`: all that the forms take and do not hand to each other; states are left out."""
    forms = parts(model)
    private = handed_over(forms)
    specs: dict[str, InputSpec] = {}
    for form in forms.values():
        for spec in form.inputs:
            if spec.state_of is None and spec.name not in private:
                specs.setdefault(spec.name, spec)
    return example(specs.values(), sizes, seed=seed)


def _inputs(
    form: Model | Form, known: Mapping[str, _Array], private: Mapping[str, str], spare: Mapping[str, int] | None
) -> dict[str, _Array] | None:
    """All that a form takes, or None where something is not there yet."""
    given = {spec.name: known[spec.name] for spec in form.inputs if spec.name in known and _fits(spec, known)}
    missing = [spec for spec in form.inputs if spec.name not in given]
    if any(spec.name in private or (spec.state_of is None and spare is None) for spec in missing):
        return None
    given |= example([spec for spec in missing if spec.state_of is None], spare or {})
    first = initial_state(form.inputs, given, form.outputs)
    return {spec.name: given[spec.name] if spec.name in given else first[spec.name] for spec in form.inputs}


def _fits(spec: InputSpec, known: Mapping[str, _Array]) -> bool:
    shape = known[spec.name].shape
    return len(shape) == len(spec.dims) and all(
        isinstance(want, str) or have == want for have, want in zip(shape, spec.dims, strict=True)
    )


def _specs(form: Model | Form | None) -> tuple[tuple[InputSpec, ...], tuple[OutputSpec, ...]]:
    return ((), ()) if form is None else (form.inputs, form.outputs)
