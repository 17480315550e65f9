"""Operators of ONNX that arrange, cut, join and look up elements, as torch functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from export.onnx_host import slice_ranges
from export.onnx_values import Call, operand, tensor


def _reshape(call: Call, data: Any, shape: Any) -> Tensor:
    x, sizes = tensor(data), call.ints(shape)
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if isinstance(s, int) and s == 0 else s for i, s in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, data: Any) -> Tensor:
    x = tensor(data)
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 0:
        return x.reshape(1, -1)
    front = x.flatten(0, axis - 1) if axis > 1 else x
    return front.flatten(1) if front.dim() > 1 else front.unsqueeze(1)


def _transpose(call: Call, data: Any) -> Tensor:
    x = tensor(data)
    return x.permute(call.get("perm") or list(reversed(range(x.dim()))))


def _unsqueeze(call: Call, data: Any, axes: Any = None) -> Tensor:
    x = tensor(data)
    chosen = call.axes((x, axes)) or []
    rank = x.dim() + len(chosen)
    for axis in sorted(a % rank for a in chosen):
        x = x.unsqueeze(axis)
    return x


def _squeeze(call: Call, data: Any, axes: Any = None) -> Tensor:
    x = tensor(data)
    chosen = call.axes((x, axes))
    if chosen is None:
        chosen = [i for i, size in enumerate(x.shape) if isinstance(size, int) and size == 1]
    for axis in sorted((a % x.dim() for a in chosen), reverse=True):
        x = x.squeeze(axis)
    return x


def _concat(call: Call, *parts: Any) -> Tensor:
    like = next((p for p in parts if isinstance(p, Tensor)), None)
    return torch.cat([tensor(p, like) for p in parts], dim=call.get("axis", 1))


def _split(call: Call, data: Any, split: Any = None) -> Sequence[Tensor]:
    x = tensor(data)
    axis = call.get("axis", 0)
    sizes = call.get("split") or (call.ints(split) if split is not None else None)
    if sizes is not None:
        return torch.split(x, list(sizes), dim=axis)
    return torch.chunk(x, call.get("num_outputs", call.outputs), dim=axis)


def _slice(call: Call, data: Any, *rest: Any) -> Tensor:
    x = tensor(data)
    for start, end, axis, step in zip(*slice_ranges(call, (x, *rest), x.dim()), strict=True):
        if step < 0:
            x = _backwards(call, x, start, end, axis, step)
            continue
        end = None if isinstance(end, int) and end >= 2**31 - 1 else end
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end, step)
        x = x[tuple(index)]
    return x


def _backwards(call: Call, x: Tensor, start: Any, end: Any, axis: int, step: int) -> Tensor:
    """Torch has no negative step: turned round, a slice from the end is one from the start."""
    whole = start in (-1, 2**31 - 1, 2**63 - 1) and isinstance(end, int) and end <= -(2**31) + 1
    if not whole:
        raise call.refuse("steps backwards through a part of a dimension; only a whole one can be turned round")
    turned = x.flip(axis)
    index = [slice(None)] * x.dim()
    index[axis] = slice(None, None, -step)
    return turned[tuple(index)]


def _gather(call: Call, data: Any, indices: Any) -> Tensor:
    x = tensor(data)
    axis = call.get("axis", 0) % x.dim()
    if isinstance(indices, Tensor):
        where = indices
    else:
        numbers = call.host(indices)
        if numbers.size == 1 and numbers.ndim < 2:
            one = x.select(axis, numbers.reshape(-1)[0].item() if numbers.dtype != object else numbers.reshape(-1)[0])
            return one.unsqueeze(axis) if numbers.ndim else one
        where = tensor(indices, x)
        if numbers.dtype != object and (numbers < 0).any():
            where = torch.where(where < 0, where + x.shape[axis], where)
    if where.is_floating_point():
        where = where.long()
    if axis == 0 and x.dim() == 2:
        return F.embedding(where, x)
    found = x.index_select(axis, where.reshape(-1).long())
    return found.reshape([*x.shape[:axis], *where.shape, *x.shape[axis + 1 :]])


def _gather_elements(call: Call, data: Any, indices: Any) -> Tensor:
    x, where = tensor(data), tensor(indices).long()
    axis = call.get("axis", 0)
    return torch.gather(x, axis, torch.where(where < 0, where + x.shape[axis], where))


def _scatter_elements(call: Call, data: Any, indices: Any, updates: Any) -> Tensor:
    if call.get("reduction", "none") != "none":
        raise call.refuse(f"has the reduction {call.get('reduction')!r}, which is not read")
    x, where, axis = tensor(data), tensor(indices).long(), call.get("axis", 0)
    return torch.scatter(x, axis, torch.where(where < 0, where + x.shape[axis], where), tensor(updates))


def _gather_nd(call: Call, data: Any, indices: Any) -> Tensor:
    x, where = tensor(data), tensor(indices).long()
    if call.get("batch_dims", 0):
        raise call.refuse("has batch dimensions (batch_dims), which are not read")
    return x[tuple(where.unbind(-1))]


def _scatter_nd(call: Call, x: Any, indices: Any, updates: Any) -> Tensor:
    if call.get("reduction", "none") != "none":
        raise call.refuse(f"has the reduction {call.get('reduction')!r}, which is not read")
    return torch.index_put(tensor(x), tuple(tensor(indices).long().unbind(-1)), tensor(updates))


def _expand(call: Call, data: Any, shape: Any) -> Tensor:
    x, sizes = tensor(data), call.ints(shape)
    rank = max(x.dim(), len(sizes))
    own = [1] * (rank - x.dim()) + list(x.shape)
    sizes = [1] * (rank - len(sizes)) + sizes
    # a size of 1 asks for what is there; anything else stretches a 1
    return x.expand([a if isinstance(s, int) and s == 1 else s for a, s in zip(own, sizes, strict=True)])


def _tile(call: Call, x: Any, repeats: Any) -> Tensor:
    return tensor(x).repeat(call.ints(repeats))


def _where(call: Call, condition: Any, a: Any, b: Any) -> Tensor:
    chosen = tensor(condition)
    return torch.where(chosen, _branch(a, chosen), _branch(b, chosen))


def _branch(value: Any, condition: Tensor) -> Any:
    found = operand(value, condition)
    if isinstance(found, Tensor):
        return found
    array = value.array if hasattr(value, "array") else value
    return (
        torch.full((), found, dtype=torch.from_numpy(np.zeros(1, array.dtype)).dtype)
        if array.dtype != object
        else tensor(value)
    )


def _range(call: Call, start: Any, limit: Any, step: Any) -> Tensor:
    parts = [call.ints(v)[0] for v in (start, limit, step)]
    return torch.arange(*parts)


def _filled(call: Call, shape: Any) -> Tensor:
    value = call.get("value")
    array = np.zeros(1, np.float32) if value is None else value.numpy()
    return torch.full(call.ints(shape), array.reshape(-1)[0].item(), dtype=torch.from_numpy(array.copy()).dtype)


def _triangle(call: Call, x: Any, diagonal: Any = None) -> Tensor:
    k = 0 if diagonal is None else call.ints(diagonal)[0]
    return torch.triu(tensor(x), k) if call.get("upper", 1) else torch.tril(tensor(x), k)


def _one_hot(call: Call, indices: Any, depth: Any, values: Any) -> Tensor:
    off, on = call.host(values).reshape(-1).tolist()
    size, where = int(call.host(depth).reshape(-1)[0]), tensor(indices).long()
    hot = F.one_hot(torch.where(where < 0, where + size, where), size)
    axis = call.get("axis", -1)
    hot = hot if axis in (-1, hot.dim() - 1) else hot.movedim(-1, axis)
    found: Tensor = hot * (on - off) + off
    return found.to(torch.from_numpy(np.zeros(1, call.host(values).dtype)).dtype)


def _top_k(call: Call, x: Any, k: Any = None) -> Any:
    count = call.get("k") if k is None else int(call.host(k).reshape(-1)[0])
    largest, in_order = bool(call.get("largest", 1)), bool(call.get("sorted", 1))
    return tuple(torch.topk(tensor(x), count, dim=call.get("axis", -1), largest=largest, sorted=in_order))


def _dropout(call: Call, data: Any, *rest: Any) -> Any:
    if len(rest) > 1 and rest[1] is not None and call.host(rest[1]).any():
        raise call.refuse("is in training mode. Export the network after .eval()")
    x = tensor(data)
    return (x, torch.ones_like(x, dtype=torch.bool)) if call.outputs > 1 else x


def _shape(call: Call, x: Any) -> Any:
    sizes = list(tensor(x).shape)[call.get("start", 0) : call.get("end")]
    symbolic = any(isinstance(s, torch.SymInt) for s in sizes)
    array = np.empty(len(sizes), dtype=object)
    array[:] = sizes
    return array if symbolic else array.astype(np.int64)


def _size(call: Call, x: Any) -> Any:
    return np.asarray(tensor(x).numel(), dtype=object)


ARRANGEMENT: dict[str, Callable[..., Any]] = {
    "TopK": _top_k,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterElements": _scatter_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "Expand": _expand,
    "Tile": _tile,
    "Where": _where,
    "Range": _range,
    "ConstantOfShape": _filled,
    "Trilu": _triangle,
    "OneHot": _one_hot,
    "Dropout": _dropout,
    "Identity": lambda call, x: tensor(x),
    "Shape": _shape,
    "Size": _size,
}
