"""A device is data: what a target computes with and how much it holds, one TOML file each in `devices/`."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from export.machine import machine
from models.errors import UsageError

_FOLDER = Path(__file__).parent / "devices"
Kind = Literal["processor", "accelerator", "microcontroller"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A target. What is not known, or depends on the part that is bought, is None.

    Args:
        summary: one line for `compress devices`.
        provider: ONNX Runtime's execution provider, or None where ONNX Runtime does not run.
        instruction_set: what decides how int8 behaves.
        dtypes: what it computes with at speed; others are stored and converted.
        exact_u8s8: uint8 x int8 products are summed exactly; where they are not, pairs saturate at 16 bits.
        symmetric: int8 must be symmetric (zero points 0).
        channel_multiple: pruned widths are rounded up to this.
        ram_bytes, flash_bytes: on the chip; None for flash where it lies outside, and for processors.
        peak_macs_per_s: the most int8 multiply-adds of one core; nothing runs faster.
        source: datasheet, or how and when it was measured.
    """

    name: str
    summary: str
    kind: Kind
    provider: Literal["cpu", "cuda", "tensorrt"] | None
    instruction_set: str
    dtypes: frozenset[str]
    exact_u8s8: bool
    symmetric: bool = False
    channel_multiple: int
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    peak_macs_per_s: float | None = None
    source: str

    @property
    def is_here(self) -> bool:
        """Whether times taken on this machine's processor are times of this device."""
        return self.provider == "cpu" and self.instruction_set == machine()["instruction_set"]

    @property
    def is_timed_here(self) -> bool:
        """Whether times taken here speak for it: it is this machine, or any processor, for which this one stands."""
        return self.is_here or self.name == "any"


DEVICES: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_device(name: str) -> Device:
    """The device of that name; `cpu` is this machine as it is.

    Raises:
        UsageError: there is none of that name.
    """
    kind, colon, _ = name.partition(":")
    if colon and kind in ("ssh", "emulated"):
        raise UsageError(
            f"device {name!r}: devices of the kind '{kind}:' come later. For now name the instruction set "
            "(such as arm64-dotprod) where a file is made, copy the file to the board and time it there."
        )
    if name not in DEVICES:
        close = difflib.get_close_matches(name, DEVICES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"device: no device named {name!r}.{hint} (`compress devices` lists them)")
    return _this_machine(_read(name)) if name == "cpu" else _read(name)


def devices() -> Iterable[Device]:
    """All devices, processors first, by name within their kind."""
    order = ("processor", "accelerator", "microcontroller")
    return sorted((find_device(name) for name in DEVICES), key=lambda device: (order.index(device.kind), device.name))


def _this_machine(cpu: Device) -> Device:
    here = machine()
    found = here["instruction_set"]
    like = _read(found) if found in DEVICES else cpu  # an unknown processor gets what is right on all of them
    return replace(
        like,
        name="cpu",
        summary=cpu.summary,
        instruction_set=found,
        ram_bytes=here["memory_bytes"],
        source=f"{here['processor']}, as the system describes it",
    )


@functools.cache
def _read(name: str) -> Device:
    return parse(name, (_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Device:
    """A device from its TOML text: a table with the fields of `Device`, those that are None left out.

    Raises:
        ValueError: it is no TOML, or a field is missing or unknown.
    """
    table: dict[str, Any] = tomllib.loads(text)
    known = {field.name for field in fields(Device)} - {"name"}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"device {name!r}: no field named {unknown[0]!r}; there are {', '.join(sorted(known))}.")
    table.setdefault("provider", None)
    table["dtypes"] = frozenset(table.get("dtypes", ()))
    try:
        return Device(name=name, **table)
    except TypeError as error:
        raise ValueError(f"device {name!r}: {error}") from None
