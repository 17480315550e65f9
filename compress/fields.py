"""The fields of a pass are its configuration: its options, its keys in a recipe, its table in the documentation.

The keyword arguments of a reference model's builder are read the same way, for `compress train`.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from models.errors import UsageError, did_you_mean

Kind = Literal["whole number", "number", "yes or no", "text", "word", "whole number or text"]
_KINDS: dict[Any, Kind] = {
    int: "whole number",
    float: "number",
    bool: "yes or no",
    str: "text",
    int | str: "whole number or text",
}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field: a scalar, a fixed word, or a tuple of them.

    Args:
        kind: of the value, or of each value of a tuple.
        words: the allowed ones, where there is a fixed set.
        many: a tuple: repeatable as an option, a list in a recipe.
        optional: may be left without a value (None).
    """

    name: str
    kind: Kind
    default: Any
    help: str = ""
    words: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False

    @property
    def option(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    def read(self, value: Any, where: str) -> Any:
        """The value from a recipe, as the field wants it.

        Raises:
            UsageError: it is of another type, or none of the words.
        """
        if self.many:
            if not isinstance(value, list | tuple):
                raise UsageError(f"{where}: {self.name} takes a list, and {value!r} is none.")
            return tuple(self._one(item, where) for item in value)
        return self._one(value, where)

    def _one(self, value: Any, where: str) -> Any:
        fits = {
            "whole number": type(value) is int,
            "number": type(value) in (int, float),
            "yes or no": type(value) is bool,
            "text": isinstance(value, str),
            "word": value in self.words,
            "whole number or text": type(value) in (int, str),
        }[self.kind]
        if not fits:
            wanted = f"one of {', '.join(self.words)}" if self.words else f"a {self.kind}"
            raise UsageError(f"{where}: {self.name} takes {wanted}, not {value!r}.{did_you_mean(value, self.words)}")
        return float(value) if self.kind == "number" else value


def settings(of: type | Callable[..., Any]) -> tuple[Setting, ...]:
    """The settings of a dataclass, or of the keyword arguments of a function, in the order they are written.

    Raises:
        TypeError: a field is no scalar, no `Literal` and no tuple of these: its author's mistake.
    """
    hints = typing.get_type_hints(of)
    if dataclasses.is_dataclass(of):
        fields = [f for f in dataclasses.fields(of) if f.init and typing.get_origin(hints[f.name]) is not ClassVar]
        return tuple(_setting(f.name, hints[f.name], _default(f), f.metadata.get("help", "")) for f in fields)
    given = inspect.signature(of).parameters.values()
    return tuple(_setting(p.name, hints[p.name], p.default, "") for p in given if p.kind is p.KEYWORD_ONLY)


def build(of: Callable[..., T], values: Mapping[str, Any], *, where: str) -> T:
    """The dataclass or function called with these values, after every check of names and types.

    Args:
        of: the dataclass, or the function whose keyword arguments they are.
        values: by the names of the fields.
        where: what is being read, for messages: "small.toml, pass 2 (prune)".

    Raises:
        UsageError: an unknown name (with the nearest right one), a wrong type, a value out of its range.
    """
    known = {setting.name: setting for setting in settings(of)}
    for name in values:
        if name not in known:
            near = did_you_mean(name, known) or f" There are: {', '.join(known)}."
            raise UsageError(f"{where}: there is no field {name!r}.{near}")
    read = {name: known[name].read(value, where) for name, value in values.items()}
    try:
        return of(**read)
    except UsageError as error:
        said = str(error)  # a pass says its own name, and `where` may be just that
        raise UsageError(said if said.startswith(f"{where}: ") else f"{where}: {said}") from None


def table(of: type) -> str:
    """The settings as a Markdown table: option, default, meaning."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for setting in settings(of):
        default = "" if setting.default in (None, (), "") else f"`{_shown(setting.default)}`"
        words = f" ({', '.join(setting.words)})" if setting.words else ""
        rows.append(f"| `{setting.option}` | {default} | {setting.help}{words} |")
    return "\n".join(rows)


def _setting(name: str, hint: Any, default: Any, help: str) -> Setting:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kept = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(kept) < len(typing.get_args(hint))
        hint = kept[0] if len(kept) == 1 else hint
    many = typing.get_origin(hint) is tuple
    if many:
        hint = typing.get_args(hint)[0]
    words: Sequence[str] = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind: Kind | None = "word" if words else _KINDS.get(hint)
    if kind is None:
        raise TypeError(f"field {name!r} is {hint}; fields are scalars, fixed words and tuples of them")
    return Setting(name=name, kind=kind, default=default, help=help, words=tuple(words), many=many, optional=optional)


def _default(field: dataclasses.Field[Any]) -> Any:
    return None if field.default is dataclasses.MISSING else field.default


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        ", ".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
