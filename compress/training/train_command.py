"""`compress train NAME`: one command for each reference model, its options made from its builder and its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from compress.console import Console
from compress.fields import settings
from compress.options import Words, example, takes_settings
from models import ZOO
from models.errors import UsageError, did_you_mean


class Entries(click.Group):
    """The reference models; the command of each is made when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, without importing any of them."""
        return list(ZOO)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one entry."""
        return _entry_command(cmd_name) if cmd_name in ZOO else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest model for a misspelt one."""
        if args and not args[0].startswith("-") and args[0] not in ZOO:
            near = did_you_mean(args[0], ZOO)
            raise UsageError(f"train: no reference model named {args[0]!r}.{near} (`compress models` lists them)")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any of them."""
        with formatter.section("Models"):
            formatter.write_dl([(name, summary) for name, (_, summary) in ZOO.items()])


def _entry_command(name: str) -> click.Command:
    from models import find

    entry = find(name)
    training = [replace(s, default=getattr(entry.training, s.name)) for s in settings(type(entry.training))]

    @click.option("-o", "--output", metavar="FILE", help=f"Where the model goes; {name}.pt without it.")
    @click.option(
        "--sweep",
        metavar="FIELD=A,B,C",
        help="Train once for each value of a field, and show how they differ: a table, -o a picture and its JSON "
        f"({name}.sweep.png without -o).",
    )
    @click.option("--steps", type=click.IntRange(1), help="In place of the epochs.")
    @click.option("--minutes", type=float, help="In place of the epochs; becomes a recorded number of steps.")
    @click.option("--resume", is_flag=True, help="Go on from the .training.pt beside the output.")
    @click.option("--train-on", type=Words(["auto", "cpu", "cuda"]), default="auto", show_default=True)
    @click.option("--seed", type=int, default=0, show_default=True, help="Of the weights and of the training.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress, no words beside the result.")
    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @takes_settings([*settings(entry.build), *training])
    def command(
        output: str | None,
        sweep: str | None,
        steps: int | None,
        minutes: float | None,
        resume: bool,
        train_on: Literal["auto", "cpu", "cuda"],
        seed: int,
        as_json: bool,
        quiet: bool,
        **chosen: Any,
    ) -> None:
        from compress.training.train_entry import train_entry

        console = Console(as_json=as_json, quiet=quiet)
        if sweep is not None:
            from compress.training.sweep_command import sweep_and_show

            _refuse_beside_sweep(name, minutes, resume)
            sweep_and_show(name, sweep, output, console, settings=chosen, seed=seed, steps=steps, train_on=train_on)
            return
        target = Path(output or f"{name}.pt")
        model, score, log = train_entry(
            name,
            settings=chosen,
            output=target,
            seed=seed,
            steps=steps,
            minutes=minutes,
            resume=resume,
            progress=console.progress,
            train_on=train_on,
        )
        console.close()
        golden = entry.golden.value
        least = "at least" if score.higher_is_better else "at most"
        console.result(
            f"{score.unit} on test: {score.value:.4f} ({score.low:.4f} to {score.high:.4f}, {score.n:,} samples); "
            f"the entry's own settings give {least} {golden:g}"
        )
        console.wrote([target])
        console.say(f"next: compress info {target}")
        console.document(output=target, score=score, golden=golden, history=model.history, training=log)

    return click.command(
        name, help=f"{entry.summary} Source: {entry.paper}", epilog=example(f"compress train {name} --steps 20")
    )(command)


def _refuse_beside_sweep(name: str, minutes: float | None, resume: bool) -> None:
    given = "--resume" if resume else "--minutes" if minutes is not None else None
    if given is not None:
        raise UsageError(
            f"train {name}: {given} is not for a sweep, whose trainings all begin anew and have as many steps. "
            "Use --steps."
        )
