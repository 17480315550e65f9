"""Which eight bits a device computes right and fast: a frozen scheme that follows from the device record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export.device import Device


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How integers are laid out in a file.

    Args:
        activations: "u8" spends all names on the range that was seen; "s8" is symmetric around zero.
        pairs_fit: weights so small that two products never leave 16 bits (x86 without VNNI would clip them).
        unsigned: weights unsigned too: all eight bits where pairs must fit, in a kernel that is slower.
        integer_bias: bias in int32 at the scale of the products; TensorRT wants it in float.
        products: whether products of two activations, as attention has them, gain from integers too. ONNX Runtime's do
            not on a processor: there is no packing beforehand, and two tensors more to round (0.91 to 0.95 times the
            speed at lengths 64, 128 and 512: `benchmarks/attention_products.py`).
        fuses: whether ONNX Runtime turns the pairs into integer operators there, which can be counted.
        half_computes: whether half precision is computed in, and not only stored.
        why_not_int8: why int8 is not offered there, or "".
    """

    activations: Literal["u8", "s8"] = "u8"
    pairs_fit: bool = False
    unsigned: bool = False
    integer_bias: bool = True
    products: bool = False
    fuses: bool = True
    half_computes: bool = False
    why_not_int8: str = ""


def scheme_for(device: Device) -> Scheme:
    """The scheme for a device.

    Processors get unsigned activations and signed weights, in seven bits where pairs would saturate; accelerators and
    microcontrollers what their own tools take, symmetric int8. ONNX Runtime's CUDA provider has no integer
    convolution (microsoft/onnxruntime#24807), so there it is half precision.
    """
    if device.provider == "cuda":
        reason = "ONNX Runtime's CUDA provider has no integer convolution: int8 runs there in float, plus conversions"
        return Scheme(fuses=False, half_computes=True, why_not_int8=reason)
    if device.provider == "tensorrt":
        return Scheme(activations="s8", integer_bias=False, products=True, fuses=False, half_computes=True)
    if device.symmetric:
        return Scheme(activations="s8", products=True, fuses=False)
    return Scheme(pairs_fit=not device.exact_u8s8)
