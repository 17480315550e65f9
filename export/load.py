"""What a MODEL argument may be: a reference model, a file of ours, ONNX, or a user's weights with their own code.

Nothing in a file is ever run: pickles are read by `weights_only=True`, code is loaded only when `arch` names it, and a
pickled module or a `.pt2` (whose loader falls back to full pickle inside) is opened only with `trust_pickle`. torch is
imported only where the argument needs it, so `.onnx` files load without it.
"""

from __future__ import annotations

import inspect
import os
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export import foreign
from export.inputs import in_order_of, inputs_of, parse_input
from models import ZOO
from models.errors import ModelFileError, UsageError, did_you_mean
from models.records import Arrays, InputSpec, Model, Preprocess, Task

if TYPE_CHECKING:
    import torch

_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pt2")
_SUFFIXES = (".onnx", ".safetensors", *_TORCH_SUFFIXES)
_PICKLE = 0x80  # the first byte of every pickle since protocol 2
Kind = Literal["onnx", "safetensors", "pt", "torchscript", "pt2"]


def load(
    model: str | os.PathLike[str] | Model,
    *,
    arch: str | None = None,
    arch_args: Mapping[str, Any] | None = None,
    inputs: Sequence[InputSpec | str] = (),
    data: Arrays | Task | None = None,
    preprocess: Preprocess | None = None,
    trust_pickle: bool = False,
) -> Model:
    """Load whatever a MODEL argument names.

    Args:
        model: `zoo:NAME`, `NAME`, or a file: ours, `.onnx`, or with `arch` a state_dict (`.pt`, `.safetensors`).
        arch: `pkg.module:factory`, the callable that builds the module of a state_dict.
        arch_args: keyword arguments of the factory.
        inputs: what a foreign network takes, such as "x:float32[N,3,32,32]".
        data: or arrays of one batch (or a task) that show it.
        preprocess: from raw data to the inputs, where the file does not say.
        trust_pickle: open a pickled module or a `.pt2`, which can run any code: only for files of known origin.

    Raises:
        UsageError: no such reference model, or an option that does not fit the kind of file.
        ModelFileError: the file is missing, broken, of an unknown kind, unsafe, or does not fit `arch`.
        LiftError: the network cannot be made the trainable graph.
    """
    if isinstance(model, Model):
        return model
    given = os.fspath(model)
    if _names_an_entry(given):
        if arch is not None:
            raise UsageError(
                f"--arch builds the module of a user's weights, and {given!r} is a reference model. Leave it out."
            )
        loaded = _zoo(given)
    else:
        file = _existing(given)
        kind = kind_of(file)
        if arch is not None or (trust_pickle and kind in ("pt", "pt2", "torchscript")):
            told = [parse_input(spec) if isinstance(spec, str) else spec for spec in inputs] or _shown(data)
            loaded = _foreign(file, kind, arch, arch_args or {}, told, trust_pickle)
        else:
            loaded = at_sizes(_own(file, kind), [parse_input(s) if isinstance(s, str) else s for s in inputs])
    return replace(loaded, preprocess=preprocess) if preprocess is not None else loaded


def at_sizes(model: Model, told: Sequence[InputSpec]) -> Model:
    """A model that knows its inputs, with numbers that are told for free dimensions as its usual sizes.

    Raises:
        UsageError: what is told is not what the model takes.
    """
    takes = {spec.name: spec for spec in model.inputs}
    typical = dict(model.typical)
    for spec in told:
        own = takes.get(spec.name)
        pairs = [] if own is None else list(zip(own.dims, spec.dims, strict=False))
        fits = own is not None and len(own.dims) == len(spec.dims) and own.dtype == spec.dtype
        if not fits or any(isinstance(mine, int) and mine != theirs for mine, theirs in pairs):
            has = ", ".join(f"{s.name}:{s.dtype}[{','.join(map(str, s.dims))}]" for s in model.inputs)
            raise UsageError(f"--input {spec.name!r}: the file takes {has}. Numbers may stand for its letters.")
        typical |= {mine: size for mine, size in pairs if isinstance(mine, str) and isinstance(size, int)}
    return replace(model, typical=typical)


