"""Keeps our `models`, `export`, `benchmarks` and `cli` apart from a user's packages of the same names.

Half of all PyTorch projects have a `models` package or an `export.py`. Ours are therefore loaded under the private
package `_compress`, found by where this file lies, and never enter `sys.modules` under their everyday names because
of us. Inside our own modules an everyday import is sent to the private one: each gets an `__import__` of its own,
which CPython looks up in the importing module's `__builtins__`. Anywhere else an everyday name gives ours only when the
search would have found our very file (our tests, our scripts); a user's package of that name wins.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PRIVATE = "_compress"
FLOORS = ("models", "export", "benchmarks", "cli")
ROOT = Path(__file__).resolve().parent.parent


def bind() -> None:
    """Make our floors importable as `_compress.*`; calling it again changes nothing."""
    if PRIVATE in sys.modules:
        return
    package = ModuleType(PRIVATE, "Our floors under a name that nobody else has.")
    package.__path__ = [str(ROOT)]
    sys.modules[PRIVATE] = package
    sys.meta_path.insert(0, _Finder())


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    if level == 0 and name.partition(".")[0] in FLOORS:
        if not fromlist:  # `import models.records` binds the root package
            importlib.import_module(f"{PRIVATE}.{name}")
            return sys.modules[f"{PRIVATE}.{name.partition('.')[0]}"]
        name = f"{PRIVATE}.{name}"
    return builtins.__import__(name, globals, locals, fromlist or (), level)


class _Loader(importlib.machinery.SourceFileLoader):
    """The ordinary loader, but the module's own import statements find our floors."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**builtins.__dict__, "__import__": _import}
        super().exec_module(module)


class _Alias(importlib.abc.Loader):
    """Gives the private module for an everyday name whose search would have found our file."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"{PRIVATE}.{self.name}")
        spec.origin = module.__file__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = sys.modules[module.__name__].__spec__ = importlib.machinery.ModuleSpec(
            module.__name__, None, origin=module.__file__, is_package=hasattr(module, "__path__")
        )


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        root = fullname.partition(".")[0]
        if root in (PRIVATE, "compress") and path is not None:
            spec = importlib.machinery.PathFinder.find_spec(fullname, path)
            if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
                spec.loader = _Loader(spec.loader.name, spec.loader.path)
            return spec
        if root not in FLOORS:
            return None
        if "." in fullname:
            ours = getattr(sys.modules.get(root), "__name__", "").startswith(PRIVATE)
        else:
            ours = _would_find_ours(fullname)
        return importlib.machinery.ModuleSpec(fullname, _Alias(fullname)) if ours else None


def _would_find_ours(name: str) -> bool:
    for finder in sys.meta_path:
        if not isinstance(finder, _Finder) and (spec := finder.find_spec(name, None)) is not None:
            return spec.origin is not None and Path(spec.origin).resolve().is_relative_to(ROOT)
    return False
