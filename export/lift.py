"""Makes a user's module the one torch form that passes take: real layers under his names, trainable, parity checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.export import ExportedProgram

from export.callee import Callee, watched
from export.decompose import in_known_operations
from export.emit import Emitter, without_checks
from export.layers import put
from export.letters import letters_of, not_free, variations
from export.lifted import MAIN, Lifted, annotate, evaluating, outputs_of, tensors
from export.misfit import remedy
from export.placement import Placement
from export.program import drop_hooks, own_copy, remove_parametrizations, symbolic_lengths, traced
from models.errors import LiftError
from models.records import Form, InputSpec, OutputSpec

_Runs = list[tuple[Mapping[str, int], tuple[torch.Tensor, ...]]]


@dataclass(frozen=True)
class LiftResult:
    """A lifted network with what it gives.

    Args:
        outputs: of the main form.
        forms: the further forms, their outputs filled in.
        difference: the largest difference to the user's module that was seen, relative to the output's largest value.
    """

    network: Lifted
    outputs: tuple[OutputSpec, ...]
    forms: dict[str, Form] = field(default_factory=dict)
    difference: float = 0.0


def lift(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    *,
    sizes: Mapping[str, int] | None = None,
    forms: Mapping[str, Form] | None = None,
    outputs: Sequence[str] | None = None,
) -> LiftResult:
    """Trace a module in eval mode and rebuild it as a `Lifted`; the module itself is only read.

    Args:
        module: any module that `torch.export` can trace; recurrent layers keep their time free.
        inputs: named as the arguments of its forward, else in their order.
        sizes: for each letter a size at which the network works; 2 for the first and 16 for others where not given.
        forms: further methods of the module, each one more graph over the same layers.
        outputs: names for the main form's outputs; else the keys of a dict, "y", or "output_0" and so on.

    Raises:
        LiftError: it does not run, cannot be traced, takes a letter at one size only, uses an unknown operation, or
            the lifted network does not agree with it.
    """
    forms = dict(forms or {})
    wanted = {MAIN: Form(inputs=tuple(inputs), outputs=())} | forms
    sizes = all_sizes(wanted.values(), sizes or {})
    ours = own_copy(module)
    callees = {name: Callee(ours, form.method, form.inputs) for name, form in wanted.items()}
    expected = {name: _reference(callee, sizes) for name, callee in callees.items()}
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in ours.modules())
    network, difference = _agreeing(ours, callees, sizes, expected, hooked)
    annotate(network, inputs, sizes, forms=forms)
    names = {name: callee.names for name, callee in callees.items()}
    if outputs is not None:
        names[MAIN] = _chosen(outputs, names[MAIN])
    found = {name: _outputs(network, name, names[name], wanted[name]) for name in wanted}
    return LiftResult(
        network, found[MAIN], {name: replace(form, outputs=found[name]) for name, form in forms.items()}, difference
    )


def _agreeing(
    module: nn.Module,
    callees: Mapping[str, Callee],
    sizes: Mapping[str, int],
    expected: Mapping[str, _Runs],
    hooked: bool,
) -> tuple[Lifted, float]:
    """The network rebuilt, and how far it is from the module's own outputs.

    Hooks mostly look on and want real values, so they stay away; where nothing comes of that, they do a part of the
    network's work (some libraries collect hidden states by them), and are traced with it.
    """
    remove_parametrizations(module)
    hooks = [
        (kept, dict(kept)) for layer in module.modules() for kept in (layer._forward_hooks, layer._forward_pre_hooks)
    ]
    drop_hooks(module)

    def made() -> tuple[Lifted, float]:
        network = _rebuilt(module, callees, sizes)
        return network, max(_agree(network, name, callee, expected[name], hooked) for name, callee in callees.items())

    try:
        return made()
    except LiftError:
        if not hooked:
            raise
        for there, kept in hooks:
            there.update(kept)
        with suppress(LiftError):
            return made()
        raise


def all_sizes(forms: Iterable[Form], given: Mapping[str, int]) -> dict[str, int]:
    """At least 2 for every letter of the forms' inputs: tracing takes a 1 for a size that never changes."""
    inputs = [spec for form in forms for spec in form.inputs]
    default = {letter: 16 if position else 2 for position, letter in enumerate(letters_of(inputs))}
    return {letter: max(2, given.get(letter, size)) for letter, size in default.items()}


