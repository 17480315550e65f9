"""The command line: it parses, calls and prints. Heavy imports happen inside a command."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from compress import PASSES, __version__
from compress.call import Call
from compress.console import say_error, size, spec
from compress.options import example, takes
from compress.training.train_command import Entries
from models import ZOO
from models.errors import CompressError, did_you_mean

_ORDER = tuple(f"demo info {' '.join(PASSES)} run export verify benchmark report models passes devices train".split())


class Commands(click.Group):
    """The commands in the order of need; that of a pass is made, from its fields, when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of need."""
        return list(_ORDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name."""
        if cmd_name in _ORDER and cmd_name not in PASSES:
            return super().get_command(ctx, cmd_name)
        from compress.pass_command import pass_command
        from compress.recipe import find_pass

        of = find_pass(cmd_name)
        return pass_command(cmd_name, of, (of.__doc__ or cmd_name).strip().splitlines()[0])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest command for a misspelt one."""
        if args and not args[0].startswith("-") and args[0] not in _ORDER:
            from compress.plugins import find_plugin, installed

            if find_plugin("pass", args[0]) is None:
                near = did_you_mean(args[0], [*_ORDER, *(found.name for found in installed() if found.kind == "pass")])
                raise click.UsageError(f"no command named {args[0]!r}.{near} (`compress --help` lists them)", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing a pass."""
        commands = {n: PASSES[n][1] if n in PASSES else self.commands[n].get_short_help_str(90) for n in _ORDER}
        with formatter.section("Commands"):
            formatter.write_dl(list(commands.items()))


@click.group(
    cls=Commands, epilog=example("compress info cnn-fsdd"), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="compress")
def commands() -> None:
    """Make a trained network small and fast enough for the device it must live on, and prove it."""


@commands.command(epilog=example("compress models"))
@click.option("--markdown", is_flag=True, help="As a page: section, system, name, score, parameters, page.")
@takes("say")
def models(call: Call, markdown: bool) -> None:
    """List the reference models."""
    if markdown:
        from models import find
        from models.catalogue import catalogue

        return call.console.result(catalogue(map(find, ZOO)))
    call.console.table(("name", "what it is"), [(name, summary) for name, (_, summary) in ZOO.items()], texts=2)
    call.console.document(models=[{"name": name, "summary": summary} for name, (_, summary) in ZOO.items()])


@commands.command(epilog=example("compress passes --models gru-fsdd"))
@click.argument("model", nargs=-1)
@click.option("--models", is_flag=True, help="Try each on a small network of every MODEL's kind, or of all there are.")
@takes("say")
def passes(call: Call, model: tuple[str, ...], models: bool) -> None:
    """List the passes and installed plug-ins; with --models, what passes change in which network, and why not."""
    if not models and not model:
        from compress.plugins import say_passes

        return say_passes(call.console)
    from compress.what_works import say_all

    say_all(call.console, model)


@commands.command(epilog=example("compress devices"))
@takes("say")
def devices(call: Call) -> None:
    """List the devices that a file can be made for."""
    from export.device import devices as all_devices

    found = list(all_devices())
    call.console.table(("name", "kind", "what it is"), [(d.name, d.kind, d.summary) for d in found], texts=3)
    call.console.document(devices=found)


@commands.command(epilog=example("compress info cnn-fsdd"))
@click.argument("model")
@click.option("--groups", is_flag=True, help="The units that prune can cut, group by group, and what keeps the others.")
@takes("model", "data", "say")
def info(call: Call, model: str, groups: bool) -> None:
    """Show what a model is: parameters, MACs, bytes, peak activation bytes, layer by layer."""
    from export.cost import cost

    loaded = call.load(model)
    if groups:
        from compress.pruning.group_table import tell

        return tell(call.console, loaded)
    found = cost(loaded)
    for kind, specs in (("input", loaded.inputs), ("output", loaded.outputs)):
        for one in specs:
            call.console.result(f"{kind} {spec(one)}")
    rows = [(c.layer, c.type, f"{c.parameters:,}", f"{c.macs:,}", f"{c.bytes:,}") for c in found.layers]
    rows.append(("in all", "", f"{found.parameters:,}", f"{found.macs:,}", f"{found.bytes:,}"))
    call.console.table(("layer", "type", "parameters", "MACs", "bytes"), rows, texts=2)
    call.console.result(f"peak of activations: {size(found.peak_activation_bytes)} at batch 1")
    call.console.document(
        model=loaded.name, inputs=loaded.inputs, outputs=loaded.outputs, history=loaded.history, cost=found
    )


@commands.group(cls=Entries, epilog=example("compress train cnn-fsdd --width 4 --steps 20"))
def train() -> None:
    """Reproduce a reference model: compress train NAME."""


@commands.command(epilog=example("compress export gru-fsdd -o spotter.onnx"))
@click.argument("model")
@click.option("-o", "--output", metavar="FILE", help="Where the ONNX file goes; beside MODEL without it.")
@click.option("--opset", type=click.IntRange(18), help="Of the ONNX standard.")
@click.option("--as-source", is_flag=True, help="A plain module of torch in place of ONNX: network.py and its weights.")
@takes("model", "data", "say")
def export(call: Call, model: str, output: str | None, opset: int | None, as_source: bool) -> None:
    """Write a model as ONNX: batch and time free, checked, stripped of traces."""
    from compress.pass_command import warn_of_old_table
    from export.files import check_output
    from export.save import check_suffix, save, shipped

    if as_source:
        from export.as_source import importable, save_source

        target = Path(output) if output else importable(call.target(model, output, "", suffix=".py"))
        call.console.wrote(written := save_source(call.load(model), target, not_the_same_as=[model]))
        return call.console.document(output=written[0], weights=written[1])
    target = call.target(model, output, "", suffix=".onnx")
    check_suffix(target, gives_onnx=True)
    check_output(target, not_the_same_as=[model])
    exported = shipped(call.load(model), opset=opset)
    call.console.wrote(save(exported, target, not_the_same_as=[model]))
    warn_of_old_table(call.console, target)
    needs_options = call.arch or call.trust_pickle  # a foreign MODEL would need its options again
    call.console.say(f"next: compress {f'info {target}' if needs_options else f'verify {model} {target}'}")
    call.console.document(
        output=target, size_bytes=target.stat().st_size, inputs=exported.inputs, outputs=exported.outputs
    )


