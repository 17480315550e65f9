"""The command that every pass gets: load, cross, run, write, and say what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compress.call import Call
from compress.console import Console, plain, size, spec
from compress.fields import build, settings
from compress.options import example, takes, takes_settings
from models.errors import CompressError, first_line

if TYPE_CHECKING:
    from compress.base import Context, Note, Outcome, Pass
    from compress.on_test import OnTest
    from export.cost import Cost
    from models.records import Model

# what a result is named for; a pass of somebody else's gives its own name
_DONE = {"separate": "separable", "prune": "pruned", "distill": "distilled", "quantize": "int8"}
_EXAMPLES = {
    "quantize": "compress quantize resnet8 --mode static",
    "separate": "compress separate cnn-fsdd --recover 20",
    "prune": "compress prune cnn-fsdd --ratio 0.25 --recover 20",
    "distill": "compress distill cnn-fsdd --student dscnn-fsdd --steps 20",
}
_SHOWN = 12  # notes of each kind on a screen; the document has all


def pass_command(name: str, of: type[Pass], summary: str) -> click.Command:
    """The command of a pass, made from its fields."""

    @takes("model", "data", "device", "train", "threads", "say")
    def command(call: Call, model: str, output: str | None, dry_run: bool, resume: bool = False, **fields: Any) -> None:
        given = {key: value for key, value in fields.items() if value is not None}
        _apply(build(of, given, where=name), call, model, output, dry_run=dry_run, resume=resume)

    function: Callable[..., Any] = takes_settings(settings(of))(command)
    if any(setting.name in ("recover", "steps") for setting in settings(of)):  # it trains
        function = click.option(
            "--resume", is_flag=True, help="Go on with the training of a run that was stopped, from its .training.pt."
        )(function)
    function = click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing.")(
        function
    )
    function = click.option("-o", "--output", metavar="FILE", help="Where the result goes; beside MODEL without it.")(
        function
    )
    function = click.argument("model")(function)
    line = _EXAMPLES.get(name, f"compress {name} cnn-fsdd")
    text = cleandoc(of.__doc__ or summary).partition("\n\nRaises:")[0]  # for callers from Python
    return click.command(name, help=text, short_help=summary, epilog=example(line))(function)


def _apply(step: Pass, call: Call, given: str, output: str | None, *, dry_run: bool, resume: bool) -> None:
    from compress import checkpoints
    from compress.recipe import run
    from export.cost import cost
    from export.files import check_output
    from export.save import check_suffix

    onnx = step.takes == "onnx" or given.endswith(".onnx")
    target = call.target(given, output, done(step), suffix=".onnx" if onnx else ".pt")
    checkpoint = target.with_suffix(".training.pt")
    check_suffix(target, gives_onnx=step.takes == "onnx")
    for path in (target, _table_of(target), checkpoint):  # all that may be written: the longest name is not the model's
        check_output(path, not_the_same_as=[given])
    model = call.load(given)
    context = call.context(model)
    if dry_run:
        _say_plan(step, call, model, target, has_data=bool(context.task or context.calibration))
        return
    # what trains for hours must not fail on a count at its end; the others say more clearly what they cannot run
    before = cost(model) if step.takes == "torch" else None
    outcome = run([step], model, replace(context, checkpoint=checkpoint, resume=resume))[-1]
    call.console.close()
    told, costs = _told(call, context, model, outcome), (before or _cost_as(model, outcome), cost(outcome.model))
    written = _write(step, call, outcome, target, given)  # after all that takes time: an interrupt writes nothing
    checkpoints.remove(checkpoint, [step])
    _say(step, call, given, costs, outcome, written, told)


def _told(call: Call, context: Context, before: Model, outcome: Outcome) -> OnTest | None:
    """The score on test; None where there is none, be it that scoring failed."""
    from compress.on_test import score_on_test

    if context.task is None or not outcome.changed:
        return None
    try:
        return score_on_test(context.task, before, outcome.model)
    except Exception as error:  # of a task of the user's own too: what took hours to make is not lost for it
        said = str(error) if isinstance(error, CompressError) else f"{type(error).__name__}: {first_line(error)}"
        call.console.warn(f"there is no score on test, and the model is written all the same: {said}")
        return None


def _cost_as(model: Model, outcome: Outcome) -> Cost:
    """The cost of what came in at the sizes of what was made of it: a table knows some that the file does not."""
    from export.cost import cost

    known = outcome.model.typical
    return cost(replace(model, typical={**known, **model.typical}) if known.keys() - model.typical.keys() else model)


def _write(step: Pass, call: Call, outcome: Outcome, target: Path, given: str) -> list[Path]:
    """The model and the decision table beside it, where it has one: both or neither."""
    from export.files import whole
    from export.save import save

    table, replayed = _table_of(target), getattr(step, "decisions", "")
    content = _table(outcome, replayed)
    if content is None or (outcome.decisions is None and table.exists() and table.samefile(replayed)):
        written = [*save(outcome.model, target, not_the_same_as=[given])]
        if content is None:
            warn_of_old_table(call.console, target)
        return written
    with whole(table, not_the_same_as=[given]) as part:
        part.write_bytes(content)
        return [*save(outcome.model, target, not_the_same_as=[given]), table]


def _table(outcome: Outcome, replayed: object) -> bytes | None:
    """What the pass decided, or was told to by a table: a copy of that, which may say more than was read of it."""
    if outcome.decisions is not None:
        return (json.dumps(plain(outcome.decisions), indent=1, allow_nan=False) + "\n").encode()
    return Path(replayed).read_bytes() if isinstance(replayed, str) and Path(replayed).is_file() else None


def _table_of(target: Path) -> Path:
    return target.with_suffix(".decisions.json")


def warn_of_old_table(console: Console, target: Path) -> None:
    """Say that a table beside a model which has none describes another file."""
    # it is not taken away: it may have been edited by hand, and no run would bring that back
    if target.suffix == ".onnx" and (table := _table_of(target)).exists():
        console.warn(
            f"{table} was decided for an earlier {target.name} and does not describe this one. It is left where it "
            "is, since it may hold edits of yours; move or delete it."
        )


def done(step: Pass) -> str:
    """The word a result is named for: `model.int8.onnx`, `model.pruned.pt`."""
    return "fp16" if getattr(step, "mode", "") == "fp16" else _DONE.get(step.name, step.name)


def _say_plan(step: Pass, call: Call, model: Model, target: Path, *, has_data: bool) -> None:
    inputs = ", ".join(map(spec, model.inputs))
    data = "with data" if has_data else "without data"
    call.console.result(
        f"{step!r} on {model.name!r} ({inputs}), {data}, would be written to {target}. Nothing was written."
    )
    call.console.document(step=step, inputs=model.inputs, has_data=has_data, output=target)


def _say(
    step: Pass,
    call: Call,
    given: str,
    costs: tuple[Cost, Cost],
    outcome: Outcome,
    written: Sequence[Path],
    told: OnTest | None,
) -> None:
    from compress.recipe import fields_of

    console = call.console
    console.table(("", "before", "after", ""), _rows(*costs))
    console.say("")
    why = outcome.facts.get("why")  # of a choice among candidates: a skip of the whole network in the ledger
    skipped = [note for note in outcome.skipped if note.layer or note.text != why]
    for kind, notes in (("changed", outcome.changed), ("skipped", skipped)):
        _say_notes(call, kind, notes)
    if why and outcome.changed:
        console.say(f"chosen: {why}")
    if not outcome.changed:
        why = outcome.skipped[0].text if outcome.skipped else "it found nothing to work on"
        console.warn(f"{step.name} changed nothing: {why}. The file is written all the same.")
    if outcome.changed and getattr(step, "recover", None) == 0 and not getattr(step, "minutes", 0):
        console.warn(f"{step.name} changed the network and did not train it after (--recover 0): it will score lower.")
    if (pace := outcome.facts.get("slower")) is not None:
        console.warn(
            f"{step.name}: in int8 it has {pace:.2f} times float's speed here; --mode auto gives nothing slower."
        )
    if (warning := outcome.facts.get("warning")) is not None:
        console.warn(f"{step.name}: {warning}.")
    if told is not None and told.doubt:
        console.warn(f"{step.name}: {told.doubt}")
    if told is not None and outcome.facts.get("judged_on") and (beyond := told.beyond(getattr(step, "max_drop", 0.0))):
        console.warn(f"{step.name}: {beyond}.")
    if told is not None:
        console.say(f"score: {told.text}")
    console.wrote(written)
    console.say(f"next: compress {_next(call, given, written[0])}")
    console.document(
        step=step.name,
        settings=fields_of(step),
        output=written[0],
        size_bytes=written[0].stat().st_size,
        before=costs[0],
        after=costs[1],
        changed=outcome.changed,
        skipped=outcome.skipped,
        layers=outcome.layers,
        facts=outcome.facts,
        score=told,
    )


def _rows(before: Cost, after: Cost) -> list[tuple[str, str, str, str]]:
    facts = [
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", before.parameters, after.parameters),
        ("MACs", f"{before.macs:,}", f"{after.macs:,}", before.macs, after.macs),
        ("bytes of weights", size(before.bytes), size(after.bytes), before.bytes, after.bytes),
    ]
    return [(name, a, b, f"{x / y:.1f}x less" if y and x > 1.05 * y else "") for name, a, b, x, y in facts]


def _say_notes(call: Call, kind: str, notes: Sequence[Note]) -> None:
    for note in notes[:_SHOWN]:
        call.console.say(f"{kind} {note.layer or 'the network'}: {note.text}")
    if len(notes) > _SHOWN:
        call.console.say(f"{kind} {len(notes) - _SHOWN} more (--json lists all)")


def _next(call: Call, given: str, target: Path) -> str:
    if target.suffix != ".onnx":
        return f"quantize {target}"
    foreign = call.arch or call.trust_pickle  # would need its options again
    return f"benchmark {target}" if foreign else f"benchmark {given} {target}"
