"""A user's own code and weights: objects named `pkg.module:attribute`, and state_dicts that must fit a module.

Their code is loaded apart from ours: their folder comes first, and if `models` or `export` meant ours until now, the
names are given back before their import runs.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import os
import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.errors import CompressError, ModelFileError, UsageError, did_you_mean

if TYPE_CHECKING:
    import torch

_NESTS = ("model", "state_dict", "model_state_dict", "ema", "ema_state_dict", "net", "network", "params", "weights")
_PRIVATE = "_compress"  # where our own floors live; see compress/floors.py
_FLOORS = ("models", "export", "benchmarks", "cli")


def named(reference: str, *, option: str = "--arch") -> Any:
    """The object that `pkg.module:attribute` names, looked for in the current folder first.

    Raises:
        UsageError: it is not written like that, or there is no such module or attribute.
        CompressError: the module raised while it was imported; the text says what and where.
    """
    module_name, _, attribute = reference.partition(":")
    if not attribute or not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise UsageError(
            f"{option} {reference!r} is not written as pkg.module:function, for example mynet.model:build."
        )
    make_way()
    with calling(f"{option} {reference!r}: importing {module_name!r}"):
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise UsageError(
                    f"{option} {reference!r}: there is no module {error.name!r} in {os.getcwd()!r} or among the "
                    "installed packages. Call compress from your project's folder, or set PYTHONPATH."
                ) from error
            raise
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            raise UsageError(f"{option} {reference!r}: {module_name!r} has no {part!r}.{did_you_mean(part, names)}")
        found = getattr(found, part)
    return found


def called(reference: str, arguments: Mapping[str, Any] = {}, *, option: str = "--arch") -> Any:
    """What the callable that `pkg.module:attribute` names gives for these keyword arguments; no callable: itself.

    Raises:
        UsageError: it takes no such argument, or lacks one.
        CompressError: it raised; the text holds its exception with file and line.
    """
    factory = named(reference, option=option)
    if not (inspect.isroutine(factory) or inspect.isclass(factory) or isinstance(factory, functools.partial)):
        return factory  # a module or a task that is already made
    _check_arguments(reference, factory, arguments, option)
    with calling(f"{option} {reference!r}"):
        return factory(**arguments)


def parse_arguments(pairs: Sequence[str], *, option: str = "--arch-arg") -> dict[str, Any]:
    """`key=value` pairs as keyword arguments; a value that reads as a Python literal is one, else text.

    >>> parse_arguments(["width=32", "norm=batch", "sizes=(3, 4)"])
    {'width': 32, 'norm': 'batch', 'sizes': (3, 4)}
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{option} {pair!r} is not written as key=value, for example width=32.")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value
    return arguments


@contextlib.contextmanager
def calling(what: str) -> Iterator[None]:
    """Runs a user's code: what it prints goes to stderr, what it raises becomes one sentence with its file and line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (CompressError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a script without a main guard ends in SystemExit
        raise CompressError(
            f"{what} raised {_in_words(error)}. The mistake is in that code, not in compress."
        ) from error


def fit(module: torch.nn.Module, file: str, content: Any, *, arch: str) -> None:
    """Load a user's weights into the module, wherever the file keeps them and whatever wrapper named them.

    Looked for as they are, then under `model`, `state_dict`, `ema` and the like, the first that fits; prefixes that
    all names share (`module.` of DataParallel, `_orig_mod.` of compile, `model.` of Lightning) are taken off.

    Raises:
        ModelFileError: the names or shapes do not fit; says how many, the first few and the likely cause.
    """
    wanted = module.state_dict()
    candidates = list(_state_dicts(content))
    if not candidates:
        found = f"a {type(content).__name__}" + (f" with {_few(content)}" if isinstance(content, Mapping) else "")
        raise ModelFileError(
            f"{file}: no state_dict in it, but {found}. Save one with torch.save(net.state_dict(), path)."
        )
    stripped = [_without_prefix(weights, wanted) for weights in candidates]
    best = max(stripped, key=lambda weights: _matches(weights, wanted))
    if "n_averaged" not in wanted:
        best.pop("n_averaged", None)
    needed = [n for n in wanted if not n.endswith("num_batches_tracked")]  # which files before torch 0.4.1 lack
    missing = [n for n in needed if n not in best]
    unexpected = [n for n in best if n not in wanted]
    reshaped = [n for n in best if n in wanted and best[n].shape != wanted[n].shape]
    if missing or unexpected or reshaped:
        raise ModelFileError(_misfit(file, arch, best, wanted, needed, missing, unexpected, reshaped))
    module.load_state_dict(best, strict=False)
    module.eval()


def make_way() -> None:
    """Put the user's folder first, and give back the everyday names of our floors."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())  # stays: their functions import when they are called
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _FLOORS and getattr(module, "__name__", "").startswith(f"{_PRIVATE}."):
            del sys.modules[name]


