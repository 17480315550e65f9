"""Plug-ins of a package that is really installed: its files and its dist-info lie in a folder on the path."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import compress
from cli import _ORDER, status
from compress import plugins
from compress.base import Context
from compress.contract import check
from compress.pruning.prune import Prune
from compress.recipe import find_pass, read_recipe, run
from compress.training.recovery import recover
from compress.training.settings import Recovery
from export.save import save
from models.errors import CompressError, UsageError
from tests.compress.small_tasks import FRAMES, Recurrent, digits, lifted

ROOT = Path(__file__).parent.parent.parent
MODULES = {
    "rounding": '''
        """A pass."""

        import copy
        from dataclasses import dataclass, field, replace
        from typing import ClassVar

        import torch

        from compress import Note, Outcome


        @dataclass(frozen=True, kw_only=True)
        class Rounding:
            """Round every weight to a grid.

            Steps of one size for all.
            """

            name: ClassVar[str] = "rounding"
            takes: ClassVar[str] = "torch"
            step: float = field(default=0.01, metadata={"help": "between two values of a weight"})

            def __call__(self, model, context):
                network = copy.deepcopy(model.network)
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter.copy_((parameter / self.step).round() * self.step)
                return Outcome(replace(model, network=network), (Note("", f"weights in steps of {self.step:g}"),))


        class Misnamed(Rounding):
            """Its name is another's."""


        @dataclass(frozen=True, kw_only=True)
        class Faulty(Rounding):
            """Divides by nothing."""

            name: ClassVar[str] = "faulty"

            def __call__(self, model, context):
                return 1 / 0
    ''',
    "measures": '''
        """An importance and a loss."""

        import numpy as np

        asked = []


        def last_first(model, ties, axes, context):
            """The later a unit, the more it matters."""
            return {axis: np.arange(axis.size) for axis in axes}


        def short(model, ties, axes, context):
            return {axis: [1.0] for axis in axes}


        def twice(outputs, target, inputs):
            asked.append(sorted(inputs))
            return 2 * outputs["logits"].square().mean()
    ''',
    "broken": "import a_module_that_nobody_has",
}
ENTRIES = """
[compress.passes]
rounding = shop.rounding:Rounding
other = shop.rounding:Misnamed
faulty = shop.rounding:Faulty
broken = shop.broken:Nothing
empty = shop.measures:asked
prune = shop.rounding:Rounding
info = shop.rounding:Rounding

[compress.importances]
last-first = shop.measures:last_first
short = shop.measures:short
l2 = shop.measures:last_first

[compress.losses]
twice = shop.measures:twice
"""


def install(folder, distribution="shop-tools", version="1.2", entries=ENTRIES):
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entries)
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = install(tmp_path_factory.mktemp("shop"))
    (folder / "shop").mkdir()
    for name, source in {"__init__": "", **MODULES}.items():
        lines = source.split("\n")
        (folder / "shop" / f"{name}.py").write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    return folder


@pytest.fixture
def installed(shop, monkeypatch):
    monkeypatch.syspath_prepend(str(shop))
    yield shop
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def model():
    torch.manual_seed(0)
    return lifted(Recurrent(), (FRAMES,))


def test_they_are_listed_with_their_package_and_not_imported(installed):
    found = {(p.kind, p.name): (p.distribution, p.refused) for p in plugins.installed()}
    assert found["pass", "rounding"] == found["loss", "twice"] == ("'shop-tools 1.2'", "")
    assert found["pass", "prune"][1] == "the name 'prune' is ours"
    assert found["pass", "info"][1] == "'info' is a command of ours"
    assert found["importance", "l2"][1] == "the name 'l2' is ours"
    assert not any(name.startswith("shop") for name in sys.modules)
    assert {"prune", *plugins._COMMANDS} | set(compress.PASSES) == set(_ORDER)


def test_an_installed_pass_keeps_the_contract_and_runs_in_a_recipe(installed, tmp_path):
    step = find_pass("rounding")(step=0.02)
    check(step, model(), Context())
    recipe = tmp_path / "r.toml"
    recipe.write_text('[[pass]]\nname = "rounding"\nstep = 0.02\n[[pass]]\nname = "prune"\nimportance = "last-first"\n')
    assert read_recipe(recipe, allowed=["rounding", "last-first"]).passes == (step, Prune(importance="last-first"))
    first = r"pass 1: 'rounding' is the pass 'rounding' of 'shop-tools 1\.2', which a recipe does not load by itself\."
    with pytest.raises(UsageError, match=first + " Allow it on the command line: --plugin rounding"):
        read_recipe(recipe, allowed=["last-first"])
    with pytest.raises(UsageError, match=r"pass 2: importance = 'last-first' is the importance .*--plugin last-first"):
        read_recipe(recipe, allowed=["rounding"])


@pytest.mark.parametrize("name", ["last-first", "shop.measures:last_first"])
def test_an_importance_of_somebody_else(installed, name):
    before = model()
    pruned = Prune(ratio=0.5, importance=name, recover=0, multiple=1)(before, Context()).model
    torch.testing.assert_close(pruned.network.head.weight, before.network.head.weight[:, 6:])


def test_an_importance_that_gives_the_wrong_numbers_is_named(installed):
    with pytest.raises(
        CompressError, match=r"'short' gives numbers of shape \[1\] for a group of 12 units; wanted one"
    ):
        Prune(importance="short", recover=0)(model(), Context())


def test_a_loss_of_somebody_else_is_learned_from(installed):
    context = Context(task=digits(frames=True))
    settings = Recovery(loss="twice", teacher_weight=0.0)
    _, facts = recover(model(), context, settings, steps=3, validate=False)
    asked = importlib.import_module("shop.measures").asked
    assert facts["loss"] == "twice" and asked == [["x"]] * 3
    with pytest.raises(UsageError, match=r"no loss named 'twce' is installed\. Did you mean 'twice'\?"):
        Recovery(loss="twce")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "broken",
            "pass 'broken' of 'shop-tools 1.2': importing 'shop.broken:Nothing' raised ModuleNotFoundError: ",
        ),
        ("other", "is not what it should be: its class has the name 'rounding'; wanted the same one, 'other'"),
        ("empty", "pass 'empty' of 'shop-tools 1.2' is not what it should be: 'shop.measures:asked' is no dataclass"),
        ("roundin", "no pass named 'roundin'. Did you mean 'rounding'?"),
    ],
)
def test_a_plug_in_that_is_broken_is_a_sentence(installed, name, text):
    with pytest.raises(CompressError, match=re.escape(text)):
        find_pass(name)


def test_what_a_pass_of_somebody_else_raises_is_put_down_to_its_package(installed):
    text = "pass 'faulty' of 'shop-tools 1.2' failed (ZeroDivisionError: division by zero)."
    with pytest.raises(CompressError, match=re.escape(text)) as raised:
        run([find_pass("faulty")()], model(), Context())
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert raised.value.__notes__ == ["in pass Faulty(step=0.01), after no other pass"]


def test_two_packages_with_one_name_are_told_apart_from_a_mistake(installed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path, "mill", "0.1", "[compress.passes]\nrounding = shop.x:Y\n")))
    with pytest.raises(
        UsageError, match=r"'mill 0\.1' and 'shop-tools 1\.2' both offer that name\. Remove one of them"
    ):
        find_pass("rounding")


def test_ours_stay_ours(installed):
    assert find_pass("prune") is Prune
    assert plugins.find_plugin("pass", "prune") is None and plugins.find_plugin("importance", "l2") is None


def test_its_command_is_made_from_its_fields(installed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(model(), tmp_path / "net.pt")
    assert status(["rounding", "net.pt", "--step", "0.05"]) == 0
    assert "wrote net.rounding.pt" in capsys.readouterr().out
    assert status(["rounding", "--help"]) == 0
    assert "between two values of a weight" in capsys.readouterr().out
    assert status(["broken", "net.pt"]) == 1
    assert "'shop-tools 1.2'" in capsys.readouterr().err
    assert status(["roundin", "net.pt"]) == 2
    assert "Did you mean 'rounding'?" in capsys.readouterr().err


def test_a_fresh_process_lists_it_and_imports_it_only_when_it_is_named(shop):
    program = (
        "import sys\nfrom compress.start import main\n"
        "import atexit; atexit.register(lambda: print('shop' in sys.modules, 'torch' in sys.modules))\nmain()"
    )
    path = os.pathsep.join([str(shop), str(ROOT)])

    def said(*words):
        line = [sys.executable, "-c", program, *words]
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True)
        return done.stdout

    assert said("--help").endswith("False False\n")
    listed = said("passes")
    assert re.search(r"rounding +pass +'shop-tools 1\.2'", listed) and "the name 'prune' is ours" in listed
    assert listed.endswith("False False\n")
