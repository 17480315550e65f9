"""Which layer an aten operation is: its class, its constructor's numbers, its weights and what it is applied to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from export.layers import Settings


@dataclass(frozen=True)
class LayerCall:
    """One operation read as the call of a layer.

    Args:
        weights: the layer's parameter or buffer -> the node that gives it.
        arguments: what the layer is called with.
        transposed: the weight lies the other way round in the operation (x @ w).
        first: the operation gives a tuple of which the layer gives the first.
    """

    kind: type[nn.Module]
    settings: Settings
    weights: dict[str, fx.Node]
    arguments: tuple[Any, ...]
    transposed: bool = False
    first: bool = False


def layer_call(node: fx.Node) -> LayerCall | None:
    """The layer that an operation is; None where it is none, or its numbers follow from the input's size."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    reader = _READERS.get(node.target._schema.name)
    if reader is None:
        return None
    schema = node.target._schema.arguments
    values = {a.name: a.default_value if a.has_default_value() else None for a in schema}
    values |= {a.name: value for a, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
    call = reader(node, values)
    if call is None or _holds_a_node(tuple(call.settings.values())):
        return None
    return call


def shape_of(node: fx.Node) -> Sequence[Any]:
    """The shape that tracing found; symbols where it is free."""
    value = node.meta["val"]
    assert isinstance(value, torch.Tensor)
    return value.shape


def _holds_a_node(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_a_node(v) for v in value)
    return isinstance(value, (fx.Node, torch.SymInt))


def _given(**weights: Any) -> dict[str, fx.Node]:
    return {name: node for name, node in weights.items() if node is not None}


def _convolution(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    shape = shape_of(v["weight"])
    rank = len(shape) - 2
    transposed = bool(v.get("transposed")) or "transpose" in node.target._schema.name  # type: ignore[union-attr]
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    if not 1 <= rank <= 3 or _holds_a_node(v["groups"]):  # as many groups as examples: each has filters of its own
        return None

    def each(value: Any) -> Any:
        return value if isinstance(value, str) else tuple(value) * (rank if len(value) == 1 else 1)

    settings: Settings = {
        "in_channels": shape[0] if transposed else shape[1] * v["groups"],
        "out_channels": shape[1] * v["groups"] if transposed else shape[0],
        "kernel_size": tuple(shape[2:]),
        "stride": each(v["stride"]),
        "padding": each(v["padding"]),
        "dilation": each(v["dilation"]),
        "groups": v["groups"],
        "bias": v["bias"] is not None,
    }
    if transposed:
        settings["output_padding"] = each(v["output_padding"])
    return LayerCall(kinds[rank - 1], settings, _given(weight=v["weight"], bias=v["bias"]), (v["input"],))


def _linear(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    shape = shape_of(v["weight"])
    if len(shape) != 2:
        return None
    settings: Settings = {"in_features": shape[1], "out_features": shape[0], "bias": v["bias"] is not None}
    return LayerCall(nn.Linear, settings, _given(weight=v["weight"], bias=v["bias"]), (v["input"],))


def _matmul(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    x, weight = (v["self"], v["other"]) if "other" in v else (v["self"], v["mat2"])
    shape = shape_of(weight)
    if len(shape) != 2:
        return None
    settings: Settings = {"in_features": shape[0], "out_features": shape[1], "bias": False}
    return LayerCall(nn.Linear, settings, _given(weight=weight), (x,), transposed=True)


def _addmm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    shape = shape_of(v["mat2"])
    if v["beta"] != 1 or v["alpha"] != 1 or list(shape_of(v["self"])) != [shape[1]]:
        return None
    settings: Settings = {"in_features": shape[0], "out_features": shape[1], "bias": True}
    return LayerCall(nn.Linear, settings, _given(weight=v["mat2"], bias=v["self"]), (v["mat1"],), transposed=True)


def _batch_norm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    tuple_given = node.target._schema.name != "aten::batch_norm"  # type: ignore[union-attr]
    tracked = v["running_mean"] is not None
    if tracked and v.get("training"):  # the statistics of the batch, and running ones that would be written to
        return None
    return _statistics(v, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), tracked=tracked, first=tuple_given)


def _instance_norm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    tracked = v["running_mean"] is not None
    if tracked and v["use_input_stats"]:
        return None
    return _statistics(v, (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), tracked=tracked, first=False)


def _statistics(v: dict[str, Any], kinds: Sequence[type[nn.Module]], *, tracked: bool, first: bool) -> LayerCall | None:
    shape = shape_of(v["input"])
    if (v["weight"] is None) != (v["bias"] is None) or not 2 <= len(shape) <= 5:
        return None
    settings: Settings = {
        "num_features": shape[1],
        "eps": v["eps"],
        "momentum": v["momentum"],
        "affine": v["weight"] is not None,
        "track_running_stats": tracked,
    }
    kind = kinds[max(len(shape) - 3, 0)]
    weights = _given(**{name: v.get(name) for name in ("weight", "bias", "running_mean", "running_var")})
    return LayerCall(kind, settings, weights, (v["input"],), first=first)


def _layer_norm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    if v["weight"] is None and v["bias"] is not None:
        return None
    settings: Settings = {
        "normalized_shape": tuple(v["normalized_shape"]),
        "eps": v["eps"],
        "elementwise_affine": v["weight"] is not None,
        "bias": v["bias"] is not None,
    }
    return LayerCall(nn.LayerNorm, settings, _given(weight=v["weight"], bias=v["bias"]), (v["input"],))


def _rms_norm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    affine = v["weight"] is not None
    settings: Settings = {
        "normalized_shape": tuple(v["normalized_shape"]),
        "eps": v["eps"],
        "elementwise_affine": affine,
    }
    return LayerCall(nn.RMSNorm, settings, _given(weight=v["weight"]), (v["input"],))


def _group_norm(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    if (v["weight"] is None) != (v["bias"] is None):
        return None
    settings: Settings = {
        "num_groups": v["num_groups"],
        "num_channels": shape_of(v["input"])[1],
        "eps": v["eps"],
        "affine": v["weight"] is not None,
    }
    return LayerCall(nn.GroupNorm, settings, _given(weight=v["weight"], bias=v["bias"]), (v["input"],))


def _embedding(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    rows, width = shape_of(v["weight"])
    padding = v["padding_idx"] if v["padding_idx"] >= 0 else None
    settings: Settings = {"num_embeddings": rows, "embedding_dim": width, "padding_idx": padding}
    return LayerCall(nn.Embedding, settings, _given(weight=v["weight"]), (v["indices"],))


def _prelu(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    settings: Settings = {"num_parameters": shape_of(v["weight"])[0]} if len(shape_of(v["weight"])) == 1 else {}
    return LayerCall(nn.PReLU, settings, _given(weight=v["weight"]), (v["self"],)) if settings else None


def _bilinear(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    out, in1, in2 = shape_of(v["weight"])
    settings: Settings = {"in1_features": in1, "in2_features": in2, "out_features": out, "bias": v["bias"] is not None}
    weights = _given(weight=v["weight"], bias=v["bias"])
    return LayerCall(nn.Bilinear, settings, weights, (v["input1"], v["input2"]))


def _dropout(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
    kind = getattr(nn, v["kind"])
    if kind is nn.Dropout2d:  # traced alike for one, two and three dimensions
        kind = {3: nn.Dropout1d, 5: nn.Dropout3d}.get(len(shape_of(v["x"])), nn.Dropout2d)
    return LayerCall(kind, {"p": v["p"]}, {}, (v["x"],))


def _cell(kind: type[nn.Module], **more: str) -> Callable[[fx.Node, dict[str, Any]], LayerCall | None]:
    def read(node: fx.Node, v: dict[str, Any]) -> LayerCall | None:
        width = shape_of(v["w_ih"])[1]
        settings: Settings = {
            "input_size": width,
            "hidden_size": shape_of(v["w_hh"])[1],
            "bias": v["b_ih"] is not None,
            **more,
        }
        weights = _given(weight_ih=v["w_ih"], weight_hh=v["w_hh"], bias_ih=v["b_ih"], bias_hh=v["b_hh"])
        state = tuple(v["hx"]) if kind is nn.LSTMCell else v["hx"]
        return LayerCall(kind, settings, weights, (v["input"], state))

    return read


_READERS: dict[str, Callable[[fx.Node, dict[str, Any]], LayerCall | None]] = {
    **dict.fromkeys(("aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::convolution"), _convolution),
    **dict.fromkeys(("aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d"), _convolution),
    **dict.fromkeys(("aten::matmul", "aten::mm"), _matmul),
    **dict.fromkeys(("aten::batch_norm", "aten::_native_batch_norm_legit_no_training"), _batch_norm),
    "aten::linear": _linear,
    "aten::addmm": _addmm,
    "aten::instance_norm": _instance_norm,
    "aten::layer_norm": _layer_norm,
    "aten::rms_norm": _rms_norm,
    "aten::group_norm": _group_norm,
    "aten::embedding": _embedding,
    "aten::prelu": _prelu,
    "aten::bilinear": _bilinear,
    "aten::gru_cell": _cell(nn.GRUCell),
    "aten::lstm_cell": _cell(nn.LSTMCell),
    "aten::rnn_tanh_cell": _cell(nn.RNNCell, nonlinearity="tanh"),
    "aten::rnn_relu_cell": _cell(nn.RNNCell, nonlinearity="relu"),
    "compress::dropout": _dropout,
}
