"""What every pass promises, and one call that holds a pass to it.

The author of a pass, ours or another's, runs them all:

    from compress.contract import check
    check(MyPass(strength=2), model, context)

A broken promise raises `BrokenPromise`, whose text says which promise, which layer or output, and by how much.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.base import Context, Outcome, Pass
from export.checkpoint import load_checkpoint, save
from export.forms import MAIN, examples, own_names, parts, run_all
from export.from_onnx import lift_onnx
from export.onnx_file import read, to_bytes, write
from export.parity import sqnr_db
from export.session import runner_for
from export.to_onnx import to_onnx
from models.records import Arrays, Model, sizes_of

FLOOR_DB = 8.0  # for passes that change no structure; one that changes more, and must, has a `floor_db` of its own
RUIN_MARGIN_DB = 3.0  # how much nearer to the original than a ruin a pass must be that cuts or trains
SAME_DB = 60.0  # two runtimes of one float model: rounding, and nothing else


class BrokenPromise(AssertionError):
    """A pass did not keep a promise of the contract."""


@dataclass(frozen=True)
class Case:
    """One pass on one model, run twice, for all promises to look at."""

    step: Pass
    model: Model
    context: Context
    before: dict[str, np.ndarray[Any, Any]]
    outcome: Outcome
    again: Outcome


def make_case(step: Pass, model: Model, context: Context) -> Case:
    """Cross the model to the form that the pass takes, note how it is, and run the pass twice."""
    if step.takes == "onnx":
        model = to_onnx(model)
    elif model.is_onnx:
        model = lift_onnx(model)
    context = dataclasses.replace(context, teacher=context.teacher or model)
    before = contents(model)
    return Case(step, model, context, before, step(model, context), step(model, context))


def check(step: Pass, model: Model, context: Context) -> Outcome:
    """Hold the pass to every promise on this model; gives the outcome, or raises BrokenPromise."""
    case = make_case(step, model, context)
    for promise in CONTRACT:
        promise(case)
    return case.outcome


def contents(model: Model) -> dict[str, np.ndarray[Any, Any]]:
    """All numbers of the network by name: two models with equal contents compute the same."""
    if model.is_onnx:
        graphs = {"": model, **{name: _form(model, name) for name in model.forms}}
        return {name: np.frombuffer(to_bytes(graph), np.uint8) for name, graph in graphs.items()}
    state = model.network.state_dict()  # type: ignore[union-attr]
    return {name: value.detach().clone().numpy() for name, value in state.items()}


def leaves_its_input_alone(case: Case) -> None:
    """The model that came in is bit for bit what it was."""
    _expect_same(case, contents(case.model), case.before, "the model that came in was changed")


def repeats_itself(case: Case) -> None:
    """The same settings, model, context and seed give the same numbers."""
    _expect_same(case, contents(case.again.model), contents(case.outcome.model), "a second run gave other numbers")


def keeps_the_signature(case: Case) -> None:
    """Inputs and outputs keep names, order, types and dimensions.

    A state, or what one form hands to another, may become narrower; nothing else may.
    """
    new, old = parts(case.outcome.model), parts(case.model)
    if list(new) != list(old):
        raise _broken(case, "keeps_the_signature", f"forms were {list(old)} and are {list(new)}")
    for form, before in old.items():
        own = own_names(old, form)
        for kind in ("inputs", "outputs"):
            was, now = getattr(before, kind), getattr(new[form], kind)
            kept = len(was) == len(now) and all(_keeps(a, b, a.name in own) for a, b in zip(was, now, strict=True))
            if not kept:
                said, says = ([(s.name, s.dtype, s.dims) for s in specs] for specs in (was, now))
                raise _broken(case, "keeps_the_signature", f"{kind} of form {form} were {said} and are {says}")


def computes_what_it_says(case: Case) -> None:
    """The outputs of every form have the shapes that the signature tells, and are finite."""
    model = case.outcome.model
    forms = parts(model)
    for form, outputs in _answers(model, _batch(model)).items():
        for spec in forms[form].outputs:
            value = outputs[spec.name]
            fixed = [(have, want) for have, want in zip(value.shape, spec.dims, strict=True) if isinstance(want, int)]
            if any(have != want for have, want in fixed) or value.dtype != np.dtype(spec.dtype):
                text = (
                    f"output {spec.name} is {value.dtype}{list(value.shape)}, said to be {spec.dtype}{list(spec.dims)}"
                )
                raise _broken(case, "computes_what_it_says", text)
            if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                raise _broken(case, "computes_what_it_says", f"output {spec.name} is not finite")


def survives_its_own_file(case: Case) -> None:
    """Written and read again it gives the very same outputs."""
    model = case.outcome.model
    with tempfile.TemporaryDirectory() as folder:
        if model.is_onnx:
            write(model, Path(folder) / "model.onnx")
            loaded = read(Path(folder) / "model.onnx")
        else:
            save(model, Path(folder) / "model.pt")
            loaded = load_checkpoint(Path(folder) / "model.pt")
        if model.is_onnx:  # a file a form
            model, loaded = dataclasses.replace(model, forms={}), dataclasses.replace(loaded, forms={})
        _expect_agreement(case, "survives_its_own_file", model, loaded, math.inf)


def survives_export(case: Case) -> None:
    """ONNX Runtime gives what torch gives, for every form of a network that the pass has not given back as it was."""
    if not case.outcome.model.is_onnx and case.outcome.model.network is not case.model.network:
        _expect_agreement(case, "survives_export", case.outcome.model, to_onnx(case.outcome.model), SAME_DB)


def is_no_silent_no_op(case: Case) -> None:
    """A pass that changed nothing says so and why; one that says it changed something did."""
    after, before = contents(case.outcome.model), case.before
    same = after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)
    if same and case.outcome.changed:
        raise _broken(
            case, "is_no_silent_no_op", f"says it changed {case.outcome.changed[0].layer}, and changed nothing"
        )
    if same and not case.outcome.skipped:
        raise _broken(case, "is_no_silent_no_op", "changed nothing and does not say why")
    if not same and not case.outcome.changed:
        raise _broken(case, "is_no_silent_no_op", "changed the network and does not say what")


def names_real_layers_once(case: Case) -> None:
    """Each note names a layer of the model, no layer twice, and has a reason."""
    real = _layers(case.model) | _layers(case.outcome.model) | {""}
    for kind in ("changed", "skipped"):
        notes = getattr(case.outcome, kind)
        for note in notes:
            if note.layer not in real:
                raise _broken(case, "names_real_layers_once", f"{kind}: there is no layer {note.layer!r}")
            if not note.text.strip():
                raise _broken(case, "names_real_layers_once", f"{kind}: {note.layer!r} has no reason")
        names = [note.layer for note in notes if note.layer]
        if twice := {name for name in names if names.count(name) > 1}:
            raise _broken(case, "names_real_layers_once", f"{kind}: {sorted(twice)} more than once")


def survives_json(case: Case) -> None:
    """Settings, facts and layer rows are plain data; the settings make the same pass again."""
    settings = dataclasses.asdict(case.step)  # type: ignore[call-overload]
    again = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(settings)).items()}
    if type(case.step)(**again) != case.step:
        raise _broken(case, "survives_json", f"settings {settings} do not make the same pass again")
    json.dumps([dict(case.outcome.facts), [dataclasses.asdict(row) for row in case.outcome.layers]], allow_nan=False)


def stays_close(case: Case) -> None:
    """The finished model still answers as the original does: a ruined one does not pass.

    Held against what the original's answers vary by from sample to sample, not against their size: a network that
    has hardly been trained answers nearly the same to everything, and a fault would hide in that. A pass on ONNX has a
    floor in decibels. One that cuts or trains cannot have that on a network that nobody trained; it is held against
    a ruin, which is its own result with the numbers inside each weight shuffled. It is asked about data that the pass
    could read: what it says of others is a matter of how much it was trained, and of scores.
    """
    floor = getattr(case.step, "floor_db", FLOOR_DB if case.step.takes == "onnx" else None)
    if floor is not None:
        _expect_agreement(case, "stays_close", case.model, case.outcome.model, floor, vary=True)
        return
    near = _nearness(case, case.outcome.model)
    ruins = max(_nearness(case, _ruined(case.outcome.model, seed)) for seed in range(3))
    if near < ruins + RUIN_MARGIN_DB:
        text = f"it agrees with the original at {near:.1f} dB, and a ruin of it at {ruins:.1f} dB"
        raise _broken(case, "stays_close", text)


CONTRACT: tuple[Callable[[Case], None], ...] = (
    leaves_its_input_alone,
    repeats_itself,
    keeps_the_signature,
    computes_what_it_says,
    survives_its_own_file,
    survives_export,
    is_no_silent_no_op,
    names_real_layers_once,
    survives_json,
    stays_close,
)


def _broken(case: Case, promise: str, text: str) -> BrokenPromise:
    return BrokenPromise(f"{case.step!r} on {case.model.name or 'the model'} breaks {promise}: {text}")


def _expect_same(
    case: Case, one: dict[str, np.ndarray[Any, Any]], other: dict[str, np.ndarray[Any, Any]], text: str
) -> None:
    differing = sorted(one.keys() ^ other.keys()) or [n for n in other if not np.array_equal(one[n], other[n])]
    if differing:
        promise = "leaves_its_input_alone" if "came in" in text else "repeats_itself"
        raise _broken(case, promise, f"{text}, at {differing[0] or 'the graph'}")


def _expect_agreement(
    case: Case, promise: str, reference: Model, candidate: Model, floor_db: float, *, vary: bool = False
) -> None:
    batch = _batch(reference, samples=32 if vary else 2)
    want, have = (_answers(model, batch) for model in (reference, candidate))
    for form, name in _compared(reference, own=not vary):
        a, b = want[form][name], have[form][name]
        middle = a.mean(0, keepdims=True) if vary else np.float32(0)
        found = sqnr_db(a - middle, b - middle)
        if found < floor_db and not np.array_equal(a, b):
            where = f"output {name}" if form == MAIN else f"output {name} of form {form}"
            raise _broken(case, promise, f"{where} agrees at {found:.1f} dB, the floor is {floor_db:.0f} dB")


def _nearness(case: Case, candidate: Model) -> float:
    """The least agreement over all forms and outputs, in decibels, of what varies from sample to sample."""
    reference = case.model
    heard: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for batch in _seen(case):
        want, have = (_answers(model, batch) for model in (reference, candidate))
        for form, name in _compared(reference, own=False):
            middle = want[form][name].mean(0, keepdims=True)
            pair = [(given[form][name] - middle).ravel() for given in (want, have)]
            heard.setdefault((form, name), []).append((pair[0], pair[1]))
    pooled = [[np.concatenate(side) for side in zip(*pairs, strict=True)] for pairs in heard.values()]
    return min((sqnr_db(want, have) for want, have in pooled), default=math.inf)


def _seen(case: Case) -> list[Arrays]:
    """Inputs of all forms, those of the main form from the first calibration batches where there are some."""
    first = [*itertools.islice(case.context.calibration or (), 4)]
    if not first:
        return [_batch(case.model, samples=32)]
    found: list[Arrays] = []
    for seed, batch in enumerate(first):
        sizes = _fewer(case.model)
        for spec in case.model.inputs:
            sizes |= {dim: size for dim, size in zip(spec.dims, batch[spec.name].shape, strict=True) if dim in sizes}
        found.append({**examples(case.model, sizes, seed=seed), **batch})
    return found


def _compared(model: Model, *, own: bool) -> Iterator[tuple[str, str]]:
    """Forms and names of the outputs to compare; states and what is handed over only where a width is a width."""
    forms = parts(model)
    for form, part in forms.items():
        private = () if own else own_names(forms, form)
        yield from ((form, spec.name) for spec in part.outputs if spec.name not in private)


def _ruined(model: Model, seed: int) -> Model:
    import torch

    network = copy.deepcopy(model.network)
    shuffle = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():  # type: ignore[union-attr]
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=shuffle)].view_as(weight))
    return dataclasses.replace(model, network=network)


def _batch(model: Model, *, samples: int = 2) -> Arrays:
    """Random inputs of all forms; the first letter is the batch, every other one less than usual."""
    return examples(model, _fewer(model, samples), seed=1)


def _fewer(model: Model, samples: int = 2) -> dict[str, int]:
    sizes = sizes_of(model)
    return {letter: max(1, size - 1) if number else samples for number, (letter, size) in enumerate(sizes.items())}


def _answers(model: Model, batch: Arrays) -> dict[str, Arrays]:
    """What each form gives, what they hand to each other being the model's own."""
    run = runner_for(model)
    runners: Any = {MAIN: run, **run.forms}  # type: ignore[attr-defined]
    runs = run_all(model, batch, lambda form, arrays: runners[form](arrays), spare=_fewer(model))
    return {form: outputs for form, _, outputs in runs}


def _form(model: Model, name: str) -> Model:
    form = model.forms[name]
    network = form.network if model.is_onnx else model.network.form(name)  # type: ignore[union-attr, operator]
    return dataclasses.replace(model, network=network, inputs=form.inputs, outputs=form.outputs, forms={})


def _keeps(before: Any, after: Any, own: bool) -> bool:
    """Whether a spec is what it was, but for a width of the network's own that became smaller."""
    if (before.name, before.dtype, len(before.dims)) != (after.name, after.dtype, len(after.dims)):
        return False
    return all(
        was == now or (own and isinstance(was, int) and isinstance(now, int) and now <= was)
        for was, now in zip(before.dims, after.dims, strict=True)
    )


def _layers(model: Model) -> set[str]:
    if model.is_onnx:
        graphs = [model.network.graph, *(form.network.graph for form in model.forms.values())]  # type: ignore[union-attr]
        return {node.name or "" for graph in graphs for node in graph.all_nodes()}
    return {name for name, _ in model.network.named_modules()}  # type: ignore[union-attr]
