"""Networks that draw random numbers: found, told, and made to draw the same ones where two are held together."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace

import onnx_ir as ir

from models.records import Model

DRAW = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")


def drawing(model: Model) -> tuple[ir.Node, ...]:
    """The nodes of the main form that draw: random operators, and Dropout that was exported in training mode."""
    main, functions = model.onnx.graph, model.onnx.functions.values()
    nodes = itertools.chain(main.all_nodes(), *(function.all_nodes() for function in functions))
    return tuple(node for node in nodes if _draws(node))


def told(model: Model) -> str:
    """A sentence for a user whose network draws; "" where it does not."""
    nodes = drawing(model)
    if not nodes:
        return ""
    names = ", ".join(f"{node.name!r} ({node.op_type})" for node in nodes[:3])
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    cure = (
        "export it in eval mode, where Dropout does nothing"
        if all(node.op_type == "Dropout" for node in nodes)
        else "take the noise as an input, or give what is computed of its mean, for numbers that can be repeated"
    )
    return (
        f"the network draws random numbers at {names}{more}, so two runs of it differ; it was judged with the same "
        f"numbers in float and after. Better {cure}"
    )


def seeded(model: Model) -> Model:
    """The same, with a seed at each node that has none, so that the runtime draws alike in every new session.

    It follows from the node's name, which passes keep. What does not draw is given back as it is.
    """
    if not drawing(model):
        return model
    network = model.onnx.clone()
    for node in drawing(replace(model, network=network)):
        if "seed" not in node.attributes:
            node.attributes["seed"] = _seed(node)
    return replace(model, network=network)


def unseeded(model: Model) -> Model:
    """The same without the seeds that `seeded` gave, also after a pass."""
    if not drawing(model):
        return model
    network = model.onnx.clone()
    for node in drawing(replace(model, network=network)):
        if "seed" in node.attributes and node.attributes["seed"].value == _seed(node).value:
            node.attributes.pop("seed")
    return replace(model, network=network)


def _seed(node: ir.Node) -> ir.Attr:
    number = zlib.crc32((node.name or node.outputs[0].name or "").encode()) % 2**24  # exact in float32
    return ir.AttrInt64("seed", number) if node.op_type == "Dropout" else ir.AttrFloat32("seed", float(number))


def _draws(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type != "Dropout":
        return node.op_type in DRAW
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is None:
        return False
    const = ir.convenience.get_const_tensor(training)
    return const is None or bool(const.numpy().any())
