"""In which numbers a network computes while it trains; its weights, the loss and the optimizer stay in float32.

Source: Micikevicius et al. 2018 (arXiv:1710.03740): float32 master weights, and a scaled loss where half precision
would lose small gradients; bfloat16 has the range of float32 and needs no scale (Kalamkar et al. 2019,
arXiv:1905.12322).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import nn

from models.errors import DeviceError

Precision = Literal["auto", "off", "bf16", "fp16"]

_DTYPES: dict[str, torch.dtype | None] = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_for(precision: Precision, network: nn.Module, device: str) -> torch.dtype | None:
    """The type of the matrix products and convolutions; None for float32.

    "auto" follows from what the processor has and what the network is, and from no clock, so that a run repeats. On a
    CPU it is bfloat16 for networks of convolutions where the processor has its instructions, and float32 otherwise
    (measured on AVX512-BF16, one thread: a step of resnet8 takes 0.58 of the time, of gru-fsdd 1.27, of lstm-fsdd
    0.97). On a GPU it is bfloat16 where that is computed in hardware, else half precision.

    Raises:
        DeviceError: bf16 is asked of a GPU that has none.
    """
    if device == "cpu":
        if precision == "auto":
            return torch.bfloat16 if _has_bf16() and _convolves(network) else None
        return _DTYPES[precision]
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise DeviceError("precision=bf16: this GPU has no bfloat16. Use fp16, auto or off.")
    return _DTYPES[("bf16" if has_bf16 else "fp16") if precision == "auto" else precision]


def _has_bf16() -> bool:
    """Whether the processor has instructions for bfloat16; torch emulates it, slowly, where it has none."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer versions of torch
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _convolves(network: nn.Module) -> bool:
    """Whether most weights lie in dense convolutions."""
    weights = {layer: sum(p.numel() for p in layer.parameters(recurse=False)) for layer in network.modules()}
    dense = sum(n for layer, n in weights.items() if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.groups == 1)
    return 2 * dense > sum(weights.values())


def computing_in(dtype: torch.dtype | None, device: str) -> AbstractContextManager[Any]:
    """Inside, matrix products and convolutions are computed in this type, and what needs the range in float32."""
    return torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def scaler_for(dtype: torch.dtype | None, device: str) -> torch.amp.GradScaler:
    """Scales the loss in half precision; passes everything through as it is in all others."""
    return torch.amp.GradScaler(device, enabled=dtype is torch.float16)
