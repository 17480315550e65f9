"""Small graphs from lines as one writes them: `y = Mul(x, half)`; x is (N, 7, 16), names in CONSTANTS are constants."""

import re

import numpy as np
import onnx_ir as ir
from onnx import helper, numpy_helper

from export.prepare import prepare
from export.profile import optimized_graph
from export.session import onnx_runner
from models.records import InputSpec, Model, OutputSpec

CONSTANTS = {
    **dict(one=1.0, two=2.0, three=3.0, six=6.0, zero=0.0, half=0.5, sixth=1 / 6, root2=2**0.5, inverse=0.5**0.5),
    **dict(cubic=0.044715, slope=(2 / np.pi) ** 0.5, eps=1e-5, limit=20.0, short=0.7071),
}


def written(*lines: str, opset: int = 18, dtype: type = np.float32, **arrays: np.ndarray) -> Model:
    """A model of the lines, from x to y, after a product so that the runtime has something to compute in front."""
    found = [re.fullmatch(r"(\w+) = (\w+)\((.*)\)", line) for line in lines]
    parts = [(m[1], m[2], [a.strip() for a in m[3].split(",")]) for m in found if m]
    given = {**{n: np.asarray(v, dtype) for n, v in CONSTANTS.items()}, **arrays}
    read = {name for *_, inputs in parts for name in inputs}
    nodes = [
        helper.make_node(op, [i for i in args if "=" not in i], [out], **dict(map(_attribute, filter(_is_set, args))))
        for out, op, args in parts
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = [helper.make_tensor_value_info(n, kind, ["N", 7, 16]) for n in "xy"]
    constants = [numpy_helper.from_array(a, n) for n, a in given.items() if n in read]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    spec = {"dtype": np.dtype(dtype).name, "dims": ("N", 7, 16)}
    return Model(
        ir.from_proto(proto), name="g", inputs=(InputSpec(name="x", **spec),), outputs=(OutputSpec(name="y", **spec),)
    )


def _is_set(argument: str) -> bool:
    return "=" in argument


def _attribute(argument: str) -> tuple[str, float | list[int]]:
    name, text = argument.split("=")
    return name, [int(text[1:-1])] if text.startswith("[") else float(text) if "." in text else int(text)


def operators(model: Model) -> dict[str, int]:
    """What the runtime computes."""
    return optimized_graph(model)


def prepared(model: Model) -> Model:
    """A copy that went through preparation."""
    network = model.onnx.clone()
    prepare(network)
    return Model(network, name="g", inputs=model.inputs, outputs=model.outputs)


def run(model: Model, x: np.ndarray) -> np.ndarray:
    """Its output."""
    return np.asarray(onnx_runner(model)({"x": x})["y"])


def close(before: Model, after: Model, atol: float = 1e-6) -> None:
    """Both give the same on numbers of all sizes."""
    x = (np.random.default_rng(0).standard_normal((3, 7, 16)) * np.logspace(-3, 1.5, 16)).astype(before.inputs[0].dtype)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, atol=atol)
