"""What a mode that was asked for by name does to the speed: auto never gives what is slower, the others are told on."""

from __future__ import annotations

from collections.abc import Sequence

from compress.base import Context
from compress.quantization.by_turns import overall, timed
from compress.quantization.candidates import Candidate
from compress.quantization.choose import FLOAT
from export.device import Device
from export.forms import MAIN, parts
from export.profile import optimized_graph
from export.session import in_form
from export.stopwatch import Comparison
from models.records import Arrays, Model

_FILE = "the file as it came"
SLOWER = f"{_FILE} is faster here: ONNX Runtime makes less of the network as prepared. Ship that file, and report it"


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


def against_the_file(
    given: Model, prepared: Model, made: Candidate, context: Context, device: Device, unseen: Sequence[Arrays]
) -> Comparison | None:
    """How fast a candidate is against the file as it came; None where that runs as float does, or elsewhere.

    Candidates are held against the prepared model, which may be faster: norms and activations are one node there.
    """
    if context.measure is None or not device.is_timed_here:
        return None
    graphs = ((in_form(given, form), in_form(prepared, form)) for form in parts(given))
    if all(optimized_graph(one) == optimized_graph(other) for one, other in graphs):
        return None
    return overall(timed({_FILE: given, made.name: made.model}, context, unseen), made.name)


def in_words(found: Comparison) -> str:
    """What a comparison with the file as it came says."""
    if found.verdict == "cannot tell":
        return f"about as fast as {_FILE}"
    return f"{found.speedup:.2f} times as fast as {_FILE}"
