"""A user's module, or an entry of the zoo, becomes a Model in the one torch form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from export.form_widths import at_own_widths
from export.forms import MAIN
from export.inputs import parse_input
from export.lift import all_sizes, lift
from export.lifted import Lifted, outputs_of
from models import WEIGHTS, records
from models.errors import ModelFileError, UsageError
from models.records import Arrays, Dims, Entry, Form, InputSpec, OutputSpec, Preprocess

if TYPE_CHECKING:
    import onnx_ir


class Model(records.Model):
    """A network and all that must travel with it; a module of the user's is lifted on the way in.

    Args:
        network: any nn.Module that `torch.export` can trace, and it is only read; a lifted network or an onnx-ir model
            is taken as it is.
        inputs: a spec an input, or a text such as "x:float32[N,3,32,32]"; named as the arguments of forward, else in
            their order.
        outputs: names or specs, in order; where not given, the keys of a dict, "y", or "output_0" and so on.
        forms: further methods of the module, each one more graph over the same layers.
        typical: a usual size for each letter, at which it is also traced.

    Raises:
        LiftError: the module cannot be lifted.
        UsageError: an input is missing or badly written.
    """

    def __init__(
        self,
        network: nn.Module | onnx_ir.Model,
        inputs: Sequence[InputSpec | str] = (),
        outputs: Sequence[str | OutputSpec] | None = None,
        *,
        labels: Sequence[str] = (),
        preprocess: Preprocess | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        forms: Mapping[str, Form] | None = None,
        typical: Mapping[str, int] | None = None,
        name: str = "",
        data: str = "",
        sample: Arrays | None = None,
    ) -> None:
        specs = tuple(parse_input(spec) if isinstance(spec, str) else spec for spec in inputs)
        forms = dict(forms or {})
        if isinstance(network, nn.Module) and not isinstance(network, Lifted):
            if not specs:
                raise UsageError("Model: say what the network takes: inputs=['x:float32[N,3,32,32]'], one an input.")
            names = None if outputs is None else [o if isinstance(o, str) else o.name for o in outputs]
            result = lift(network, specs, sizes=typical, forms=forms, outputs=names)
            network, found, lifted_forms = result.network, result.outputs, result.forms
            forms = {
                form: replace(lifted_forms[form], outputs=_as_told(lifted_forms[form].outputs, forms[form].outputs))
                for form in forms
            }
        else:
            found = _own_outputs(network)
        super().__init__(
            network,
            inputs=specs,
            outputs=_as_told(found, outputs or ()),
            labels=tuple(labels),
            preprocess=preprocess,
            history=tuple(history),
            forms=forms,
            typical=dict(typical or {}),
            name=name,
            data=data,
            sample=sample,
        )


def _own_outputs(network: Any) -> tuple[OutputSpec, ...]:
    if not isinstance(network, Lifted):
        return ()
    nodes = outputs_of(network.graphs[MAIN])
    names = ["y"] if len(nodes) == 1 else [f"output_{i}" for i in range(len(nodes))]
    return tuple(
        OutputSpec(name=name, dtype=node.meta["dtype"], dims=node.meta["shape"])
        for name, node in zip(names, nodes, strict=True)
    )


def _as_told(found: Sequence[OutputSpec], told: Sequence[str | OutputSpec]) -> tuple[OutputSpec, ...]:
    """What was found, under the names told; a letter that was told is kept for a size that follows from others."""
    if not found or not told:
        return tuple(o for o in told if isinstance(o, OutputSpec)) or tuple(found)
    if len(found) != len(told):
        raise UsageError(f"Model: {len(told)} outputs were named, the network has {len(found)}.")
    return tuple(
        replace(spec, name=o)
        if isinstance(o, str)
        else replace(spec, name=o.name, dims=_letters(spec.dims, o.dims), own_width=o.own_width)
        for spec, o in zip(found, told, strict=True)
    )


def _letters(found: Dims, told: Dims) -> Dims:
    if len(found) != len(told):
        return found
    kept = (
        isinstance(f, str) and isinstance(t, str) and not re.fullmatch(r"\w+", f)
        for f, t in zip(found, told, strict=True)
    )
    return tuple(t if keep else f for keep, f, t in zip(kept, found, told, strict=True))


def from_entry(entry: Entry, *, weights: bool = True, tiny: bool = False) -> records.Model:
    """A reference model, lifted.

    Args:
        entry: of the zoo.
        weights: with the committed trained weights, else random ones.
        tiny: the entry's small network for tests, with random weights.

    Raises:
        ModelFileError: the weights are missing or do not fit.
    """
    module = entry.tiny() if tiny else entry.build()
    if weights and not tiny:
        _load_weights(entry, module)
    return of_entry(entry, module)


def of_entry(entry: Entry, module: nn.Module) -> Model:
    """A module that the entry's builder made, of any width, lifted as what the entry says it is."""
    forms = {MAIN: Form(inputs=entry.inputs, outputs=entry.outputs), **entry.forms}
    if entry.forms or any(spec.state_of for spec in entry.inputs):
        forms = at_own_widths(module, forms, all_sizes(forms.values(), entry.typical))
    main = forms.pop(MAIN)
    return Model(
        module,
        inputs=main.inputs,
        outputs=main.outputs,
        labels=entry.labels,
        preprocess=entry.preprocess,
        forms=forms,
        typical=entry.typical,
        name=entry.name,
        data=entry.data,
    )


def _load_weights(entry: Entry, module: nn.Module) -> None:
    from safetensors.torch import load_model

    file = WEIGHTS / f"{entry.name}.safetensors"
    if not file.is_file():
        raise ModelFileError(
            f"{entry.name}: its trained weights are missing ({file.name} in the package's models/weights). Install "
            f"the package again, or train it: compress train {entry.name}"
        )
    try:
        load_model(module, file)  # perhaps in half precision: copied into the module's own type
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelFileError(f"{entry.name}: its trained weights, {file.name}, cannot be used: {reason}") from error
