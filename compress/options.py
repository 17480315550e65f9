"""The options of the command line: those that mean the same everywhere, and those made from fields.

Imports nothing heavy: the class of a pass is imported when its command is looked up, and no sooner.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import click

from compress.call import Call
from compress.fields import Setting
from models.errors import did_you_mean

Function = Callable[..., Any]


class Words(click.Choice[str]):
    """A choice that names the nearest word when another was typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, or an error with the nearest one."""
        if value not in self.choices:
            self.fail(
                f"{value!r} is not one of {', '.join(self.choices)}.{did_you_mean(value, self.choices)}", param, ctx
            )
        return str(value)


class NumberOrText(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A whole number where it reads as one, else the text."""

    name = "number or text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Never fails: what a text must be is for the field's own check to say."""
        try:
            return int(value)
        except ValueError:
            return str(value)


SHARED: dict[str, tuple[Callable[[Function], Function], ...]] = {
    "model": (
        click.option(
            "--arch", metavar="PKG.MODULE:FACTORY", help="Builds the module of a file that holds weights alone."
        ),
        click.option(
            "--arch-arg", metavar="KEY=VALUE", multiple=True, help="Keyword argument of the factory; repeatable."
        ),
        click.option(
            "--input",
            metavar="NAME:TYPE[DIMS]",
            multiple=True,
            help="What a foreign network takes: x:float32[N,3,32,32].",
        ),
        click.option(
            "--state",
            metavar="INPUT=OUTPUT",
            multiple=True,
            help="What a step takes of the step before: h=h_next; repeatable.",
        ),
        click.option(
            "--preprocess", metavar="KEY=VALUE,...", help="From raw data to the inputs: resize=32x32,scale=0.0039."
        ),
        click.option("--trust-pickle", is_flag=True, help="Open a pickled module or .pt2; it can run any code."),
    ),
    "data": (
        click.option("--data", metavar="DATA", help="A named set, .npz, .npy, folder of images, or pkg.module:loader."),
        click.option("--task", metavar="PKG.MODULE:FACTORY", help="Makes the task: data, loss and score of your own."),
        click.option("--metric", metavar="PKG.MODULE:FUNCTION", help="Scores outputs against targets, for --data."),
        click.option("--seed", type=int, default=0, show_default=True, help="Of every choice that is drawn."),
    ),
    "device": (
        click.option("--device", metavar="DEVICE", default="any", show_default=True, help="Where the file will run."),
    ),
    "threads": (
        click.option(
            "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads a model may use."
        ),
    ),
    "train": (
        click.option(
            "--train-on",
            type=Words(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where training happens.",
        ),
    ),
    "say": (
        click.option("--json", is_flag=True, help="Print one JSON document."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no words beside the result."),
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ),
}


def takes(*groups: str) -> Callable[[Function], Function]:
    """Give a command the shared options of these groups; its first argument becomes a `Call` made of them."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            mine = {name: given.pop(name) for name in _OF_A_CALL if name in given}
            return function(Call(**mine), **given)

        for option in [option for group in groups for option in SHARED[group]][::-1]:
            option(command)
        return command

    return decorate


def takes_settings(found: Iterable[Setting]) -> Callable[[Function], Function]:
    """Give a command one option for each setting, under the setting's name."""

    def decorate(function: Function) -> Function:
        for setting in list(found)[::-1]:
            _option(setting)(function)
        return function

    return decorate


def example(line: str) -> str:
    """The closing line of a command's help; a test runs each."""
    return f"\b\nExample: {line}"


def _option(setting: Setting) -> Callable[[Function], Function]:
    types = {
        "whole number": click.INT,
        "number": click.FLOAT,
        "text": click.STRING,
        "yes or no": click.BOOL,
        "whole number or text": NumberOrText(),
    }
    name = setting.option
    return click.option(
        f"{name}/--no-{name[2:]}" if setting.kind == "yes or no" else name,
        setting.name,
        type=Words(setting.words) if setting.words else types[setting.kind],
        metavar=_METAVARS.get(setting.name),
        multiple=setting.many,
        default=setting.default,
        show_default=setting.default not in (None, "", ()),
        help=setting.help,
    )


_METAVARS = {"skip": "LAYER", "recover": "STEPS|PKG.MODULE:FUNCTION"}
_OF_A_CALL = tuple(f.name for f in dataclasses.fields(Call) if f.init)
