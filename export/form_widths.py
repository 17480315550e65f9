"""How wide a network's states are, and what its forms hand to each other: read off the module itself.

A record of forms states these widths for one size of the network; built narrower or wider, the module has others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from export.callee import Callee
from export.forms import handed_over, own_names
from export.lifted import evaluating, tensors
from models.errors import LiftError
from models.records import Dims, Form, InputSpec

_MOST = 4096  # combinations of widths that are tried for one form; a wrong one fails at its first layer
_Widths = dict[tuple[str, int], int]  # (name of the state or of what is handed over, dimension) -> size


def at_own_widths(module: nn.Module, forms: Mapping[str, Form], sizes: Mapping[str, int]) -> dict[str, Form]:
    """The forms with the widths that this very module has; where none is found they stay as they are written.

    A form is run with what the forms before it hand over. What a state's width is, its output says: it is the one among
    the numbers that the module holds (sizes of its weights and its own attributes) that comes out as it went in.

    Args:
        module: the forms name methods of it.
        forms: all of them, the main one under "main".
        sizes: a size for every letter.
    """
    private = handed_over(forms)
    found: _Widths = {}
    waiting = dict(forms)
    with evaluating(module):
        while waiting:
            for name, form in waiting.items():
                handed = {spec.name for spec in form.inputs} & private.keys()
                if all(private[n] not in waiting or private[n] == name for n in handed):
                    break
            else:
                break
            del waiting[name]
            found |= _widths(module, forms, name, found, sizes)
    return {name: _with(form, own_names(forms, name), found) for name, form in forms.items()}


def _widths(
    module: nn.Module, forms: Mapping[str, Form], name: str, known: _Widths, sizes: Mapping[str, int]
) -> _Widths:
    """The widths of one form's states and of what it gives."""
    form, own = forms[name], own_names(forms, name)
    if not own:
        return {}
    fed = [spec for spec in form.inputs if spec.state_of is not None]
    unknown = {
        (spec.name, i): d
        for spec in fed
        for i, d in enumerate(spec.dims)
        if isinstance(d, int) and (spec.name, i) not in known
    }
    for tried in _candidates(module, unknown):
        widths = {**known, **tried}
        new = _run(module, _with(form, own, widths), own, sizes)
        if new is not None:
            return {**tried, **new}
    return {}


def _run(module: nn.Module, form: Form, own: frozenset[str], sizes: Mapping[str, int]) -> _Widths | None:
    """The widths of what comes out; None where it does not run, or a state comes out otherwise than it went in."""
    try:
        callee = Callee(module, form.method, form.inputs)
        outputs = callee(*tensors(form.inputs, sizes))
    except (LiftError, RuntimeError, ValueError, TypeError, LookupError):
        return None
    if len(outputs) != len(form.outputs):
        return None
    widths: _Widths = {}
    states = {spec.state_of: spec.dims for spec in form.inputs if spec.state_of is not None}
    for spec, value in zip(form.outputs, outputs, strict=True):
        wanted = states.get(spec.name, spec.dims)
        if len(wanted) != value.ndim:
            return None
        for i, (want, have) in enumerate(zip(wanted, value.shape, strict=True)):
            if isinstance(want, int) and want != have and (spec.name in states or spec.name not in own):
                return None
            if isinstance(want, int) and spec.name in own:
                widths[spec.name, i] = int(have)
    return widths


def _candidates(module: nn.Module, unknown: Mapping[tuple[str, int], int]) -> Iterator[_Widths]:
    """Widths to try: those that are written; then such that are alike where these are; then any."""
    yield dict(unknown)
    numbers = _numbers(module)
    written = list(dict.fromkeys(unknown.values()))
    if len(numbers) ** len(written) <= _MOST:
        for chosen in itertools.product(numbers, repeat=len(written)):
            other = dict(zip(written, chosen, strict=True))
            yield {key: other[size] for key, size in unknown.items()}
    if len(written) < len(unknown) and len(numbers) ** len(unknown) <= _MOST:
        for chosen in itertools.product(numbers, repeat=len(unknown)):
            yield dict(zip(unknown, chosen, strict=True))


def _numbers(module: nn.Module) -> list[int]:
    """The sizes of the weights, and the whole numbers that a layer says of itself, as `hidden_size` and `heads`."""
    found = {int(n) for tensor in (*module.parameters(), *module.buffers()) for n in tensor.shape}
    for layer in module.modules():
        found |= {value for value in vars(layer).values() if type(value) is int}
    return sorted(n for n in found if n > 0)


def _with(form: Form, own: frozenset[str], widths: _Widths) -> Form:
    """The form with these widths written in."""
    inputs: dict[str | None, str] = {spec.state_of: spec.name for spec in form.inputs if spec.state_of is not None}

    def now(spec: Any) -> Any:
        if spec.name not in own:
            return spec
        name = spec.name if isinstance(spec, InputSpec) else inputs.get(spec.name, spec.name)
        dims: Dims = tuple(
            widths.get((name, i), widths.get((spec.name, i), d)) if isinstance(d, int) else d
            for i, d in enumerate(spec.dims)
        )
        return replace(spec, dims=dims)

    return replace(form, inputs=tuple(map(now, form.inputs)), outputs=tuple(map(now, form.outputs)))
