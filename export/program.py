"""From a user's module to a traced program: one flat graph of functional operations, every letter still free."""

from __future__ import annotations

import builtins
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, cast

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.nn.utils import parametrize

from export.callee import Callee, watched
from export.letters import not_free
from export.lifted import tensors
from export.recurrent_leaf import leaves
from models.errors import LiftError
from models.records import InputSpec

# regions that a program keeps apart, and which of their arguments is the graph inside
_REGIONS = {
    torch.ops.higher_order.wrap_with_set_grad_enabled: 1,
    torch.ops.higher_order.wrap_with_autocast: 4,
}
# dropout vanishes when a program is made functional in eval mode; under our name it stays, with its rate
_DROPOUTS = {
    torch.ops.aten.dropout.default: "Dropout",
    torch.ops.aten.feature_dropout.default: "Dropout2d",
    torch.ops.aten.alpha_dropout.default: "AlphaDropout",
    torch.ops.aten.feature_alpha_dropout.default: "FeatureAlphaDropout",
}


@torch.library.custom_op("compress::dropout", mutates_args=())
def dropout(x: torch.Tensor, p: float, kind: str) -> torch.Tensor:
    """A dropout layer that is put back before anything is computed."""
    return x.clone()


@dropout.register_fake
def _(x: torch.Tensor, p: float, kind: str) -> torch.Tensor:
    return torch.empty_like(x)


def own_copy(module: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode; the user's module is only read.

    Raises:
        LiftError: it cannot be copied, or has weights without values.
    """
    _refuse_empty(module)
    # deepcopy refuses computed tensors, such as the weight that the old weight_norm leaves behind
    computed = (
        v for m in module.modules() for v in m.__dict__.values() if isinstance(v, torch.Tensor) and not v.is_leaf
    )
    memo: dict[int, Any] = {id(v): v.detach().clone() for v in computed}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own: copying the module of a .pt2 uses what it deprecates
            copied = copy.deepcopy(module, memo)
    except Exception as error:
        raise LiftError(f"lift: {type(module).__name__} cannot be copied: {error}") from error
    for parameter in copied.parameters():
        parameter.grad = None
    _own_classes(copied)
    return copied.cpu().eval()


def _own_classes(module: nn.Module) -> None:
    """Give every parametrized layer a class of its own: torch makes one a layer, changes it, and copies share it."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer):
            kind = type(layer)
            content = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
            layer.__class__ = type(kind.__name__, kind.__bases__, content)


def _refuse_empty(module: nn.Module) -> None:
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        lazy = isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer)
        if lazy or tensor.is_meta:
            why = "is lazy and has seen no data" if lazy else "is on the meta device"
            raise LiftError(
                f"lift: '{path}' {why}, so it has no values. Load the trained weights into the network first.",
                layer=path.rpartition(".")[0],
            )


def remove_parametrizations(module: nn.Module) -> None:
    """Make every computed weight (weight norm, spectral norm, pruning masks) an ordinary parameter, in place."""
    for layer in list(module.modules()):
        for name in list(getattr(layer, "parametrizations", {})):
            with torch.enable_grad():  # else torch leaves a plain tensor behind
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            value = getattr(layer, name)
            if not isinstance(value, nn.Parameter):  # every original was frozen
                delattr(layer, name)
                layer.register_parameter(name, nn.Parameter(value.detach(), requires_grad=False))
        hooks: list[tuple[int, Any]] = list(layer._forward_pre_hooks.items())
        for key, hook in hooks:
            name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
            if type(hook).__module__.startswith("torch.nn.utils.") and callable(getattr(hook, "remove", None)):
                with torch.no_grad():
                    hook.remove(layer)
                del layer._forward_pre_hooks[key]
                assert name is None or isinstance(getattr(layer, name), nn.Parameter)


def drop_hooks(module: nn.Module) -> None:
    """Take the user's hooks off a copy, so that no stand-in tensor reaches them."""
    for layer in module.modules():
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks):
            hooks.clear()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Meanwhile, attention is written out, and no mask's values are looked at to see whether it is causal."""
    from torch.nn.modules import transformer

    fast, detect = torch.backends.mha.get_fastpath_enabled(), transformer._detect_is_causal_mask
    torch.backends.mha.set_fastpath_enabled(False)
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        transformer._detect_is_causal_mask = detect


@contextmanager
def symbolic_lengths() -> Iterator[None]:
    """Meanwhile, `len` of a tensor is its first size, free where that is free; Python's own makes it a plain number."""
    own = builtins.len

    def length(of: Any) -> Any:
        return of.shape[0] if isinstance(of, torch.Tensor) and of.dim() else own(of)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = own


@contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile, what torch.export prints, logs and warns of is kept from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def traced(callee: Callee, sizes: Mapping[str, int]) -> ExportedProgram:
    """Export a method at these sizes, every letter free, functional and flat.

    Raises:
        LiftError: the network cannot be traced, or takes a letter at this size only.
    """
    dims = [{i: Dim.AUTO for i, d in enumerate(spec.dims) if isinstance(d, str)} for spec in callee.inputs]
    names = {layer: name for name, layer in callee.module.named_modules()}
    try:
        with watched(callee), leaves(names), _plain_attention(), quiet(), torch.no_grad():
            program = torch.export.export(
                callee, tuple(tensors(callee.inputs, sizes)), dynamic_shapes=(tuple(dims),), strict=False
            )
            _check_free(program, callee.inputs, sizes)
            program = _functional(program)
    except LiftError:
        raise
    except Exception as error:
        raise _explained(error, callee) from error
    _check_state(program)
    return program


def _check_free(program: ExportedProgram, inputs: Sequence[InputSpec], sizes: Mapping[str, int]) -> None:
    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    given = [n for n in program.graph.nodes if n.op == "placeholder" and kinds[n.name] is InputKind.USER_INPUT]
    for node, spec in zip(given, inputs, strict=True):
        for d, size in zip(spec.dims, node.meta["val"].shape, strict=True):
            fixed = isinstance(size, int) or size.node.expr.is_number
            if isinstance(d, str) and fixed:
                raise not_free(spec.name, d, sizes[d])


def _functional(program: ExportedProgram) -> ExportedProgram:
    """No operation writes into its arguments any more, and regions (no_grad, autocast) lie flat."""
    graph = program.graph_module.graph
    _inline(program.graph_module)
    for node in graph.nodes:
        if node.target in _DROPOUTS:
            x, p, training = node.args
            if training and p > 0:
                raise LiftError(
                    "lift: a dropout stays active in eval mode; pass `self.training` to it.", operation="dropout"
                )
            node.args, node.target = (x, float(p), _DROPOUTS[node.target]), torch.ops.compress.dropout.default
    writes = any(isinstance(n.target, torch._ops.OpOverload) and n.target._schema.is_mutable for n in graph.nodes)
    return program.run_decompositions({}) if writes else program


def _inline(module: fx.GraphModule) -> None:
    graph = module.graph
    for node in list(graph.nodes):
        if node.target not in _REGIONS:
            continue
        place, args = _REGIONS[node.target], cast(tuple[Any, ...], node.args)
        inner = getattr(module, args[place].target)
        _inline(inner)
        given = args[place + 1 :]
        values = dict(zip((n for n in inner.graph.nodes if n.op == "placeholder"), given, strict=True))
        with graph.inserting_before(node):
            found = graph.graph_copy(inner.graph, values)
        for user in list(node.users):
            user.replace_all_uses_with(cast(Any, found)[user.args[1]])
            graph.erase_node(user)
        graph.erase_node(node)


def _check_state(program: ExportedProgram) -> None:
    """A buffer that is read and also written keeps something from call to call, which no graph of ours can do."""
    signature = program.graph_signature
    written = {s.target for s in signature.output_specs if s.kind is OutputKind.BUFFER_MUTATION}
    output = program.graph.output_node()
    changes = {
        n for n, s in zip(output.args[0], signature.output_specs, strict=True) if s.kind is not OutputKind.USER_OUTPUT
    }
    wanted: set[fx.Node] = {n for n in output.all_input_nodes if n not in changes}
    for node in reversed(program.graph.nodes):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    for spec, node in zip(signature.input_specs, program.graph.nodes, strict=False):
        if spec.target in written and node in wanted:
            name = str(spec.target).removeprefix("module.")
            raise LiftError(
                f"lift: the network keeps a state in its buffer '{name}' from call to call. "
                "Make it an input and an output.",
                layer=name.rpartition(".")[0],
                operation=name,
            )


def _explained(error: Exception, callee: Callee) -> LiftError:
    layer, kind = callee.layer, type(error).__name__
    where = f"layer '{layer}'" if layer else f"'{callee.method}'"
    text = str(error).strip()
    first = text.splitlines()[0] if text else kind
    if "_pack_padded_sequence" in text or "pack_padded_sequence" in text:
        reason = "packs its sequences by lengths that are hidden in the data. Give recurrent layers the padded batch."
    elif "data-dependent" in text.lower() or "DataDependent" in kind:
        reason = (
            "decides by the values of a tensor what to compute or how large it is, which no fixed graph can. Take "
            "plain numbers from its shape in their place, or choose between results by torch.where."
        )
    elif "fake tensor in the exported program constant" in text:
        reason = (
            "writes into a weight while it runs (.data), which no graph can hold. Compute a new tensor in its place: "
            "self.weight * self.mask."
        )
    else:
        reason = f"cannot be traced: {first}"
    return LiftError(f"lift: {where} {reason}", layer=layer, operation=kind)
