"""What a quantized file is for, as its metadata say it: the device, where it was timed, and where nobody did."""

from __future__ import annotations

from typing import Any

from export.device import Device, devices

_STANDS_FOR_ALL = "any"


def target(device: Device, timed_on: str) -> dict[str, Any]:
    """The device; the instruction set that the file's speed was measured on, "" for none; those that it was not.

    A file for any processor computes right on each of them, and is as fast as was measured on one.
    """
    meant = _processors() if device.name == _STANDS_FOR_ALL else [device.instruction_set or device.name]
    return {"device": device.name, "timed_on": timed_on, "not_timed_on": [one for one in meant if one != timed_on]}


def _processors() -> list[str]:
    return [one.name for one in devices() if one.kind == "processor" and one.name not in (_STANDS_FOR_ALL, "cpu")]