def _reference(callee: Callee, sizes: Mapping[str, int]) -> _Runs:
    """What the user's module gives at two sizes of every letter."""

    def run(tried: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
        try:
            with watched(callee), torch.no_grad():
                found: tuple[torch.Tensor, ...] = callee(*tensors(callee.inputs, tried))
        except LiftError:
            raise
        except Exception as error:
            layer = callee.layer
            where = f"layer '{layer}'" if layer else f"'{callee.method}'"
            at = f" at {dict(tried)}" if tried else ""
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise LiftError(
                f"lift: the network does not run{at}: {where}: {reason}. "
                f"{remedy(callee.module, callee.inputs, reason)}",
                layer=layer,
                operation=type(error).__name__,
            ) from error
        if any(t.is_complex() for t in found):
            raise LiftError("lift: the network gives complex numbers, which no runtime takes; give two real outputs.")
        return found

    return variations(callee.inputs, sizes, run)


def _rebuilt(module: nn.Module, callees: Mapping[str, Callee], sizes: Mapping[str, int]) -> Lifted:
    programs = {name: _traced(callee, sizes) for name, callee in callees.items()}
    for name, program in programs.items():
        without_checks(program)
        programs[name] = in_known_operations(program)
    placement = Placement(module)
    placement.place(list(programs.values()))
    network = Lifted()
    found: dict[str, torch.Tensor] = {}
    for name, program in programs.items():
        emitter = Emitter(program, placement, callees[name].inputs)
        network.graphs[name] = emitter.graph_of()
        found |= emitter.tensors
    used = {str(n.target) for graph in network.graphs.values() for n in graph.nodes if n.op == "call_module"}
    for path, layer in placement.layers.items():
        if path in used or any(home.startswith(f"{path}.") for home in _read(network)):
            owner, _, name = path.rpartition(".")
            _container(network, owner).add_module(name, layer)
    for path, tensor in found.items():
        owner, _, name = path.rpartition(".")
        put(_container(network, owner), name, tensor if isinstance(tensor, nn.Parameter) else tensor.detach())
    return network.eval()


def _traced(callee: Callee, sizes: Mapping[str, int]) -> ExportedProgram:
    """Trace; where a letter turned out fixed, again with lengths left free, or at another size: this may be special."""
    try:
        return traced(callee, sizes)
    except LiftError as error:
        if error.operation not in sizes:
            raise
        with symbolic_lengths(), suppress(LiftError):
            return traced(callee, sizes)
        size = sizes[error.operation]
        for other in (size - 5, size // 2, size + 7):
            try:
                return traced(callee, {**sizes, error.operation: max(2, other)})
            except LiftError:
                continue
        raise


def _read(network: Lifted) -> set[str]:
    return {str(n.target) for graph in network.graphs.values() for n in graph.nodes if n.op == "get_attr"}


def _container(network: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else []:
        if name not in network._modules:
            network.add_module(name, nn.Module())
        network = network.get_submodule(name)
    return network


def _agree(network: Lifted, form: str, callee: Callee, expected: _Runs, hooked: bool) -> float:
    """The largest relative difference to the user's module; raises LiftError where it is more than rounding."""
    worst = 0.0
    for sizes, outputs in expected:
        try:
            with evaluating(network):
                found = network.run(form, *tensors(callee.inputs, sizes))
        except (RuntimeError, ValueError, IndexError) as error:
            _refuse_letter(callee, expected[0][0], sizes)
            raise LiftError(f"lift: the lifted network does not run: {error}") from error
        for name, a, b in zip(callee.names, outputs, found if isinstance(found, tuple) else (found,), strict=True):
            difference = _difference(a, b)
            worst = max(worst, difference)
            if not difference <= 1e-4:  # float32 sums in another order; a NaN is no agreement either
                _refuse_letter(callee, expected[0][0], sizes)
                hint = " It has hooks, which are not lifted: do their work in forward." if hooked else ""
                raise LiftError(
                    f"lift: output '{name}' of the lifted network differs by {difference:.1e} of its largest value "
                    f"at {dict(sizes)}; what is lifted must agree within 1e-4.{hint}",
                    operation=name,
                )
    return worst


def _refuse_letter(callee: Callee, base: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Where only one letter's size differs from the size traced at, that letter is what is not free."""
    changed = next((letter for letter in sizes if sizes[letter] != base[letter]), None)
    if changed is not None:
        raise not_free(next(spec.name for spec in callee.inputs if changed in spec.dims), changed, base[changed])


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    same = torch.isclose(a, b, rtol=0, atol=0, equal_nan=True)
    if bool(same.all()):
        return 0.0
    scale = max(float(a.double().abs().max()), 1e-6)
    return float(torch.where(same, 0.0, (a.double() - b.double()).abs()).max()) / scale


def _chosen(outputs: Sequence[str], found: tuple[str, ...]) -> tuple[str, ...]:
    if len(outputs) != len(found):
        raise LiftError(
            f"lift: {len(outputs)} output names were given, the network has {len(found)} outputs: {', '.join(found)}."
        )
    return tuple(outputs)


def _outputs(network: Lifted, form: str, names: Sequence[str], wanted: Form) -> tuple[OutputSpec, ...]:
    taken = {spec.name for spec in wanted.inputs}
    if wanted.outputs:
        names = _chosen([spec.name for spec in wanted.outputs], tuple(names))
    names = [f"{name}_out" if name in taken else name for name in names]
    nodes = outputs_of(network.graphs[form])
    own = {spec.name for spec in wanted.outputs if spec.own_width}
    return tuple(
        OutputSpec(name=name, dtype=node.meta["dtype"], dims=node.meta["shape"], own_width=name in own)
        for name, node in zip(names, nodes, strict=True)
    )
