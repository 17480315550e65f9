"""What a mode that was asked for by name does to the speed: auto never gives what is slower, the others are told on."""

from __future__ import annotations

from collections.abc import Sequence

from compress.base import Context
from compress.quantization.by_turns import overall, timed
from compress.quantization.candidates import Candidate
from compress.quantization.choose import FLOAT
from export.device import Device
from export.forms import MAIN
from models.records import Arrays, Model


def slower_here(
    original: Model, made: Candidate, context: Context, device: Device, unseen: Sequence[Arrays]
) -> dict[str, float]:
    """`{"slower": share of float's speed}` where the main form is surely slower than float on this machine; else {}.

    Not timed is what only stores 8 bits or half precision, and what will run elsewhere.
    """
    here = context.measure is not None and device.is_timed_here
    if not here or made.way.kind not in ("static", "dynamic") or not made.changed:
        return {}
    found = overall(timed({FLOAT: original, made.name: made.model}, context, unseen, forms=[MAIN]), made.name)
    return {"slower": round(found.speedup, 3)} if found is not None and found.verdict == "slower" else {}
