"""Operators of ONNX that multiply matrices or normalize with computed weights, as torch functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from export.onnx_values import Call, tensor


def _matmul(call: Call, a: Any, b: Any) -> Tensor:
    return torch.matmul(tensor(a), tensor(b))


def _gemm(call: Call, a: Any, b: Any, c: Any = None) -> Tensor:
    left = tensor(a).T if call.get("transA", 0) else tensor(a)
    right = tensor(b).T if call.get("transB", 0) else tensor(b)
    found = _scaled(left @ right, call.get("alpha", 1.0))
    return found if c is None else found + _scaled(tensor(c, found), call.get("beta", 1.0))


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def _layer_norm(call: Call, data: Any, scale: Any, bias: Any = None) -> Tensor:
    """With a scale or bias that is computed; constant ones make an nn.LayerNorm."""
    if call.outputs > 1:
        raise call.refuse("gives its mean or deviation, which is not read")
    x = tensor(data)
    found = F.layer_norm(x, x.shape[call.get("axis", -1) % x.dim() :], eps=call.get("epsilon", 1e-5)) * tensor(scale)
    return found if bias is None else found + tensor(bias)


def _batch_norm(call: Call, data: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Tensor:
    """With statistics or a scale that are computed; constant ones make an nn.BatchNorm."""
    if call.get("training_mode", 0) or call.outputs > 1:
        raise call.refuse("is in training mode. Export the network after .eval()")
    x = tensor(data)
    by, plus, middle, spread = (tensor(t).reshape(-1, *[1] * (x.dim() - 2)) for t in (scale, bias, mean, variance))
    found: Tensor = (x - middle) * (by / torch.sqrt(spread + call.get("epsilon", 1e-5))) + plus
    return found


def _rms_norm(call: Call, data: Any, scale: Any) -> Tensor:
    x = tensor(data)
    return F.rms_norm(x, x.shape[call.get("axis", -1) % x.dim() :], eps=call.get("epsilon", 1e-5)) * tensor(scale)


def _group_norm(call: Call, data: Any, scale: Any, bias: Any) -> Tensor:
    """Before opset 21 scale and bias are one a group, else one a channel."""
    x, groups = tensor(data), call.get("num_groups")
    normal = F.group_norm(x, groups, eps=call.get("epsilon", 1e-5))
    each = [tensor(t) for t in (scale, bias)]
    if call.opset < 21:
        each = [t.repeat_interleave(x.shape[1] // groups) for t in each]
    by, plus = (t.reshape(-1, *[1] * (x.dim() - 2)) for t in each)
    return normal * by + plus


def _einsum(call: Call, *operands: Any) -> Tensor:
    return torch.einsum(call.get("equation"), *[tensor(o) for o in operands])


def _attention(call: Call, q: Any, k: Any, v: Any, mask: Any = None, *rest: Any) -> Tensor:
    """ai.onnx Attention of opset 23 without a cache, heads either apart (4 dimensions) or side by side (3)."""
    known = {
        "is_causal",
        "kv_num_heads",
        "q_num_heads",
        "scale",
        "softmax_precision",
        "softcap",
        "qk_matmul_output_mode",
    }
    if any(r is not None for r in rest) or call.outputs > 1 or call.get("softcap", 0.0) or set(call.attributes) - known:
        raise call.refuse("keeps a cache, caps its scores, gives them, or looks through a window, which is not read")
    query, key, value = (tensor(t) for t in (q, k, v))
    if mask is not None and tensor(mask).dim() < 2:
        raise call.refuse("has a mask of one dimension, which is not read")
    joined = query.dim() == 3
    if joined:
        heads, key_heads = call.get("q_num_heads"), call.get("kv_num_heads")
        query, key, value = (
            t.unflatten(-1, (n, t.shape[-1] // n)).transpose(1, 2)
            for t, n in ((query, heads), (key, key_heads), (value, key_heads))
        )
    found = F.scaled_dot_product_attention(
        query, key, value, attn_mask=None if mask is None else tensor(mask), is_causal=bool(call.get("is_causal", 0)),
        scale=call.get("scale"), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return found.transpose(1, 2).flatten(2) if joined else found


PRODUCTS: dict[str, Callable[..., Any]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Attention": _attention,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
}