def _check_arguments(reference: str, factory: Any, arguments: Mapping[str, Any], option: str) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # a builtin has no signature to ask
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = ", ".join(str(p) for p in signature.parameters.values()) or "nothing"
        how = " Give them by --arch-arg key=value." if option == "--arch" else ""
        raise UsageError(f"{option} {reference!r}: {error}. It takes: {takes}.{how}") from None


def _in_words(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f
        for f in frames
        if not f.filename.startswith("<") and "site-packages" not in f.filename and f.filename != __file__
    ]
    theirs = [f for f in theirs if not f.filename.startswith(os.path.dirname(os.__file__))]
    where = f" at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" at {error.filename}:{error.lineno}"
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {said}' if said else ''}{where}"


def _state_dicts(content: Any) -> Iterator[OrderedDict[str, torch.Tensor]]:
    import torch

    if not isinstance(content, Mapping):
        return
    if content and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()):
        yield _versioned(content, _versions(content))
    for nest in _NESTS:
        if isinstance(content.get(nest), Mapping):
            yield from _state_dicts(content[nest])


def _versions(weights: Mapping[str, Any]) -> dict[str, Any]:
    return dict(getattr(weights, "_metadata", {}))


def _versioned(weights: Mapping[str, torch.Tensor], versions: dict[str, Any]) -> OrderedDict[str, torch.Tensor]:
    """Weights as torch saves them: with the version of each layer's format, which some layers ask for."""
    made = OrderedDict(weights)
    made._metadata = versions  # type: ignore[attr-defined]
    return made


def _without_prefix(
    weights: OrderedDict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> OrderedDict[str, torch.Tensor]:
    best = current = weights
    while True:
        prefixes = {name.partition(".")[0] for name in current if name != "n_averaged"}
        if len(prefixes) != 1 or not all("." in name for name in current if name != "n_averaged"):
            return best
        versions = {name.partition(".")[2]: version for name, version in _versions(current).items()}
        rest = {name.partition(".")[2]: tensor for name, tensor in current.items() if name != "n_averaged"}
        current = _versioned(rest, versions)
        if _matches(current, wanted) > _matches(best, wanted):
            best = current


def _matches(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> int:
    return sum(2 if tensor.shape == wanted[name].shape else 1 for name, tensor in weights.items() if name in wanted)


def _misfit(
    file: str,
    arch: str,
    weights: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    needed: list[str],
    missing: list[str],
    unexpected: list[str],
    reshaped: list[str],
) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(needed)} weights are missing from the file ({_few(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} in the file are unknown to the module ({_few(unexpected)})")
    if reshaped:
        first = reshaped[0]
        shapes = f"{first}: {tuple(weights[first].shape)} in the file, {tuple(wanted[first].shape)} in the module"
        parts.append(f"{len(reshaped)} have another shape ({shapes})")
    if len(missing) == len(needed):
        cause = "Not one name fits: the file was probably saved from another network"
    elif reshaped and not missing and not unexpected:
        cause = "Only sizes differ: other widths or another number of classes? Give them by --arch-arg key=value"
    else:
        cause = "Most likely the module was built with other arguments, or in another version, than the trained one"
    return f"{file} does not fit {arch}: {', '.join(parts)}. {cause}."


def _few(names: Sequence[str] | Mapping[Any, Any], count: int = 3) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:count]) + (", ..." if len(listed) > count else "")
