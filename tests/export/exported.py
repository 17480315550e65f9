"""Small networks lifted, exported and lifted back from ONNX, each once for all tests of a run."""

import functools

import compress  # noqa: F401
from export.from_onnx import lift_onnx
from export.lift import lift
from export.to_onnx import to_onnx
from models.records import Model
from tests.export.architectures import ARCHITECTURES, Architecture

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
# one of each kind of difficulty; the lifter's own tests go through all of them
TRIED = [
    BY_NAME[name]
    for name in (
        "residual residual-slice squeeze-excite depthwise transposed conv1d norms glu shuffle tied two-inputs dict "
        "causal gru-both lstm"
    ).split()
]


@functools.cache
def exported(architecture: Architecture) -> tuple[Model, Model]:
    """In torch, and in ONNX."""
    result = lift(architecture.module(), architecture.inputs)
    model = Model(result.network, architecture.inputs, result.outputs, name=architecture.name)
    return model, to_onnx(model)


@functools.cache
def lifted_back(architecture: Architecture) -> Model:
    """From that ONNX in torch again."""
    return lift_onnx(exported(architecture)[1])
