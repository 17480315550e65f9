"""A lifted network as a file of Python: a plain nn.Module to ship or edit, that needs torch and safetensors alone."""

from __future__ import annotations

import inspect
import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from export.files import check_output, whole
from export.forms import MAIN, parts
from export.lifted import Lifted, outputs_of
from export.source_layers import OWN, place, statements
from export.torch_spelling import Text, literal, spelled
from export.wrapped_lines import wrapped
from models import recurrent
from models.errors import UsageError
from models.records import Form, InputSpec, Model, OutputSpec

_INLINE = 48  # longer expressions get a name
_TAKEN = frozenset("self torch nn F math Path load load_model Network".split())


def save_source(model: Model, path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> tuple[Path, Path]:
    """Write the network as Python and its weights beside it, as `<stem>.safetensors`.

    In the file, `load()` gives the network in eval mode; it computes what the lifted one does, operation by operation.
    Further forms are methods of their names.

    Args:
        model: with a lifted network; an ONNX model is lifted first.
        path: the Python file, replaced whole.
        not_the_same_as: the inputs, which are never overwritten.

    Returns:
        Both files.

    Raises:
        UsageError: another suffix than .py, or a target that cannot be written.
        LiftError: it is ONNX and has no torch form.
        CompressError: it holds a layer that no file can, or the folder is not writable.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".py" or importable(path) != path:
        raise UsageError(
            f"output {str(path)!r}: Python source goes to a file that can be imported, such as network.py."
        )
    weights = path.with_suffix(".safetensors")
    for target in (path, weights):
        check_output(target, not_the_same_as=not_the_same_as)
    if model.is_onnx:
        from export.from_onnx import lift_onnx

        model = lift_onnx(model)
    network = model.network
    assert isinstance(network, Lifted)
    text = source(model, weights.name)
    with whole(weights, not_the_same_as=not_the_same_as) as part:
        save_file({name: tensor.contiguous() for name, tensor in _tensors(network).items()}, part)
    with whole(path, not_the_same_as=not_the_same_as) as part:
        part.write_text(text, encoding="utf-8")
    return path, weights


def importable(path: Path) -> Path:
    """The file under a name that an import statement can hold: `gru-fsdd.py` becomes `gru_fsdd.py`."""
    stem = re.sub(r"\W", "_", path.stem)
    return path.with_stem(f"_{stem}" if not stem.isidentifier() or keyword.iskeyword(stem) else stem)


def source(model: Model, weights: str) -> str:
    """The text of the file; `weights` is the name of the file beside it."""
    network = model.network
    assert isinstance(network, Lifted)
    made = [f"        {line}" for line in statements(network, literal=lambda v: literal(v, _no_node))]
    taken = {*dir(network), *network._modules, *network._parameters, *network._buffers} - {"forward"}
    body: list[str] = []
    for form, what in parts(model).items():
        name = "forward" if form == MAIN else re.sub(r"\W", "_", form)
        while form != MAIN and (name in taken or name in _TAKEN):
            name += "_"
        body += ["", *Writer(network, form).method(name, what)]
    lines = [line for text in (*made, *body) for line in wrapped(text)]
    code = "\n".join(lines)
    kinds = {type(module) for module in network.modules()}
    own = "".join(
        f"\n\n{inspect.getsource(kind)}"
        for kind in (recurrent._Layer, *OWN)
        if kind in kinds or (kind is recurrent._Layer and kinds.intersection(OWN))
    )
    imports = ["import math"] if "math." in code or own else []
    imports += ["from pathlib import Path", "", "import torch"]
    imports += ["from safetensors.torch import load_model", "from torch import Tensor, nn"]
    imports += ["from torch.nn import functional as F"] if "F." in code or own else []
    title = re.sub(r"[^\w.-]", "_", model.name) or "a network"
    return _FILE.format(what=title, weights=weights, imports="\n".join(imports), own=own, layers=code)


_FILE = '''"""{what} as a plain module of torch, written by compress.

`load()` gives it with its weights, which lie beside this file in {weights}.
"""

from __future__ import annotations

{imports}
{own}

class Network(nn.Module):
    """{what}."""

    def __init__(self) -> None:
        super().__init__()
{layers}


def load(weights: str | Path = Path(__file__).with_name("{weights}")) -> Network:
    """The network with its weights, in eval mode."""
    network = Network()
    load_model(network, weights)
    return network.eval()
'''


class Writer:
    """Writes one form's graph as the statements of a method."""

    def __init__(self, network: Lifted, form: str) -> None:
        self.network, self.graph = network, network.graphs[form]
        self.values: dict[fx.Node, Text] = {}
        self.uses: Counter[fx.Node] = Counter()
        self.names = {*map(str, self.graph.nodes), *_TAKEN, *keyword.kwlist}
        for node in self.graph.nodes:
            map_arg((node.args, node.kwargs), lambda used: self.uses.update([used]))

    def method(self, name: str, form: Model | Form) -> list[str]:
        """The lines of the method, its signature first."""
        given = [node for node in self.graph.nodes if node.op == "placeholder"]
        names = [_variable(str(node.target)) for node in given]
        results = outputs_of(self.graph)
        gives = "Tensor" if len(results) == 1 else f"tuple[{', '.join(['Tensor'] * len(results))}]"
        lines = [f"    def {name}(self, {', '.join(f'{n}: Tensor' for n in names)}) -> {gives}:"]
        lines += _docstring(form.inputs, form.outputs)
        self.values.update({node: Text(n) for node, n in zip(given, names, strict=True)})
        device = f"{names[0]}.device" if names else "None"
        for node in self.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            text = self._text(node, device)
            once = self.uses[node] == 1 and (len(text.text) <= _INLINE or results == (node,))
            if node.op == "get_attr" or once:
                self.values[node] = text
            else:
                self.values[node] = Text(self._name(node))
                lines.append(f"        {self.values[node].text} = {text.text}")
        return [*lines, f"        return {', '.join(self.values[node].text for node in results)}"]

    def _name(self, node: fx.Node) -> str:
        """A variable's name: the node's, or for a free size its letter."""
        name, of = _variable(node.name), node.args[0] if node.args else None
        if name.startswith("sym_size") and isinstance(of, fx.Node) and isinstance(node.args[1], int):
            size = str((of.meta.get("shape") or ())[node.args[1]]).lower()
            name = size if size.isidentifier() and size not in self.names else name
        self.names.add(name)
        return name

    def _text(self, node: fx.Node, device: str) -> Text:
        if node.op == "call_function":
            return spelled(node, self.values.__getitem__, device)
        at = place(self.network, str(node.target))
        if node.op == "get_attr":
            return Text(at)
        given = [literal(v, self.values.__getitem__) for v in node.args]
        given += [f"{key}={literal(v, self.values.__getitem__)}" for key, v in node.kwargs.items()]
        return Text(f"{at}({', '.join(given)})")


def _docstring(inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]) -> list[str]:
    def one(spec: InputSpec | OutputSpec) -> str:
        state = getattr(spec, "state_of", None)
        return f"{spec.name} {spec.dtype} ({', '.join(map(str, spec.dims))})" + (
            f", a state: {state} of the step before, {spec.initial:g} at first" if state else ""  # type: ignore[union-attr]
        )

    rows = [f"        Takes {one(inputs[0])}"] if inputs else []
    rows += [f"        and {one(spec)}" for spec in inputs[1:]]
    gives = "; ".join(map(one, outputs))
    return ['        """Run the network.', "", *rows, f"        Gives {gives}", '        """']


def _variable(name: str) -> str:
    name = re.sub(r"\W", "_", name)
    return f"{name}_" if name in _TAKEN else name


def _no_node(node: fx.Node) -> Text:
    raise AssertionError(f"node '{node}' in a constructor")


def _tensors(network: nn.Module) -> Mapping[str, torch.Tensor]:
    """Every tensor once, under the first of its names."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    named: list[tuple[str, Any]] = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in named:
        found.setdefault(id(tensor), (name, tensor.detach().cpu()))
    return dict(found.values())
