"""Passes, importances and losses of other packages: found by entry point, loaded only when they are named.

A package offers them in its `pyproject.toml`:

    [project.entry-points."compress.passes"]
    blur = "mypackage.blur:Blur"            # a pass: a frozen dataclass, see compress/base.py and compress/contract.py
    [project.entry-points."compress.importances"]
    spread = "mypackage.spread:spread"      # a function, see compress/pruning/importance.py
    [project.entry-points."compress.losses"]
    cosine = "mypackage.cosine:cosine"      # a function (outputs, target, inputs) -> mean loss of one batch

Which there are is read from what the installer wrote down, so listing them runs no code of theirs. A name of ours
stays ours. A recipe names them only with the same name on the command line, `--plugin blur`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from compress import PASSES
from compress.console import Console
from compress.fields import settings
from export.foreign import calling, named
from models.errors import CompressError, UsageError

Kind = Literal["pass", "importance", "loss"]
GROUPS: dict[Kind, str] = {
    "pass": "compress.passes",
    "importance": "compress.importances",
    "loss": "compress.losses",
}
# commands of ours, which a pass of that name could not be called by
_COMMANDS = frozenset("demo info run export verify benchmark report models passes devices train".split())


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One thing that an installed package offers.

    Args:
        name: as it is called by.
        distribution: the package as it was installed, with its version.
        refused: why it cannot be used, or "".
    """

    kind: Kind
    name: str
    distribution: str
    refused: str = ""
    entry: EntryPoint = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.distribution}"

    @cached_property
    def code(self) -> Any:
        """The class or function itself, imported now.

        Raises:
            UsageError: its name is refused.
            CompressError: it cannot be imported, or is not what it should be; the text names the distribution.
        """
        if self.refused:
            raise UsageError(f"{self}: {self.refused}.")
        with calling(f"{self}: importing {self.entry.value!r}"):
            found = self.entry.load()
        if self.kind == "pass":
            self._check_pass(found)
        elif not callable(found):
            self._refuse(f"{self.entry.value!r} is a {type(found).__name__}, and cannot be called")
        return found

    def _check_pass(self, found: Any) -> None:
        if not isinstance(found, type) or not dataclasses.is_dataclass(found):
            self._refuse(f"{self.entry.value!r} is no dataclass, so that it has no settings")
        if getattr(found, "name", None) != self.name:
            self._refuse(f"its class has the name {getattr(found, 'name', None)!r}; wanted the same one, {self.name!r}")
        if not hasattr(found, "takes") or "__call__" not in dir(found):
            self._refuse("its class lacks `takes` or `__call__(model, context)`")
        try:
            settings(found)
        except (TypeError, NameError) as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        raise CompressError(f"{self} is not what it should be: {why}. The mistake is in that package, not in compress.")


def installed() -> tuple[Plugin, ...]:
    """All plug-ins that are installed, by kind and name; those that cannot be used say why. Imports none of them."""
    found: list[Plugin] = []
    for kind, group in GROUPS.items():
        entries = {(entry.name, entry.value, _distribution(entry)): entry for entry in entry_points(group=group)}
        owners: dict[str, list[str]] = {}
        for name, _, distribution in entries:
            owners.setdefault(name, []).append(distribution)
        for name, value, distribution in sorted(entries):
            refused = _refusal(kind, name, owners[name])
            entry = entries[name, value, distribution]
            found.append(Plugin(kind=kind, name=name, distribution=distribution, refused=refused, entry=entry))
    return tuple(found)


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """The plug-in of that name, not imported; None where there is none, or where the name is ours."""
    if name in _ours(kind):
        return None
    return next((plugin for plugin in installed() if (plugin.kind, plugin.name) == (kind, name)), None)


def find_code(kind: Literal["importance", "loss"], name: str, *, option: str) -> Any:
    """The function of an installed plug-in, or that `pkg.module:function` names; None where there is none.

    Raises:
        UsageError: there is no such module or function, or the plug-in's name is refused.
        CompressError: it cannot be imported.
    """
    if ":" in name:
        found = named(name, option=option)
        if not callable(found):
            raise UsageError(f"{option} {name!r} is a {type(found).__name__}, and a function is needed.")
        return found
    plugin = find_plugin(kind, name)
    return None if plugin is None else plugin.code


def origin(of: type) -> Plugin | None:
    """The plug-in that a pass's class belongs to; None for ours, and for one that was never installed."""
    name = getattr(of, "name", "")
    plugin = find_plugin("pass", name) if not of.__module__.startswith("compress.") else None
    return plugin if plugin is not None and plugin.entry.value == f"{of.__module__}:{of.__qualname__}" else None


def _refusal(kind: Kind, name: str, owners: list[str]) -> str:
    if name in _ours(kind):
        return f"the name {name!r} is ours"
    if kind == "pass" and name in _COMMANDS:
        return f"{name!r} is a command of ours"
    if len(owners) > 1:
        return f"{' and '.join(owners)} both offer that name. Remove one of them"
    return ""


def _ours(kind: Kind) -> Mapping[str, Any]:
    if kind == "importance":
        from compress.pruning.importance import IMPORTANCES  # of torch it knows nothing, of numpy it does

        return IMPORTANCES
    return PASSES if kind == "pass" else {}


def _distribution(entry: EntryPoint) -> str:
    return f"'{entry.dist.name} {entry.dist.version}'" if entry.dist is not None else "an unnamed package"


def say_passes(console: Console) -> None:
    """Our passes, and the plug-ins that are installed; none is imported."""
    console.table(("name", "what it does"), [(name, summary) for name, (_, summary) in PASSES.items()], texts=2)
    if found := installed():
        rows = [(plugin.name, plugin.kind, plugin.distribution, plugin.refused) for plugin in found]
        console.table(("plug-in", "what it is", "of", "refused"), rows, texts=4)
    console.document(
        passes=[{"name": name, "summary": summary} for name, (_, summary) in PASSES.items()], plugins=found
    )
