"""Bias correction: rounding shifts the mean of what a layer gives; the shift is measured, and taken off its bias.

Rounded weights W + E give E x more than W x. Where inputs have a mean, as after ReLU, this has one too, m = mean(E x),
and it is the same for every input: b - m in place of b takes it away, at no cost in time or bytes.

The means are those of the network itself, not of a formula: layer by layer in the order of the graph, the mean that
the int8 network gives in each channel is held against float's, on calibration data. When a layer's turn comes those
before it are corrected already, so it answers for its own shift and for what clipping has left of theirs. All layers
of one depth share a sweep.

Source: Nagel et al. 2019 (arXiv:1906.04721) sec. 4.2 and appendix D, there with the layer's inputs taken to be normal
where no data are at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from compress.quantization.calibration_data import cut, first_of, may_cut, rows
from compress.quantization.calls import Key, calls
from compress.quantization.channel_means import Dims, channel_means
from compress.quantization.level_by_level import Walk
from compress.quantization.onnx_edit import Editor, drop_unused, editors
from compress.quantization.onnx_weights import FLOATS, array, is_weight
from compress.quantization.turned import written_out
from export.forms import MAIN
from export.reading import attribute, is_
from models.records import Arrays, Model

Array = np.ndarray[Any, Any]
ENOUGH = 64  # samples: four times as many moved none of six reference models by more than 0.3 dB
_LEAST, _BYTES = 8, 1 << 24  # of large pictures fewer: each has many places, and what they become is kept in memory
Means = dict[str, Array]  # a node -> a number for each channel of what it gives


@dataclass
class BiasCorrection:
    """Finds the shifts of int8 networks that are made of one float model; of each way to make one, once.

    Args:
        model: float, with the names of layers that the int8 networks have.
        batches: to calibrate with; the first of them are enough.
        integer_bias: whether a layer's bias is in int32.
    """

    model: Model
    batches: Sequence[Arrays]
    integer_bias: bool = True
    _calls: Mapping[str, Key] = field(init=False)
    _float: Means = field(default_factory=dict)
    _fed: list[Arrays] = field(default_factory=list)
    _found: dict[object, Means] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keep as many batches as hold enough samples; see which nodes call the same layer."""
        one = sum(np.asarray(array).nbytes for array in self.batches[0].values()) // rows(self.batches[0])
        enough = max(_LEAST, min(ENOUGH, _BYTES // max(1, one)))
        self.batches = first_of(self.batches, enough)
        if may_cut(self.model):
            self.batches[-1] = cut(self.batches[-1], slice(0, enough - sum(map(rows, self.batches[:-1]))))
        network = self.model.onnx.clone()
        written_out(network)
        self._calls = calls({MAIN: network})[MAIN]

    def __call__(self, network: ir.Model, way: object, *, rest: bool = False) -> Means:
        """By how much each channel of what each node gives is too large on average, those before it corrected.

        Calls of one layer have one shift: what they have on average.

        Args:
            network: the main graph in int8, with pairs; only looked at.
            way: what tells this network from others of the model, but for its spelling; hashable.
            rest: of the layers whose weights are stored in integers and that compute in float, and not of the others.
        """
        if (way, rest) not in self._found:
            self._found[way, rest] = self._shifts(network.clone(), rest=rest)
        return self._found[way, rest]

    def _shifts(self, network: ir.Model, *, rest: bool) -> Means:
        dims = {layer.name: layer.dims for layer in _layers(network, rest=rest)}
        if not dims:
            return {}
        if missing := {name: its for name, its in dims.items() if name not in self._float}:
            means, self._fed = channel_means(self.model, missing, self.batches)
            self._float |= means
        layers = {name: self._calls.get(name, (name, 0)) for name in dims}
        walk = Walk(network, set(dims), self._fed)
        shifts: Means = {}
        for names in _by_depth(walk, layers):
            means = walk.means({name: dims[name] for name in names})
            new = _by_layer({name: means[name] - self._float[name] for name in means if name in self._float}, layers)
            shift(network, new, integer_bias=self.integer_bias, rest=rest)
            shifts |= new
        return shifts


def shift(
    network: ir.Model, shifts: Mapping[str, Array], *, integer_bias: bool = True, rest: bool = False
) -> list[str]:
    """Take shifts off the biases of a graph in place; gives the names of the nodes that took theirs.

    Args:
        network: in int8, with pairs.
        shifts: by node; one that this graph does not have, or not in int8, is left out.
        integer_bias: whether the bias of a layer that has none yet shall be in int32.
        rest: of the layers that compute in float, and not of the others.
    """
    edit, taken = editors(network)[network.graph], []
    for layer in list(_layers(network, rest=rest)):
        by = shifts.get(layer.name)
        if by is not None:
            _take_off(edit, layer, by, integer_bias and not rest)
            taken.append(layer.name)
    drop_unused(network)
    return taken


@dataclass(frozen=True)
class _Layer:
    """A layer in int8, and the constant Add behind it where that is its bias."""

    node: ir.Node
    dims: Dims
    add: ir.Node | None = None

    @property
    def name(self) -> str:
        return self.node.name or ""

    @property
    def channels(self) -> int:
        return self.dims[0]


def _layers(network: ir.Model, *, rest: bool = False) -> Iterator[_Layer]:
    """Layers whose weight is stored in integers and that can have a bias; those of the rest compute in float."""
    for node in network.graph:
        stored = _stored(node, rest) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if stored is None or not _has_fixed_bias(node, rest):
            continue
        shape = array(stored).shape
        if node.op_type == "Conv":
            yield _Layer(node, (shape[0], *[1] * (len(shape) - 2)))
        elif node.op_type == "Gemm":
            yield _Layer(node, (shape[0 if attribute(node, "transB", 0) else 1],))
        elif add := _bias_add(node, shape[-1]):
            yield _Layer(node, (shape[-1],), add)


def _stored(node: ir.Node, rest: bool) -> ir.Value | None:
    """The integers behind a layer's weight: behind a Cast and a Mul where it computes in float."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    for kind in ("Mul", "Cast") if rest else ("DequantizeLinear",):
        maker = None if value is None else value.producer()
        if maker is None or maker.op_type != kind:
            return None
        value = maker.inputs[0]
    return value if value is not None and value.const_value is not None else None


def _has_fixed_bias(node: ir.Node, rest: bool) -> bool:
    """Whether it has no bias, or one that is a constant: in integers where the layer is, and then behind its pair."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    pair = None if bias is None else bias.producer()
    if pair is not None and not rest and pair.op_type == "DequantizeLinear":
        bias = pair.inputs[0]
    return bias is None or (is_weight(bias, (*FLOATS, ir.DataType.INT32)) and attribute(node, "beta", 1.0) != 0)


def _bias_add(node: ir.Node, channels: int) -> ir.Node | None:
    """The Add of one constant per channel that alone reads a product."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or not is_(uses[0].node, "Add") or node.outputs[0].is_graph_output():
        return None
    other = uses[0].node.inputs[1 - uses[0].idx]
    return uses[0].node if other is not None and is_weight(other) and array(other).shape == (channels,) else None


def _by_depth(walk: Walk, layers: Mapping[str, Key]) -> list[list[str]]:
    """Names of nodes, those first that no other leads to; a layer that is called twice is as deep as its last call."""
    deepest: dict[Key, int] = {}
    for name, layer in layers.items():
        deepest[layer] = max(deepest.get(layer, 0), walk.level[walk.named[name]])
    groups: dict[int, list[str]] = {}
    for name, layer in layers.items():
        groups.setdefault(deepest[layer], []).append(name)
    return [groups[depth] for depth in sorted(groups)]


def _by_layer(of_nodes: Means, layers: Mapping[str, Key]) -> Means:
    """What the calls of one layer have on average, for each of them."""
    together: dict[Key, list[Array]] = {}
    for name, mean in of_nodes.items():
        together.setdefault(layers[name], []).append(mean)
    return {name: np.mean(together[layers[name]], axis=0) for name in of_nodes}


def _take_off(edit: Editor, layer: _Layer, shift: Array, integer_bias: bool) -> None:
    """Make a bias smaller by so much; a layer without one is given one."""
    node = layer.node
    shift = shift / attribute(node, "beta", 1.0)
    if layer.add is not None:
        position = 1 if layer.add.inputs[0] is node.outputs[0] else 0
        _lower(edit, layer.add, position, shift)
        return
    if len(node.inputs) < 3 or node.inputs[2] is None:
        node.resize_inputs(3)
        node.replace_input_with(2, _no_bias(edit, node, layer.channels, integer_bias))
    bias = node.inputs[2]
    assert bias is not None
    pair = bias.producer()
    if pair is None:
        _lower(edit, node, 2, shift)
    else:
        assert pair.inputs[1] is not None
        _lower(edit, pair, 0, shift / array(pair.inputs[1]).astype(np.float64))


def _lower(edit: Editor, reader: ir.Node, position: int, by: Array) -> None:
    """Make a constant smaller; where others read it too, the node is given one of its own."""
    old = reader.inputs[position]
    assert old is not None
    numbers = array(old) - by
    made = (np.rint(numbers) if array(old).dtype == np.int32 else numbers).astype(array(old).dtype)
    if len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.tensor(made, name=old.name)
    else:
        reader.replace_input_with(position, edit.constant(old.name or "bias", made))


def _no_bias(edit: Editor, node: ir.Node, channels: int, integer_bias: bool) -> ir.Value:
    """A bias of nothing, in the spelling of the others."""
    if not integer_bias:
        maker = node.inputs[1].producer() if node.inputs[1] is not None else None
        stored = maker.inputs[1] if maker is not None else None  # a scale, in the type that the layer computes in
        kind = np.float32 if stored is None or stored.const_value is None else array(stored).dtype
        return edit.constant(f"{node.name}.bias", np.zeros(channels, kind))
    scales = [array(pair.inputs[1]) for value in node.inputs[:2] if value and (pair := value.producer())]  # type: ignore[arg-type]
    scale = np.asarray(scales[0] * scales[1], np.float32)
    parts = [edit.constant(f"{node.name}.bias_q", np.zeros(channels, np.int32)), edit.constant("bias_scale", scale)]
    return edit.node(
        "DequantizeLinear", parts, {"axis": 0} if scale.ndim else None, output=f"{node.name}.bias_dq", before=node
    )
