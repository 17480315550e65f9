"""A graph as plain data and back: names, numbers, lists. What comes back is checked; nothing in it is ever run."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import fx, nn

from export.layers import LAYERS
from export.operations import name_of, operation
from models.errors import ModelFileError

_OPS = ("placeholder", "get_attr", "call_module", "call_function", "output")
_DTYPES = {
    name: getattr(torch, name) for name in "float16 bfloat16 float32 float64 bool uint8 int8 int16 int32 int64".split()
}
_CALLED = (*LAYERS, nn.Sequential)


def graph_to_data(graph: fx.Graph) -> list[dict[str, Any]]:
    """The nodes in order.

    Raises:
        ModelFileError: an operation or an argument that no file of ours may hold.
    """
    return [
        {
            "name": node.name,
            "op": node.op,
            "target": _target(node),
            "args": _to_data(node.args, node),
            "kwargs": {key: _to_data(value, node) for key, value in node.kwargs.items()},
            "layer": node.meta.get("layer", ""),
            "shape": None if node.meta.get("shape") is None else list(node.meta["shape"]),
            "dtype": node.meta.get("dtype"),
        }
        for node in graph.nodes
    ]


def _target(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.target)
    name = name_of(node.target)
    if name is None:
        raise ModelFileError(f"checkpoint: node '{node.name}' calls {node.target}, which no file of ours may hold.")
    return name


def _to_data(value: Any, node: fx.Node) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_to_data(v, node) for v in value]}
    if isinstance(value, list):
        return [_to_data(v, node) for v in value]
    if isinstance(value, torch.dtype):
        return {"dtype": str(value)[6:]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ModelFileError(f"checkpoint: node '{node.name}' has an argument of type {type(value).__name__}.")


def graph_from_data(data: Any, *, module: nn.Module, form: str, fail: Callable[[str], NoReturn]) -> fx.Graph:
    """A graph whose every name is known: of nodes before, of layers and tensors of the module, of allowed operations.

    Args:
        data: as `graph_to_data` gives it, but from a file, so of any shape.
        module: with the layers and tensors that the graph names.
        form: its name, for messages.
        fail: raises the error that says what is wrong with the file.
    """
    if not isinstance(data, list) or not data:
        fail(f"the graph of form '{form}' is no list of nodes")
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    tensors = {
        name
        for name, _ in (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    }
    for entry in data:
        where = f"form '{form}', node {len(nodes)}"
        if not isinstance(entry, Mapping) or not {"name", "op", "target", "args", "kwargs"} <= set(entry):
            fail(f"{where} is no node")
        name, op, target = entry["name"], entry["op"], entry["target"]
        if not _is_name(name) or name in nodes:
            fail(f"{where} has the name {name!r}, which is taken or no identifier")
        if op not in _OPS or not isinstance(target, str):
            fail(f"{where}, '{name}', is of an unknown kind, {op!r}")
        if "output" in (node.op for node in nodes.values()):
            fail(f"{where}, '{name}', lies behind the output")
        args, named = _from_data(entry["args"], nodes, where, fail), entry["kwargs"]
        if not isinstance(args, tuple) or not isinstance(named, dict) or not all(map(_is_name, named)):
            fail(f"{where}, '{name}', has arguments that are no list")
        kwargs = {key: _from_data(value, nodes, where, fail) for key, value in named.items()}
        found = _checked_target(op, target, module, tensors, where, fail)
        node = graph.create_node(op, found, args, kwargs, name=name)
        node.meta.update(_meta(entry, where, fail))
        nodes[name] = node
    _check_output(nodes, form, fail)
    return graph


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")


def _checked_target(
    op: str, target: str, module: nn.Module, tensors: set[str], where: str, fail: Callable[[str], NoReturn]
) -> Any:
    if op == "call_function":
        try:
            return operation(target)
        except KeyError:
            fail(f"{where} calls '{target}', which is not among the allowed operations")
    if op == "get_attr" and target not in tensors:
        fail(f"{where} reads '{target}', and there is no such tensor")
    if op == "call_module":
        layers = dict(module.named_modules(remove_duplicate=False))
        if type(layers.get(target)) not in _CALLED:
            fail(f"{where} calls '{target}', and there is no such layer")
    return target


def _from_data(value: Any, nodes: Mapping[str, fx.Node], where: str, fail: Callable[[str], NoReturn]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_from_data(v, nodes, where, fail) for v in value]
    if type(value) is dict:
        if set(value) == {"node"}:
            if not isinstance(value["node"], str) or value["node"] not in nodes:
                fail(f"{where} uses node {value['node']!r}, which does not come before it")
            return nodes[value["node"]]
        if set(value) == {"tuple"} and type(value["tuple"]) is list:
            return tuple(_from_data(v, nodes, where, fail) for v in value["tuple"])
        if set(value) == {"dtype"} and isinstance(value["dtype"], str) and value["dtype"] in _DTYPES:
            return _DTYPES[value["dtype"]]
    fail(f"{where} has an argument that cannot be read, {str(value)[:40]!r}")


def _meta(entry: Mapping[str, Any], where: str, fail: Callable[[str], NoReturn]) -> dict[str, Any]:
    shape, dtype, layer = entry.get("shape"), entry.get("dtype"), entry.get("layer", "")
    if shape is not None and not (isinstance(shape, list) and all(type(d) in (int, str) for d in shape)):
        fail(f"{where} has a shape that cannot be read, {str(shape)[:40]!r}")
    if not (dtype is None or isinstance(dtype, str)) or not isinstance(layer, str):
        fail(f"{where} has a type or a layer's name that cannot be read")
    return {"shape": None if shape is None else tuple(shape), "dtype": dtype, "layer": layer}


def _check_output(nodes: Mapping[str, fx.Node], form: str, fail: Callable[[str], NoReturn]) -> None:
    last = list(nodes.values())[-1]
    given = last.args[0] if last.op == "output" and len(last.args) == 1 else ()
    if not isinstance(given, tuple) or not given or not all(isinstance(node, fx.Node) for node in given):
        fail(f"form '{form}' has no output")