@commands.command(epilog=example("compress verify dscnn-fsdd dscnn-fsdd.onnx"))
@click.argument("reference")
@click.argument("candidate")
@click.option("--floor-db", type=float, default=20.0, show_default=True, help="The least ratio of signal to error.")
@takes("model", "data", "say")
def verify(call: Call, reference: str, candidate: str, floor_db: float) -> None:
    """Hold a model to another: names, types and free dimensions, and outputs above a floor; status 3 says no."""
    from compress.choices import decides
    from export.parity import verify as hold

    one, other = call.load(reference), call.load(candidate)
    choices = [spec.name for spec in one.outputs if decides(spec, one)]
    found = hold(one, other, floor_db=floor_db, batches=call.batches(one), choices=choices)
    call.console.result(f"{candidate} agrees with {reference}: {found.text}")
    call.console.document(reference=reference, candidate=candidate, floor_db=floor_db, parity=found)


@commands.command(epilog=example("compress run small.toml dscnn-fsdd -o small"))
@click.argument("recipe")
@click.argument("model", required=False)
@click.option(
    "-o", "--output", metavar="DIR", help="The folder for models, ledger and page; named as RECIPE without it."
)
@click.option(
    "--plugin", metavar="NAME", multiple=True, help="A plug-in or pkg.module:name that RECIPE may load; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, write nothing.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped, from its .training.pt files.")
@takes("model", "data", "device", "train", "threads", "say")
def run(
    call: Call,
    recipe: str,
    model: str | None,
    output: str | None,
    plugin: tuple[str, ...],
    dry_run: bool,
    resume: bool,
) -> None:
    """Run a recipe: a chain of passes, with a line in the ledger after each."""
    from benchmarks.commands import run_recipe

    run_recipe(call, recipe, model, output, plugin, dry_run=dry_run, resume=resume)


@commands.command(epilog=example("compress benchmark cnn-fsdd dscnn-fsdd --seconds 0.2"))
@click.argument("model", nargs=-1, required=True)
@click.option(
    "--device", "devices", metavar="DEVICE", multiple=True, default=("cpu",), show_default=True, help="Repeatable."
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples a call.")
@click.option("--seconds", type=float, default=1.0, show_default=True, help="Of timing for each model.")
@takes("model", "data", "threads", "say")
def benchmark(call: Call, model: tuple[str, ...], batch: int, seconds: float, devices: tuple[str, ...]) -> None:
    """Measure models by turns: time with intervals, memory in fresh processes; each against the first."""
    from benchmarks.commands import measure

    measure(call, model, devices, batch=batch, seconds=seconds)


@commands.command(epilog=example("compress report cnn-fsdd dscnn-fsdd -o page.html"))
@click.argument("source", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", help="Where the page goes; report.html in DIR without it.")
@takes("model", "data", "threads", "say")
def report(call: Call, source: tuple[str, ...], output: str | None) -> None:
    """Write the page: of a folder that `run` or `demo` left, or of models held against the first."""
    from benchmarks.commands import report_models
    from benchmarks.report import write_report

    if len(source) == 1 and Path(source[0]).is_dir():
        written = write_report(source[0], output)
    else:
        written = report_models(call, source, Path(output or "report.html"))
    call.console.result(f"wrote {written}")
    call.console.document(output=written)


@commands.command(epilog=example("compress demo -o demo"))
@click.option(
    "-o", "--output", metavar="DIR", default="demo", show_default=True, help="The folder for all that it makes."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every training.")
@takes("say")
def demo(call: Call, output: str) -> None:
    """Make a keyword spotter many times smaller and faster, and prove it: the embedded default, end to end."""
    from benchmarks.commands import run_demo

    run_demo(call, output)


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped job leaves nothing behind either
    given = sys.argv[1:] if args is None else args
    if "--debug" not in given:
        warnings.filterwarnings("ignore")  # of libraries, to their own callers
    sys.exit(status(given))


def status(args: list[str]) -> int:
    """Run the command line; gives the exit status (`CompressError.exit_status`; 0 is done)."""
    try:
        commands.main(args, prog_name="compress", standalone_mode=False)
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 2
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in args:
            traceback.print_exc()
        return _say_why(error, args)


def _say_why(error: BaseException, args: list[str]) -> int:
    if isinstance(error, click.Abort) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, KeyboardInterrupt):
        say_error("interrupted; nothing was written.")
        return 130
    if isinstance(error, click.ClickException):
        say_error(error.format_message())
        return error.exit_code
    if isinstance(error, CompressError):
        say_error(str(error), notes=getattr(error, "__notes__", ()) if args[:1] == ["run"] else ())
        return error.exit_status
    if isinstance(error, MemoryError):
        say_error("the memory of this machine is not enough for this model.")
        return 1
    said = " ".join(str(error).split())[:300]
    say_error(f"this is a mistake of compress, please report it ({type(error).__name__}: {said}); --debug shows where.")
    return 1
