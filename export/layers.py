"""The kinds of module a lifted network may hold, each as data: its name and the numbers its constructor takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

Settings = dict[str, Any]  # constructor argument -> number, string, tuple of numbers or None

_CONVOLUTION = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_NORM = "num_features eps momentum affine track_running_stats"
_RECURRENT = "input_size hidden_size num_layers bias batch_first dropout bidirectional"
_CELL = "input_size hidden_size bias"

# class -> its constructor's arguments; each is an attribute of the same name
ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    kind: tuple(arguments.split())
    for kinds, arguments in (
        ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _CONVOLUTION),
        ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), f"{_CONVOLUTION} output_padding"),
        ((nn.Linear,), "in_features out_features bias"),
        ((nn.Bilinear,), "in1_features in2_features out_features bias"),
        ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _NORM),
        ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _NORM),
        ((nn.LayerNorm,), "normalized_shape eps elementwise_affine bias"),
        ((nn.RMSNorm,), "normalized_shape eps elementwise_affine"),
        ((nn.GroupNorm,), "num_groups num_channels eps affine"),
        ((nn.Embedding,), "num_embeddings embedding_dim padding_idx"),
        ((nn.PReLU,), "num_parameters"),
        ((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout), "p"),
        ((nn.LSTM,), f"{_RECURRENT} proj_size"),
        ((nn.GRU,), _RECURRENT),
        ((nn.RNN,), f"{_RECURRENT} nonlinearity"),
        ((PeepholeLSTM,), "input_size hidden_size bias batch_first forget_gate"),
        ((SigmoidRNN, ResetFirstGRU), "input_size hidden_size bias batch_first"),
        ((nn.LSTMCell, nn.GRUCell), _CELL),
        ((nn.RNNCell,), f"{_CELL} nonlinearity"),
        ((nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity), ""),
        ((nn.GELU,), "approximate"),
        ((nn.LeakyReLU,), "negative_slope"),
        ((nn.Module, nn.Sequential, nn.ModuleList), ""),  # what holds others
    )
    for kind in kinds
}
KINDS = {kind.__name__: kind for kind in ARGUMENTS}
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList)
LAYERS = tuple(kind for kind in ARGUMENTS if kind not in CONTAINERS)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def kind_of(module: nn.Module) -> type[nn.Module] | None:
    """The class by which a module is known here: its own or the nearest it inherits from; None for other modules."""
    return next((kind for kind in type(module).__mro__ if kind in ARGUMENTS and kind is not nn.Module), None)


def settings_of(module: nn.Module, kind: type[nn.Module] | None = None) -> Settings:
    """The numbers that make another module of this shape, as its own class or as that one; raises KeyError."""
    found: Settings = {}
    for argument in ARGUMENTS[kind or type(module)]:
        value = getattr(module, argument)
        if argument == "bias":  # a tensor in convolutions and norms, a yes or no in recurrent layers
            value = value if isinstance(value, bool) else value is not None
        found[argument] = tuple(value) if isinstance(value, list) else value
    return found


def build(kind: type[nn.Module], settings: Mapping[str, Any], *, dtype: torch.dtype | None = None) -> nn.Module:
    """A module without values (its tensors are on the meta device, for the caller to put in), in training mode.

    Raises:
        TypeError, ValueError: the constructor does not take these settings.
    """
    with torch.device("meta"):
        module = kind(**settings)
    return module if dtype is None else module.to(dtype)


def put(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
    """Make a tensor a module's parameter or buffer of that name; the very object, so that what is tied stays tied."""
    if name in module._parameters or isinstance(tensor, nn.Parameter):
        if tensor is not None and not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)
    if isinstance(module, nn.RNNBase) and name in module._flat_weights_names:
        module._flat_weights[module._flat_weights_names.index(name)] = tensor
