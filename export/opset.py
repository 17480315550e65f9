"""A graph in another opset. Imports no torch.

Upwards onnxscript converts. Downwards its converter and ONNX's own give up at the first Relu, though for most operators
nothing changed but the list of types: here a node is written as the older opset has it, by the schemas that ONNX keeps,
and the graph is checked by them afterwards. What it computes is compared by whoever asked.
"""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir
from onnxscript.version_converter import ConvertVersionPass

from export.reading import attribute as attribute_of
from export.reading import opset_of
from models.errors import CompressError

OLDEST = 11
# operator -> (opset since which an input says what an attribute said before, its place, the attribute)
_MOVED = {
    **{f"Reduce{kind}": (18, 1, "axes") for kind in "Mean Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()},
    "ReduceSum": (13, 1, "axes"),
    "Squeeze": (13, 1, "axes"),
    "Unsqueeze": (13, 1, "axes"),
    "Split": (13, 1, "split"),
}
_LAST_AXIS_ONLY = ("Softmax", "LogSoftmax", "Hardmax")  # flattened what followed the axis before opset 13


def in_opset(network: ir.Model, opset: int) -> ir.Model:
    """The graph in the opset asked for; itself where it is that already.

    Raises:
        CompressError: the opset is not there, or an operator of the graph has no counterpart in it.
    """
    before, newest = opset_of(network), onnx.defs.onnx_opset_version()
    if opset == before:
        return network
    if not OLDEST <= opset <= newest:
        raise CompressError(f"export: opset {opset} was asked for, and {OLDEST} to {newest} can be written.")
    made = network.clone()
    if opset > before:
        return _raised(made, opset)
    for node in made.graph.all_nodes():
        if node.domain in ("", "ai.onnx"):
            _lower(node, before, opset)
    made.opset_imports[""] = opset
    for function in made.functions.values():
        function.opset_imports[""] = opset
    for name, value in list(made.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del made.graph.initializers[name]
    made.ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return made


def _raised(network: ir.Model, opset: int) -> ir.Model:
    before = opset_of(network)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # it logs a failure and goes on; the opset below says whether it failed
    try:
        made: ir.Model = ConvertVersionPass(opset, fallback=True)(network).model
    except Exception as error:
        raise _refusal(before, opset, str(error).splitlines()[0]) from error
    finally:
        logging.disable(disabled)
    if opset_of(made) != opset:
        raise _refusal(before, opset, "the converter left it as it was")
    return made


def _lower(node: ir.Node, before: int, opset: int) -> None:
    """Write a node, in place, as the older opset has it."""
    try:
        new, old = (onnx.defs.get_schema(node.op_type, version, "") for version in (before, opset))
    except onnx.defs.SchemaError:
        raise _refusal(before, opset, f"it has no operator {node.op_type} (node '{node.name}')") from None
    since, place, attribute = _MOVED.get(node.op_type, (0, 0, ""))
    if opset < since and len(node.inputs) > place:
        _input_to_attribute(node, place, attribute, before, opset)
    if node.op_type in _LAST_AXIS_ONLY and opset < 13 and attribute_of(node, "axis", -1) != -1:
        raise _refusal(before, opset, f"{node.op_type} (node '{node.name}') works along another axis than the last")
    for name in [name for name in node.attributes if name not in old.attributes]:
        value = node.attributes[name].value
        if name == "num_outputs" or value == _default(new, name):  # equal parts are what an older Split makes anyway
            node.attributes.pop(name)
        else:
            raise _refusal(before, opset, f"{node.op_type} (node '{node.name}') has no {name!r} there")
    if len(node.inputs) > old.max_input:
        raise _refusal(before, opset, f"{node.op_type} (node '{node.name}') takes fewer inputs there")


def _input_to_attribute(node: ir.Node, place: int, attribute: str, before: int, opset: int) -> None:
    value = node.inputs[place]
    if value is not None:
        if value.const_value is None:
            raise _refusal(before, opset, f"{node.op_type} (node '{node.name}') computes its {attribute}")
        numbers = [int(n) for n in value.const_value.numpy().reshape(-1)]
        node.attributes[attribute] = ir.AttrInt64s(attribute, numbers)
    node.resize_inputs(place)


def _default(schema: onnx.defs.OpSchema, name: str) -> object:
    default = schema.attributes[name].default_value if name in schema.attributes else None
    return None if default is None or not default.type else onnx.helper.get_attribute_value(default)


def _refusal(before: int, opset: int, reason: str) -> CompressError:
    return CompressError(
        f"export: the graph of opset {before} cannot be written in opset {opset}: {reason}. Ask for opset {before}."
    )