def kind_of(file: Path) -> Kind:
    """What a model file is, by its content where that can be told, else by its suffix; nothing in it is run.

    Raises:
        ModelFileError: it is empty, cut off, a folder, or of no kind that is known.
    """
    if file.is_dir():
        raise ModelFileError(f"{str(file)!r} is a folder; name the model file in it.")
    try:
        with open(file, "rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise ModelFileError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    if not start:
        raise ModelFileError(f"{str(file)!r} is empty. Copy or save it again.")
    if start.startswith(b"PK"):
        return _archive_kind(file)
    if file.suffix == ".onnx":
        return "onnx"
    if file.suffix in _TORCH_SUFFIXES or start[0] == _PICKLE:
        return "pt"  # torch's format before 1.6, or no model at all: its reader says
    if file.suffix == ".safetensors" or start[8:9] == b"{":
        return "safetensors"
    raise ModelFileError(
        f"{str(file)!r} is no model file that is known here: {', '.join(_SUFFIXES)}, "
        "or the name of a reference model (`compress models` lists them)."
    )


def _archive_kind(file: Path) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelFileError(f"{str(file)!r} is cut off or damaged: {error}. Copy or save it again.") from error
    inner = [name.partition("/")[2] or name for name in names]
    if "archive_format" in inner or any(n.startswith(("models/", "serialized_exported_program")) for n in inner):
        return "pt2"
    if any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        return "pt"
    raise ModelFileError(f"{str(file)!r} is a zip archive, but not one that torch.save makes.")


def _names_an_entry(given: str) -> bool:
    return given.startswith("zoo:") or (given in ZOO and not Path(given).is_file())


def _zoo(given: str) -> Model:
    from models import find

    name = given.removeprefix("zoo:")
    if name not in ZOO:
        raise UsageError(_no_such_model(name))
    from export.wrap import from_entry

    return from_entry(find(name))


def _existing(given: str) -> Path:
    file = Path(given)
    if file.exists():
        return file
    if file.suffix not in _SUFFIXES and len(file.parts) == 1:
        raise UsageError(_no_such_model(given))
    beside = [p.name for p in file.parent.iterdir() if p.suffix in _SUFFIXES] if file.parent.is_dir() else []
    where = "" if file.parent.is_dir() else f" (nor a folder {str(file.parent)!r})"
    raise ModelFileError(f"there is no file {given!r}{where}.{did_you_mean(file.name, beside)}")


def _no_such_model(name: str) -> str:
    near = did_you_mean(name, list(ZOO))
    return f"no reference model or file named {name!r}.{near} (`compress models` lists them)"


def _own(file: Path, kind: Kind) -> Model:
    if kind == "onnx":
        from export.onnx_file import read

        return read(file)
    if kind in ("pt2", "torchscript"):
        raise ModelFileError(_unsafe(file, "an exported program" if kind == "pt2" else "a TorchScript archive"))
    if kind == "safetensors":
        raise ModelFileError(_bare(file))
    from export.checkpoint import is_ours, load_checkpoint

    content = _safely(file)
    return load_checkpoint(file) if is_ours(content) else _refuse(file, content)


def _refuse(file: Path, content: Any) -> Model:
    if isinstance(content, Mapping):
        raise ModelFileError(_bare(file))
    raise ModelFileError(f"{str(file)!r} holds a {type(content).__name__}, not a model of ours or a state_dict.")


def _bare(file: Path) -> str:
    return (
        f"{str(file)!r} holds weights alone: a state_dict does not say which network they belong to. Name the "
        "callable that builds it with --arch pkg.module:factory, and what it takes with --data or --input."
    )


def _unsafe(file: Path, what: str) -> str:
    return (
        f"{str(file)!r} is {what}; opening one can run any code hidden in it, so it was not opened. Safe ways: save "
        "net.state_dict() and name the code with --arch pkg.module:factory; or export to .onnx with "
        "torch.onnx.export(net, ..., dynamo=True). If you know its origin: --trust-pickle."
    )


def _safely(file: Path) -> Any:
    """The content of a torch file, read without running anything in it."""
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelFileError(_unsafe(file, f"a pickle of more than weights ({found[1]})")) from None
        raise ModelFileError(f"{str(file)!r} is no file that torch.save made, or it is damaged.") from error
    except Exception as error:  # torch raises a dozen kinds for broken files
        raise ModelFileError(f"{str(file)!r} is cut off, damaged or no file that torch.save made.") from error


def _shown(data: Arrays | Task | None) -> list[InputSpec]:
    if data is None:
        return []
    if isinstance(data, str | os.PathLike):
        raise UsageError(
            f"load: data is {os.fspath(data)!r}, and what shows the inputs is a task or the arrays of one batch. "
            f"Make the task first: compress.task_for({os.fspath(data)!r})"
        )
    arrays = data if isinstance(data, Mapping) else next(iter(data.train))[0]
    return list(inputs_of(arrays))


def _foreign(
    file: Path, kind: Kind, arch: str | None, arguments: Mapping[str, Any], told: list[InputSpec], trust: bool
) -> Model:
    if kind == "onnx":
        raise UsageError(
            f"--arch builds the module of a state_dict, and {str(file)!r} is ONNX, complete in itself. Leave it out."
        )
    if kind == "torchscript":
        raise ModelFileError(
            f"{str(file)!r} is a TorchScript archive, which cannot be made trainable. Save the state_dict of the "
            "module it came from, and name its code with --arch pkg.module:factory."
        )
    module = _module(file, kind, arch, arguments, trust)
    if isinstance(module, Model):
        return module
    whose = arch or str(file)
    if not told:
        takes = ", ".join(_arguments(module)[0])
        raise UsageError(
            f"{whose}: its forward takes ({takes}), but of what shape is not known. Show it with --data, or tell it, "
            f"once per input: --input '{(takes or 'x').split(',')[0]}:float32[N,3,32,32]'."
        )
    from export.wrap import Model as wrapped

    names, required = _arguments(module)
    return wrapped(module, inputs=in_order_of(names, told, required=required, whose=whose), name=file.stem)


def _module(file: Path, kind: Kind, arch: str | None, arguments: Mapping[str, Any], trust: bool) -> Any:
    import torch

    if kind == "pt2":
        if not trust:
            raise ModelFileError(_unsafe(file, "an exported program"))
        with foreign.calling(f"{str(file)!r}: torch.export.load"):
            return torch.export.load(file).module()
    content = _weights(file, kind, trust)
    if isinstance(content, torch.nn.Module):
        return content.eval()
    if arch is None:
        from export.checkpoint import is_ours, load_checkpoint

        return load_checkpoint(file) if is_ours(content) else _refuse(file, content)
    module = foreign.called(arch, arguments)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"--arch {arch!r} gives a {type(module).__name__}; wanted a torch.nn.Module.")
    foreign.fit(module, str(file), content, arch=arch)
    return module


def _weights(file: Path, kind: Kind, trust: bool) -> Any:
    if kind == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"{str(file)!r} is cut off, damaged or no safetensors file: {error}.") from error
    if not trust:
        return _safely(file)
    import torch

    foreign.make_way()
    with foreign.calling(f"{str(file)!r}: unpickling"):
        return torch.load(file, map_location="cpu", weights_only=False)


def _arguments(module: torch.nn.Module) -> tuple[list[str], int]:
    """Names of the positional arguments of forward, and how many of them have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [p for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]
    return [p.name for p in taken], sum(p.default is inspect.Parameter.empty for p in taken)
