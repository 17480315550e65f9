"""How layers tie the dimensions of their weights to what goes in and comes out, and which attributes follow."""

from __future__ import annotations

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from export.recurrent_leaf import TWO_STATES
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN

from .axes import Dim, Sum, freeze_structure
from .norm_rules import TENSORS, normalize_channels, normalize_groups, normalize_last
from .product_rules import affine, convolve
from .ties import Call, Dims, Given, Rule
from .unit_rules import embed, slopes, unknown

_STACKED = "has so many layers and directions"
_THREE_GATES = (nn.GRU, nn.GRUCell, ResetFirstGRU)


def convolution(call: Call) -> Given:
    """Conv1d to 3d and ConvTranspose1d to 3d."""
    module = call.module
    assert isinstance(module, _ConvNd)
    transposed = isinstance(module, _ConvTransposeNd)
    padding = module.padding if isinstance(module.padding, tuple) else (module.padding,) * len(module.stride)
    steps = module.stride, padding
    return convolve(call, call.dims(0), call.weight("weight"), call.weight("bias"), module.groups, transposed, steps)


def linear(call: Call) -> Given:
    """(..., in) to (..., out)."""
    return affine(call, call.dims(0), call.weight("weight"), call.weight("bias"))


def bilinear(call: Call) -> Given:
    """(..., one) and (..., other) to (..., out)."""
    one, other, weight = call.dims(0), call.dims(1), call.weight("weight")
    call.tie(weight[1], one[-1])
    call.tie(weight[2], other[-1])
    for dim in call.weight("bias"):
        call.tie(dim, weight[0])
    for name, dim in zip(("out_features", "in1_features", "in2_features"), weight, strict=True):
        call.attribute(name, dim)
    return (*call.broadcast([one[:-1], other[:-1]]), weight[0])


def batch_norm(call: Call) -> Given:
    """Statistics and scale a channel."""
    return normalize_channels(call, call.dims(0), [call.weight(name) for name in TENSORS])


def instance_norm(call: Call) -> Given:
    """Statistics a channel and an example, over all positions."""
    x = call.dims(0)
    call.freeze(x[2:], "runs over it")
    return normalize_channels(call, x, [call.weight(name) for name in TENSORS])


def last_norm(call: Call) -> Given:
    """LayerNorm and RMSNorm."""
    module, x = call.module, call.dims(0)
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    normalize_last(call, x, len(module.normalized_shape), [call.weight("weight"), call.weight("bias")])
    return x


def group_norm(call: Call) -> Given:
    """GroupNorm."""
    module, x = call.module, call.dims(0)
    assert isinstance(module, nn.GroupNorm)
    normalize_groups(call, x, module.num_groups, [call.weight("weight"), call.weight("bias")])
    return x


def embedding(call: Call) -> Given:
    """Rows of a table."""
    return embed(call, call.dims(0), call.weight("weight"))


def prelu(call: Call) -> Given:
    """A slope for all, or one a channel."""
    return slopes(call, call.dims(0), call.weight("weight"))


def unchanged(call: Call) -> Given:
    """Dropout and activations, index by index."""
    return call.dims(0)


def recurrent(call: Call) -> Given:
    """RNN, LSTM and GRU with any number of layers and directions: hidden units go with all their gates and peepholes.

    A layer's hidden units are its own; all layers keep the same number of them, and where the states are taken or
    given as one tensor the same ones.
    """
    module, x = call.module, call.dims(0)
    assert isinstance(module, nn.RNNBase | PeepholeLSTM | ResetFirstGRU | SigmoidRNN)
    directions = 2 if module.bidirectional else 1
    inputs: Dim = x[-1]
    hidden: list[Dim] = []
    outputs: list[Dim] = []
    for layer in range(module.num_layers):
        made = [_direction(call, f"l{layer}{suffix}", inputs) for suffix in ("", "_reverse")[:directions]]
        hidden += [h for h, _ in made]
        outputs += [o for _, o in made]
        inputs = Sum(tuple(o for _, o in made))
    for peephole in ("weight_ci", "weight_cf", "weight_co"):
        for dim in call.weight(peephole):
            call.tie(dim, hidden[0])
    batch = x[1 - int(module.batch_first) : 2 - int(module.batch_first)] if len(x) == 3 else ()
    _states(call, hidden, outputs, batch)
    call.ties.alike += [tuple(hidden), tuple(outputs)]
    call.attribute("input_size", x[-1])
    call.attribute("hidden_size", hidden[0])
    if module.proj_size:
        call.attribute("proj_size", outputs[0])
        call.ties.bounds += [(h, module.proj_size + 1) for h in hidden]  # torch makes no LSTM with fewer
    stacked = call.fixed(len(hidden), _STACKED)
    final, cell = (stacked, *batch, outputs[0]), (stacked, *batch, hidden[0])
    return [(*x[:-1], inputs), [final, cell] if isinstance(module, TWO_STATES) else final]


