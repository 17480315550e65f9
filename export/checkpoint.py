"""Our `.pt`: a torch model as plain data and tensors, read without pickle and without the source it was built from.

One dict for `torch.load(weights_only=True)`:

    format, version   "compress", 1
    facts             inputs, outputs, forms, labels, preprocess, history, typical, name, data
    modules           name -> [class name, constructor's numbers]; class and numbers from `export/layers.py`
    graphs            form -> nodes; operations from `export/operations.py`
    tensors           name -> parameter or buffer; each object once
    tied              name -> name, for a tensor (or a whole module) that lies under a second name
    parameters        names of the tensors that are parameters; frozen: those that are not trained
    sample            input -> tensor, or None
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from export.files import whole
from export.graph_data import graph_from_data, graph_to_data
from export.layers import ARGUMENTS, KINDS, build, put, settings_of
from export.lifted import MAIN, Lifted, evaluating, tensors
from export.model_data import facts_from_data, facts_to_data
from models.errors import LiftError, ModelFileError
from models.records import Model, sizes_of

FORMAT = "compress"
VERSION = 1


def save(model: Model, path: str | os.PathLike[str], *, not_the_same_as: Sequence[str | Path] = ()) -> None:
    """Write a torch model as a file of ours, whole or not at all.

    Args:
        model: with a lifted network.
        path: replaced whole.
        not_the_same_as: the inputs, which are never overwritten.

    Raises:
        ModelFileError: it is an ONNX model, or holds a module or an operation that a file cannot.
        UsageError: the target is an input, or its folder does not exist.
        CompressError: the folder is not writable, or the disk is full.
    """
    held = io.BytesIO()  # torch's own writer loses the reason where a disk is full
    torch.save(to_data(model), held)
    with whole(Path(path), not_the_same_as=not_the_same_as) as part:
        part.write_bytes(held.getbuffer())


def load_checkpoint(path: str | os.PathLike[str]) -> Model:
    """Read a file of ours; nothing in it is run.

    Raises:
        ModelFileError: the file is missing, cut off, damaged, no file of ours, of a later version, or not consistent.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelFileError(f"there is no file {str(path)!r}.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(f"{str(path)!r} holds more than plain data and tensors, so it was not opened.") from error
    except Exception as error:  # torch raises a dozen kinds for broken files
        raise ModelFileError(f"{str(path)!r} is cut off, damaged or no file that torch.save made.") from error
    return from_data(content, source=str(path))


def is_ours(content: Any) -> bool:
    """Whether the content of a torch file is a model of ours, of whatever version."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def to_data(model: Model) -> dict[str, Any]:
    """The model as plain data and tensors; raises ModelFileError for what has no place in a file of ours."""
    network = model.network
    if not isinstance(network, Lifted):
        raise ModelFileError("checkpoint: only a lifted torch network has a .pt of ours; write ONNX as .onnx.")
    names: dict[int, str] = {}
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "facts": facts_to_data(model),
        "modules": {},
        "graphs": {form: graph_to_data(graph) for form, graph in network.graphs.items()},
        "tensors": {},
        "tied": {},
        "parameters": [],
        "frozen": [],
        "sample": None if model.sample is None else {k: torch.from_numpy(v.copy()) for k, v in model.sample.items()},
    }
    for path, module in network.named_modules(remove_duplicate=False):
        if not path:
            _add_tensors(content, path, module, names)
        elif id(module) in names:
            content["tied"][path] = names[id(module)]
        elif not any(path.startswith(f"{other}.") for other in content["tied"]):
            names[id(module)] = path
            if type(module) not in ARGUMENTS:
                raise ModelFileError(
                    f"checkpoint: layer '{path}' is a {type(module).__name__}, which no file can hold."
                )
            content["modules"][path] = [type(module).__name__, settings_of(module)]
            _add_tensors(content, path, module, names)
    return content


def _add_tensors(content: dict[str, Any], path: str, module: nn.Module, names: dict[int, str]) -> None:
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is None:
            continue
        full = f"{path}.{name}" if path else name
        if id(tensor) in names:
            content["tied"][full] = names[id(tensor)]
            continue
        names[id(tensor)] = full
        content["tensors"][full] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        if isinstance(tensor, nn.Parameter):
            content["parameters"].append(full)
            if not tensor.requires_grad:
                content["frozen"].append(full)


def from_data(content: Any, *, source: str) -> Model:
    """The model that plain data and tensors describe; raises ModelFileError, with `source` as the file's name."""

    def fail(what: str) -> NoReturn:
        raise ModelFileError(f"{source!r} is a damaged model file: {what}.")

    if not is_ours(content):
        raise ModelFileError(f"{source!r} is no model file of ours.")
    if content.get("version") != VERSION:
        raise ModelFileError(
            f"{source!r} has format version {content.get('version')!r}, this version of compress reads {VERSION}. "
            "Update: pip install -U compress-nn"
        )
    parts = {
        "facts": dict,
        "modules": dict,
        "graphs": dict,
        "tensors": dict,
        "tied": dict,
        "parameters": list,
        "frozen": list,
    }
    for name, kind in parts.items():
        if type(content.get(name)) is not kind:
            fail(f"its part '{name}' is missing or no {kind.__name__}")
    try:
        facts = facts_from_data(content["facts"])
        sample = None if content.get("sample") is None else {str(k): v.numpy() for k, v in content["sample"].items()}
        network = _network(content, fail)
        for form, data in content["graphs"].items():
            network.graphs[form] = graph_from_data(data, module=network, form=form, fail=fail)
        model = Model(network=network.eval(), sample=sample, **facts)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        fail(f"{type(error).__name__}, {str(error).splitlines()[0] if str(error) else 'no more is known'}")
    _check_runs(model, fail)
    return model


def _network(content: dict[str, Any], fail: Any) -> Lifted:
    network = Lifted()
    for path, described in content["modules"].items():
        kind_name, settings = described
        if kind_name not in KINDS:
            fail(f"layer '{path}' is of a kind that no file of ours holds, {kind_name!r}")
        kind = KINDS[kind_name]
        too_deep = settings.get("num_layers", 0) > len(
            content["tensors"]
        )  # would be built before it is seen to be wrong
        if not set(settings) <= set(ARGUMENTS[kind]) or too_deep:
            fail(f"layer '{path}' has settings that a {kind_name} does not take")
        _owner(network, path, fail).add_module(path.rpartition(".")[2], build(kind, settings))
    frozen, parameters = set(content["frozen"]), set(content["parameters"])
    for path, tensor in content["tensors"].items():
        if not isinstance(tensor, torch.Tensor) or tensor.is_sparse:
            fail(f"'{path}' is no tensor")
        if path in parameters:
            tensor = nn.Parameter(tensor, requires_grad=path not in frozen)
        _put(network, path, tensor, fail)
    for path, first in content["tied"].items():
        if first in content["modules"]:
            _owner(network, path, fail).add_module(path.rpartition(".")[2], network.get_submodule(first))
        else:
            owner, _, name = first.rpartition(".")
            _put(network, path, getattr(network.get_submodule(owner), name), fail)
    for path, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            fail(f"the values of '{path}' are missing")
    return network


def _owner(network: nn.Module, path: str, fail: Any) -> nn.Module:
    parts = path.split(".") if isinstance(path, str) else []
    if not parts or not all(part.isidentifier() or part.isdigit() for part in parts):
        fail(f"{path!r} is no name")
    try:
        owner = network.get_submodule(".".join(parts[:-1]))
    except AttributeError:
        fail(f"'{path}' lies in a layer that does not come before it")
    if parts[-1] in owner._modules or (
        hasattr(owner, parts[-1]) and parts[-1] not in {**owner._parameters, **owner._buffers}
    ):
        fail(f"the name '{path}' is taken")
    return owner


def _put(network: nn.Module, path: str, tensor: Any, fail: Any) -> None:
    owner, name = _owner(network, path, fail), path.rpartition(".")[2]
    before = owner._parameters.get(name, owner._buffers.get(name))
    if before is not None and before.shape != tensor.shape:
        fail(f"'{path}' has the shape {tuple(tensor.shape)}, its layer wants {tuple(before.shape)}")
    if name in owner._parameters and not isinstance(tensor, nn.Parameter):
        fail(f"'{path}' is no parameter, its layer wants one")
    put(owner, name, tensor)


def _check_runs(model: Model, fail: Any) -> None:
    """Run every form once: a graph that does not fit its layers is told here, not in the middle of a pass."""
    network = model.network
    assert isinstance(network, Lifted)
    if set(network.graphs) != {MAIN, *model.forms}:
        told = ", ".join((MAIN, *model.forms))
        fail(f"it has graphs for {', '.join(network.graphs) or 'no form'}, and describes {told}")
    described = {MAIN: (model.inputs, model.outputs)} | {n: (f.inputs, f.outputs) for n, f in model.forms.items()}
    sizes = sizes_of(model)
    for form, (inputs, outputs) in described.items():
        placeholders = [str(n.target) for n in network.graphs[form].nodes if n.op == "placeholder"]
        if placeholders != [spec.name for spec in inputs]:
            fail(f"the graph of form '{form}' takes {placeholders}, other inputs are described")
        try:
            with evaluating(network):
                found = network.run(form, *tensors(inputs, sizes))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, LiftError) as error:
            fail(f"the graph of form '{form}' does not run: {(str(error).splitlines() or [''])[0]}")
        given = found if isinstance(found, tuple) else (found,)
        fits = len(given) == len(outputs) and all(
            isinstance(t, torch.Tensor) and t.dim() == len(o.dims) for t, o in zip(given, outputs, strict=False)
        )
        if not fits:
            fail(f"the graph of form '{form}' gives other outputs than are described")
