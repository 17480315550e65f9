"""A MobileNet of random weights as an ONNX file: what calibrators are timed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# channels, stride of the depthwise convolution; Howard et al. 2017 (arXiv:1704.04861) table 1
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def write_mobilenet(path: Path, *, width: float = 1.0, side: int = 224, seed: int = 0) -> None:
    """Write MobileNet V1 without its batch norms, which a prepared graph has folded, and with a head of 1,000 classes.

    Args:
        path: of the file.
        width: multiplier of all channels.
        side: of the image, x (N, 3, side, side).
        seed: of the weights, which keep the scale of what passes them.
    """
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants = [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in (("zero", 0.0), ("six", 6.0))]

    def constant(name: str, values: np.ndarray) -> str:  # type: ignore[type-arg]
        constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolve(x: str, name: str, shape: tuple[int, ...], stride: int = 1, group: int = 1) -> str:
        fan_in = int(np.prod(shape[1:]))
        weight = constant(f"{name}.weight", rng.standard_normal(shape) * np.sqrt(2 / fan_in))
        bias = constant(f"{name}.bias", rng.standard_normal(shape[0]) * 0.1)
        size, pads = list(shape[2:]), [shape[2] // 2] * 4
        options: dict[str, Any] = {"kernel_shape": size, "strides": [stride, stride], "pads": pads, "group": group}
        nodes.append(helper.make_node("Conv", [x, weight, bias], [f"{name}.conv"], name=name, **options))
        nodes.append(helper.make_node("Clip", [f"{name}.conv", "zero", "six"], [f"{name}.out"], name=f"{name}.clip"))
        return f"{name}.out"

    channels = round(32 * width)
    y = convolve("x", "stem", (channels, 3, 3, 3), 2)
    for number, (after, stride) in enumerate(BLOCKS):
        y = convolve(y, f"depthwise{number}", (channels, 1, 3, 3), stride, channels)
        y = convolve(y, f"pointwise{number}", (round(after * width), channels, 1, 1))
        channels = round(after * width)
    nodes.append(helper.make_node("GlobalAveragePool", [y], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"))
    weight = constant("head.weight", rng.standard_normal((1000, channels)) / np.sqrt(channels))
    bias = constant("head.bias", np.zeros(1000))
    nodes.append(helper.make_node("Gemm", ["flat", weight, bias], ["y"], name="head", transB=1))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, side, side])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(nodes, "mobilenet", [x], [out], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
