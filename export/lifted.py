"""The one torch form: real nn modules under the user's own names, and one graph a form that says how they are used.

A graph is a plain `torch.fx.Graph` that belongs to no module: it is interpreted node by node with the submodules as
they are now, so that an edit by `set_submodule` counts at once and nothing is generated or compiled. Nodes are

    placeholder    one an input, named as the input
    get_attr       a parameter, buffer or constant used as a tensor
    call_module    a layer; one called twice has two nodes and one module. nn.LSTM, nn.GRU and nn.RNN give the tuples
                   that torch gives: `operator.getitem` nodes take them apart
    call_function  an aten operation or arithmetic on sizes, from the allow-list in `export/operations.py`
    output         a flat tuple of nodes, one an output

`node.meta["shape"]` holds a tensor's sizes, numbers and letters as in `InputSpec.dims` ("T//2" where a size follows
from a letter otherwise), None where the node gives no tensor; `node.meta["dtype"]` its type, such as "float32".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_arg

from export.forms import MAIN
from export.letters import as_dims, variations
from export.operations import makes_a_tensor
from models.errors import LiftError, first_line
from models.records import Form, InputSpec, example

__all__ = ["MAIN", "Lifted", "annotate", "attribute", "device_of", "evaluating", "outputs_of", "tensors"]


class Lifted(nn.Module):
    """Real nn modules, and the graphs that call them.

    An ordinary module for optimizers, `train()`, `eval()` and `to()`. `copy.deepcopy` keeps what is shared shared.

    Attributes:
        graphs: form -> graph, MAIN first.
    """

    graphs: dict[str, fx.Graph]

    def __init__(self, graphs: Mapping[str, fx.Graph] | None = None) -> None:
        super().__init__()
        self.graphs = dict(graphs or {})

    def forward(self, *inputs: Any) -> Any:
        """Run the main form: a tensor, or a tuple where there are several outputs."""
        return self.run(MAIN, *inputs)

    def run(self, form: str, *inputs: Any) -> Any:
        """Run a form on its inputs in order; raises KeyError for a form that is not there."""
        *_, (node, outputs) = self.trace(form, *inputs)
        assert node.op == "output"
        return outputs[0] if len(outputs) == 1 else outputs

    def trace(self, form: str, *inputs: Any) -> Iterator[tuple[fx.Node, Any]]:
        """Give each node of a form with its value, in order, as it is computed; the last is the output's tuple."""
        graph = self.graphs[form]
        device = device_of(self)
        given = iter(inputs)
        values: dict[fx.Node, Any] = {}
        waiting: dict[fx.Node, int] = {}
        for node in graph.nodes:
            value = self._value(node, values, given, device)
            yield node, value
            values[node] = value
            waiting[node] = len(node.users)
            for (
                used
            ) in node.all_input_nodes:  # a value nobody waits for is let go, so that memory peaks as in eager torch
                waiting[used] -= 1
                if not waiting[used]:
                    del values[used]

    def _value(self, node: fx.Node, values: dict[fx.Node, Any], given: Iterator[Any], device: torch.device) -> Any:
        if node.op == "placeholder":
            return next(given)
        if node.op == "get_attr":
            return attribute(self, str(node.target))
        args = map_arg(node.args, values.__getitem__)
        if node.op == "output":
            return args[0]
        kwargs: dict[str, Any] = dict(map_arg(node.kwargs, values.__getitem__))
        if node.op == "call_module":
            return self.get_submodule(str(node.target))(*args, **kwargs)
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        if makes_a_tensor(target):  # out of nothing: it must lie where the weights are
            kwargs["device"] = device
        return target(*args, **kwargs)

    def form(self, name: str) -> Lifted:
        """A module over the same submodules, under the same names, whose forward runs that form."""
        if name not in self.graphs:
            raise LiftError(f"lift: no form named '{name}'; this network has {', '.join(self.graphs)}.")
        view = Lifted({MAIN: self.graphs[name]})
        view._modules, view._parameters, view._buffers = self._modules, self._parameters, self._buffers
        view._non_persistent_buffers_set = self._non_persistent_buffers_set
        view.training = self.training
        return view


def outputs_of(graph: fx.Graph) -> tuple[fx.Node, ...]:
    """The nodes whose values a graph gives, in order."""
    return cast(tuple[fx.Node, ...], graph.output_node().args[0])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are; the CPU for one without any."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def attribute(module: nn.Module, path: str) -> Any:
    """What lies under a dotted name; raises AttributeError."""
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode and no gradients, and afterwards each in the mode it was in."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def tensors(inputs: Sequence[InputSpec], sizes: Mapping[str, int], *, device: torch.device | None = None) -> list[Any]:
    """Random tensors of the right types and shapes, in the order of the inputs; the same each time."""
    return [torch.from_numpy(np.asarray(a, order="C")).to(device) for a in example(inputs, sizes).values()]


def annotate(
    lifted: Lifted, inputs: Sequence[InputSpec], sizes: Mapping[str, int], *, forms: Mapping[str, Form] | None = None
) -> None:
    """Write each node's shape and type into its meta, by running it at two sizes of every free letter.

    Args:
        lifted: its graphs' nodes are written to.
        inputs: of the main form.
        sizes: a size for every letter.
        forms: the further forms, annotated as well.

    Raises:
        LiftError: a graph does not run, or runs at one size only.
    """
    for name, specs in ((MAIN, inputs), *((name, form.inputs) for name, form in (forms or {}).items())):
        graph_inputs = [node for node in lifted.graphs[name].nodes if node.op == "placeholder"]
        if len(graph_inputs) != len(specs):
            raise LiftError(f"annotate: form '{name}' takes {len(graph_inputs)} inputs, {len(specs)} were described.")
        runs = variations(specs, sizes, partial(_shapes, lifted, name, specs))
        for node in lifted.graphs[name].nodes:
            node.meta["shape"] = as_dims([(tried, shapes[node][0]) for tried, shapes in runs])
            node.meta["dtype"] = runs[0][1][node][1]


def _shapes(
    lifted: Lifted, form: str, inputs: Sequence[InputSpec], sizes: Mapping[str, int]
) -> dict[fx.Node, tuple[tuple[int, ...] | None, str | None]]:
    found: dict[fx.Node, tuple[tuple[int, ...] | None, str | None]] = {}
    last = ""
    try:
        with evaluating(lifted):
            for node, value in lifted.trace(form, *tensors(inputs, sizes, device=device_of(lifted))):
                last = f"after '{node.target if node.op == 'call_module' else node.name}'"
                tensor = isinstance(value, torch.Tensor)
                found[node] = (tuple(value.shape), str(value.dtype)[6:]) if tensor else (None, None)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = first_line(error)
        raise LiftError(
            f"annotate: form '{form}' does not run at {dict(sizes)}, {last or 'at its start'}: {reason}"
        ) from error
    return found