def _direction(call: Call, suffix: str, inputs: Dim) -> tuple[Dim, Dim]:
    """The hidden units of one layer in one direction, and what it gives (its projection, where it has one)."""
    into, back = call.weight(f"weight_ih_{suffix}"), call.weight(f"weight_hh_{suffix}")
    call.tie(into[1], inputs)
    projection = call.weight(f"weight_hr_{suffix}")
    hidden = _gated(call, [into, back, call.weight(f"bias_ih_{suffix}"), call.weight(f"bias_hh_{suffix}")])
    output = projection[0] if projection else hidden
    if projection:
        call.tie(projection[1], hidden)
    call.tie(back[1], output)
    return hidden, output


def _gated(call: Call, tensors: list[Dims]) -> Dim:
    """The hidden units in weights whose first dimension is gates x hidden units."""
    module = call.module
    gates = 4 if isinstance(module, nn.LSTM | nn.LSTMCell) else 3 if isinstance(module, _THREE_GATES) else 1
    if isinstance(module, PeepholeLSTM):
        gates = 3 + module.forget_gate
    hidden: list[Dim] = []
    for dims in tensors:
        if dims:
            rows, units = call.factor(dims[0], gates)
            freeze_structure(rows, "gates")
            hidden.append(units)
    return call.tie_all(hidden)


def _states(call: Call, hidden: list[Dim], outputs: list[Dim], batch: Dims) -> None:
    """Tie layers whose states are handed over as one tensor, (layers * directions, batch, units)."""
    given = _flat([*call.node.args[1:], *call.node.kwargs.values()])
    for value, mine in zip(given, (outputs, hidden), strict=False):
        stacked, *examples, units = call.dims(value)
        call.freeze([stacked], _STACKED)
        call.broadcast([tuple(examples), batch])
        call.tie_all([*mine, units])
    for user in call.node.users:
        if user.args[1] == 1 and user.users:
            call.tie_all(outputs)
            call.tie_all(hidden)


def _flat(values: object) -> list[fx.Node]:
    if isinstance(values, fx.Node):
        return [values]
    return [node for value in values for node in _flat(value)] if isinstance(values, tuple | list) else []


def cell(call: Call) -> Given:
    """RNNCell, GRUCell and LSTMCell: one step."""
    x, states = call.dims(0), [call.dims(node) for node in _flat(call.node.args[1:])]
    into, back = call.weight("weight_ih"), call.weight("weight_hh")
    call.tie(into[1], x[-1])
    hidden = _gated(call, [into, back, call.weight("bias_ih"), call.weight("bias_hh")])
    call.broadcast([x[:-1], *(dims[:-1] for dims in states)])
    call.tie_all([hidden, back[1], *(dims[-1] for dims in states)])
    call.attribute("input_size", x[-1])
    call.attribute("hidden_size", hidden)
    given = (*x[:-1], hidden)
    return [given, given] if isinstance(call.module, nn.LSTMCell) else given


# most particular class first
LAYERS: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Rule], ...] = (
    (_ConvNd, convolution),
    (nn.Linear, linear),
    (nn.Bilinear, bilinear),
    (_InstanceNorm, instance_norm),
    (_BatchNorm, batch_norm),
    ((nn.LayerNorm, nn.RMSNorm), last_norm),
    (nn.GroupNorm, group_norm),
    (nn.Embedding, embedding),
    (nn.PReLU, prelu),
    ((nn.RNN, nn.LSTM, nn.GRU, PeepholeLSTM, ResetFirstGRU, SigmoidRNN), recurrent),
    ((nn.RNNCell, nn.LSTMCell, nn.GRUCell), cell),
    ((nn.modules.dropout._DropoutNd, nn.Identity), unchanged),
    ((nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU), unchanged),
)


def rule_for(module: nn.Module) -> Rule:
    """The rule of a layer's class, or the one that freezes what it touches."""
    return next((rule for classes, rule in LAYERS if isinstance(module, classes)), unknown)
