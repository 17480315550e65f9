"""A recipe is an ordered list of passes: run them left to right, or read them from a TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import compress
from compress import checkpoints
from compress.base import Context, Outcome, Pass
from compress.fields import build
from compress.plugins import Plugin, find_plugin, installed, origin
from export.whole_samples import are_whole
from models.batches import first_rows
from models.errors import CompressError, DataError, UsageError, did_you_mean
from models.records import Model

_KEYS = {"model": str, "data": str, "device": str, "seed": int, "pass": list}
_SAMPLE_ROWS, _SAMPLE_BYTES = 64, 4_000_000
_CODE = re.compile(r"(?!zoo:)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")  # pkg.module:name


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe file says. What it leaves out is "" or None, for the command line to fill."""

    passes: tuple[Pass, ...]
    model: str = ""
    data: str = ""
    device: str = ""
    seed: int | None = None


def run(passes: Sequence[Pass], model: Model, context: Context) -> list[Outcome]:
    """Apply passes left to right. The last outcome holds the finished model.

    The first model teaches where no other teacher is named. Where a pass takes ONNX after torch, the model crosses by
    export; an ONNX model is lifted where the first pass takes torch.

    Raises:
        UsageError: no passes, or one that takes torch after one that takes ONNX.
        CompressError: a pass could not do its work; a note on the error says which, and after which others.
    """
    return list(steps(passes, model, context))


def steps(passes: Sequence[Pass], model: Model, context: Context) -> Iterator[Outcome]:
    """The outcomes of `run`, one by one, for those who measure in between. The order is checked before the first."""
    check_order(passes)
    model = crossed(model, passes[0])
    context = context if context.teacher is not None else replace(context, teacher=model)
    return _steps(passes, model, context)


def _steps(passes: Sequence[Pass], model: Model, context: Context) -> Iterator[Outcome]:
    kept = [None] * len(passes) if context.checkpoint is None else checkpoints.of_passes(context.checkpoint, passes)
    for position, (step, checkpoint) in enumerate(zip(passes, kept, strict=True)):
        own = replace(context, checkpoint=checkpoint)
        try:
            outcome = _applied(step, crossed(model, step), own)
        except Exception as error:
            error = _blamed(error, step)
            error.add_note(f"in pass {step!r}, after {[p.name for p in passes[:position]] or 'no other pass'}")
            raise error
        model = _carrying(remembered(outcome, step), context)
        yield replace(outcome, model=model)


def _applied(step: Pass, model: Model, context: Context) -> Outcome:
    """The pass on the model, with as many rows at once as it likes where it works on torch; its dimensions stay."""
    if step.takes != "torch":
        return step(model, context)
    _refuse_wholes(step, model, context)
    from export.free_batch import fixed_as, free_batch

    freed = free_batch(model)
    if freed is model:
        return step(model, context)
    teacher = None if context.teacher is None else free_batch(context.teacher)
    outcome = step(freed, replace(context, teacher=teacher))
    return replace(outcome, model=fixed_as(outcome.model, model))


def _refuse_wholes(step: Pass, model: Model, context: Context) -> None:
    """What trains or looks at a torch network takes samples in batches, along the first dimension of each input."""
    first = next(iter(context.task.train), None) if context.task is not None else None
    if first is not None and are_whole(first[0], model.inputs):
        raise DataError(
            f"{step.name}: the data have one dimension more than the network takes: samples that are whole inputs. "
            "They can be quantized with and scored, not trained on: export or wrap the network so that the first "
            "dimension of its inputs counts samples."
        )


def _blamed(error: Exception, step: Pass) -> Exception:
    """The error, or where a plug-in's pass raised it and cannot have meant to, a sentence that names the package."""
    plugin = None if isinstance(error, CompressError) else origin(type(step))
    if plugin is None:
        return error
    said = " ".join(str(error).split())[:300]
    text = f"{plugin} failed ({type(error).__name__}: {said}). The mistake is in that package; --debug shows where."
    blamed = CompressError(text)
    blamed.__cause__ = error
    return blamed


