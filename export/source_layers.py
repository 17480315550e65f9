"""The layers of a lifted network as the statements of a constructor: `self.stem = nn.Conv2d(3, 16, 3, padding=1)`."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from export.layers import ARGUMENTS, CONTAINERS, settings_of
from models.errors import CompressError
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

OWN = (PeepholeLSTM, ResetFirstGRU, SigmoidRNN)  # torch has them not: their classes are written into the file
# torch's recurrent layers take these by keyword alone, in a signature that does not say so
_RECURRENT: dict[str, Any] = dict(
    num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, proj_size=0, nonlinearity="tanh"
)


def statements(network: nn.Module, *, literal: Callable[[Any], str]) -> Iterator[str]:
    """What a constructor does to make all layers, parameters and buffers, under their names and with what is tied.

    Args:
        network: of modules that a file of ours may hold.
        literal: a number, text, tuple or type as it is written.

    Raises:
        CompressError: a layer is of a kind that is not known here.
    """
    known: dict[int, str] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if id(module) in known:
            if not any(path.startswith(f"{p}.") for p in _twice(network)):
                yield _assign(network, path, known[id(module)])
            continue
        known[id(module)] = place(network, path)
        if path and not _inside_a_sequence(network, path):
            yield _assign(network, path, _constructor(path, module, literal))
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            full = f"{path}.{name}" if path else name
            if id(tensor) in known:
                yield _assign(network, full, known[id(tensor)])
                continue
            known[id(tensor)] = place(network, full)
            if type(module) in CONTAINERS or not path:
                yield _tensor(network, full, tensor, literal)
            elif isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
                yield f"{known[id(tensor)]}.requires_grad_(False)"


def place(network: nn.Module, path: str) -> str:
    """The expression for a layer or a tensor: `self.blocks["0"].conv`."""
    found, module = "self", network
    for name in path.split(".") if path else []:
        is_tensor = name not in module._modules
        if _is_name(name) and not is_tensor and not isinstance(module, nn.ModuleDict | nn.Sequential):
            found += f".{name}"
        elif is_tensor and _is_name(name):
            found += f".{name}"
        elif is_tensor:
            found += f'.get_{"parameter" if name in module._parameters else "buffer"}("{name}")'
        elif isinstance(module, nn.Sequential) and _is_plain_sequence(module):
            found += f"[{name}]"
        elif _is_table(module):
            found += f'["{name}"]'
        else:
            found += f'.get_submodule("{name}")'
        if not is_tensor:
            module = module._modules[name]  # type: ignore[assignment]
    return found


def _assign(network: nn.Module, path: str, text: str) -> str:
    owner_path, _, name = path.rpartition(".")
    owner = network.get_submodule(owner_path)
    on = place(network, owner_path)
    if name in owner._modules and _is_table(owner):
        return f'{on}["{name}"] = {text}'
    if _is_name(name):
        return f"{on}.{name} = {text}"
    kind = "module" if name in owner._modules else "parameter" if name in owner._parameters else "buffer"
    return f'{on}.{"add_module" if kind == "module" else f"register_{kind}"}("{name}", {text})'


def _tensor(network: nn.Module, path: str, tensor: torch.Tensor, literal: Callable[[Any], str]) -> str:
    """A parameter or buffer that is no layer's own."""
    shape = literal(tuple(tensor.shape)) if tensor.ndim != 1 else str(len(tensor))
    dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    empty = f"torch.empty({shape}{dtype})"
    if isinstance(tensor, nn.Parameter):
        return _assign(network, path, f"nn.Parameter({empty}{'' if tensor.requires_grad else ', requires_grad=False'})")
    owner, _, name = path.rpartition(".")
    return f'{place(network, owner)}.register_buffer("{name}", {empty})'


def _constructor(path: str, module: nn.Module, literal: Callable[[Any], str]) -> str:
    kind = type(module)
    if kind not in ARGUMENTS:
        raise CompressError(
            f"as-source: layer '{path}' is a {kind.__name__}, which is neither torch's nor one of ours, so that a file "
            "that stands alone cannot hold it. Write the network as .onnx."
        )
    if isinstance(module, nn.Sequential) and _is_plain_sequence(module):
        inside = [_constructor(f"{path}.{name}", child, literal) for name, child in module.named_children()]
        return f"nn.Sequential({', '.join(inside)})"
    if kind in CONTAINERS:
        return "nn.ModuleDict()" if _is_table(module) else "nn.Sequential()" if kind is nn.Sequential else "nn.Module()"
    made = f"{kind.__name__ if kind in OWN else f'nn.{kind.__name__}'}({_arguments(module, literal)})"
    dtypes = {p.dtype for p in module.parameters(recurse=False)} - {torch.float32}
    return f"{made}.to({dtypes.pop()})" if dtypes else made


def _arguments(module: nn.Module, literal: Callable[[Any], str]) -> str:
    """What its constructor must be given; what it takes by itself is left out."""
    taken = inspect.signature(type(module)).parameters
    defaults = {n: p.default for n, p in taken.items() if p.default is not inspect.Parameter.empty} or _RECURRENT
    if isinstance(module, nn.RNNBase):
        defaults = _RECURRENT
    first, more = [], []
    for name, value in settings_of(module).items():
        if (
            isinstance(value, tuple)
            and value
            and name != "output_size"
            and len(set(value)) == 1
            and _may_be_one(name, value)
        ):
            value = value[0]
        if name not in defaults:
            first.append(literal(value))
        elif value != defaults[name]:
            more.append(f"{name}={literal(value)}")
    return ", ".join([*first, *more])


def _may_be_one(name: str, value: tuple[Any, ...]) -> bool:
    """Whether a single number means the same: one a dimension of a kernel, or the only dimension normalized."""
    return name != "normalized_shape" or len(value) == 1


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _is_plain_sequence(module: nn.Module) -> bool:
    """Whether its layers are numbered without a gap and each can be written as one expression."""
    names = list(module._modules)
    children = module.children()
    leaves = all(
        type(c) not in CONTAINERS or (isinstance(c, nn.Sequential) and _is_plain_sequence(c)) for c in children
    )
    return (
        names == [str(i) for i in range(len(names))] and leaves and len(set(map(id, module.children()))) == len(names)
    )


def _inside_a_sequence(network: nn.Module, path: str) -> bool:
    owner = network.get_submodule(path.rpartition(".")[0])
    return isinstance(owner, nn.Sequential) and _is_plain_sequence(owner)


def _is_table(module: nn.Module) -> bool:
    """Whether a container's layers have numbers for names, as those of a list or a sequence of the user's."""
    plain = not isinstance(module, nn.Sequential) and type(module) in CONTAINERS
    return plain and bool(module._modules) and all(name.isdigit() for name in module._modules)


def _twice(network: nn.Module) -> set[str]:
    """The names of modules that have another name before."""
    seen: set[int] = set()
    found = set()
    for path, module in network.named_modules(remove_duplicate=False):
        if id(module) in seen:
            found.add(path)
        seen.add(id(module))
    return found