def _carrying(model: Model, context: Context) -> Model:
    """The model with a small calibration sample, where no named set of data can be asked for one later."""
    if model.is_onnx or model.data or model.sample is not None:
        return model
    names = [spec.name for spec in model.inputs if spec.state_of is None]
    for batch in context.calibration:
        if all(name in batch for name in names):
            given = {name: np.asarray(batch[name]) for name in names}
            row_bytes = sum(array.nbytes for array in first_rows(given, 1).values())
            rows = max(1, min(_SAMPLE_ROWS, _SAMPLE_BYTES // max(1, row_bytes)))
            return replace(model, sample={name: array.copy() for name, array in first_rows(given, rows).items()})
        break
    return model


def check_order(passes: Sequence[Pass]) -> None:
    """Refuse what cannot work, before anything is computed.

    Raises:
        UsageError: no passes, or one that takes torch after one that takes ONNX.
    """
    if not passes:
        raise UsageError("the recipe has no passes. `compress passes` lists them.")
    for earlier, later in itertools.pairwise(passes):
        if (earlier.takes, later.takes) == ("onnx", "torch"):
            raise UsageError(
                f"{later.name!r} works on torch networks and cannot follow {earlier.name!r}, which gives ONNX: "
                f"what is rounded is not trained further. Put {later.name!r} before {earlier.name!r}."
            )


def crossed(model: Model, step: Pass) -> Model:
    """The model in the form that the pass takes; the same one where it is in that form already."""
    if step.takes == "onnx" and not model.is_onnx:
        from export.to_onnx import to_onnx

        return to_onnx(model)
    if step.takes == "torch" and model.is_onnx:
        from export.from_onnx import lift_onnx

        return lift_onnx(model)
    return model


def remembered(outcome: Outcome, step: Pass) -> Model:
    """The model with one more line in its history: the pass, its settings, our version, and what it was made for.

    A file that the settings name is told by what is in it: the same content gives the same bytes, whatever its name.
    """
    settings = fields_of(step)
    files = [one.name for one in dataclasses.fields(step) if one.metadata.get("file")] if settings else []  # type: ignore[arg-type]
    for name in files:
        settings[name] = settings[name] and f"sha256:{_digest(settings[name])}"
    line = {"pass": step.name, "settings": settings, "version": compress.__version__}
    if target := outcome.facts.get("target"):
        line["target"] = dict(target)
    return replace(outcome.model, history=(*outcome.model.history, line))


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fields_of(step: Pass) -> dict[str, Any]:
    """The fields of a pass as JSON and TOML have them: tuples are lists, what is None is left out."""
    given: dict[str, Any] = (
        dataclasses.asdict(step) if dataclasses.is_dataclass(step) and not isinstance(step, type) else {}
    )
    return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v is not None}


def read_recipe(path: str | Path, *, allowed: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe: `model`, `data`, `device`, `seed`, then `[[pass]]` tables with `name` and the pass's fields.

    A recipe never loads code by itself: what it names as `pkg.module:name`, and a plug-in's pass, importance or loss,
    must be among `allowed`, the names that the command line gave. A model file is looked for beside the recipe first.

    Raises:
        UsageError: there is no such file, it is not TOML, or names what does not exist; the text says where.
    """
    path = Path(path)
    content = _toml(path)
    for key, value in content.items():
        if key not in _KEYS:
            near = did_you_mean(key, _KEYS) or f" There are: {', '.join(_KEYS)}."
            raise UsageError(f"{path}: there is no key {key!r}.{near}")
        if type(value) is not _KEYS[key]:
            kind = {str: "a text", int: "a whole number", list: "a [[pass]] table"}[_KEYS[key]]
            raise UsageError(f"{path}: {key} takes {kind}, not {value!r}.")
    tables = content.pop("pass", [])
    _refuse_code(content, f"{path}", allowed)
    if "model" in content and (path.parent / content["model"]).is_file():
        content["model"] = str(path.parent / content["model"])
    passes = tuple(_read_pass(table, f"{path}, pass {number}", allowed) for number, table in enumerate(tables, 1))
    try:
        check_order(passes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return Recipe(passes=passes, **content)


def find_pass(name: str, *, where: str = "", allowed: Sequence[str] | None = None) -> type[Pass]:
    """The class of the pass of that name, ours or an installed plug-in's.

    Args:
        name: as it is typed.
        where: what is being read, for messages.
        allowed: the plug-ins that may be loaded; None for any, where the user typed the name himself.

    Raises:
        UsageError: there is none, or it is a plug-in's and not allowed.
        CompressError: a plug-in is broken; the text names its package.
    """
    if name in compress.PASSES:
        module, _, attribute = compress.PASSES[name][0].partition(":")
        found: type[Pass] = getattr(importlib.import_module(module), attribute)
        return found
    plugin = find_plugin("pass", name)
    if plugin is None:
        names = [*compress.PASSES, *(p.name for p in installed() if p.kind == "pass")]
        near = did_you_mean(name, names)
        raise UsageError(f"{where}{': ' if where else ''}no pass named {name!r}.{near} (`compress passes` lists them)")
    if allowed is not None and name not in allowed:
        raise _not_allowed(where, f"{name!r} is the {plugin}, which", name)
    code: type[Pass] = plugin.code
    return code


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.toml")]
        raise UsageError(f"there is no recipe {str(path)!r}.{did_you_mean(path.name, beside)}") from None
    except OSError as error:
        raise UsageError(f"the recipe {str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not TOML: it is no text in UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error


def _read_pass(table: Mapping[str, Any], where: str, allowed: Sequence[str]) -> Pass:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: write each pass as a table of its own, [[pass]].")
    values = dict(table)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f'{where}: it has no name. Begin the table with, for example, name = "prune".')
    found = find_pass(name, where=where, allowed=allowed)
    _refuse_code(values, where, allowed)
    _refuse_plugins(found, values, where, allowed)
    return build(found, values, where=f"{where} ({name})")


def _refuse_code(values: Mapping[str, Any], where: str, allowed: Sequence[str]) -> None:
    for key, value in values.items():
        if isinstance(value, str) and _CODE.fullmatch(value) and value not in allowed:
            raise _not_allowed(where, f"{key} = {value!r} is code, which", value)


def _refuse_plugins(of: type[Pass], values: Mapping[str, Any], where: str, allowed: Sequence[str]) -> None:
    """Fields that may name a plug-in's code say so in their metadata."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(of) if dataclasses.is_dataclass(of) else ()
    for field in fields:
        kind, value = field.metadata.get("plugin"), values.get(field.name)
        plugin: Plugin | None = find_plugin(kind, value) if kind and isinstance(value, str) else None
        if plugin is not None and value not in allowed:
            raise _not_allowed(where, f"{field.name} = {value!r} is the {plugin}, which", plugin.name)


def _not_allowed(where: str, what: str, name: str) -> UsageError:
    return UsageError(
        f"{where}: {what} a recipe does not load by itself. Allow it on the command line: --plugin {name}"
    )
