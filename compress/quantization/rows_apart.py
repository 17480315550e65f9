"""Whether rows of the data are samples to the network: what one row gives must not depend on its neighbours.

Torch's recurrent and attention layers take time first unless told otherwise. Data whose rows are samples run through
such a network too, as steps of one sequence, and every range and score that follows is of something else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.quantization.calibration_data import cut, rows, shared_rows
from export.session import runner_for
from export.whole_samples import are_whole
from models.errors import CompressError
from models.records import Arrays, Model

_FELT = 0.01  # of an output's power: rounding, also that of ranges of the moment, stays far below
_TEXT = (
    "what the network gives for one row of the data depends on the rows beside it, or does not follow from how many "
    "there are: its first dimension does not count samples, as ranges, scores and times take it to (time first?). Give "
    "samples that are whole inputs, one dimension more: x of shape (samples, {dims}); or export it with samples first"
)


def mixed_rows(model: Model, batches: Sequence[Arrays]) -> str:
    """What is to be said where rows act on each other; "" where they do not, or nobody can tell.

    Args:
        model: ONNX; of a streaming one rows are steps, and of a fixed number they come together by its own wish.
        batches: of its data.
    """
    given = next(iter(batches), None)
    streams = model.forms or any(spec.state_of for spec in model.inputs)
    if (
        given is None
        or streams
        or are_whole(given, model.inputs)
        or shared_rows(given, model.inputs) != 0
        or rows(given) < 3
    ):
        return ""
    run = runner_for(model)
    try:
        found = [run({name: array[order] for name, array in cut(given, slice(0, 3)).items()}) for order in _ORDERS]
    except CompressError:
        return ""  # it runs on other numbers of rows, and who needs these says so
    one, other, first_changed = found
    if not (_differ(one, other, 0) or _differ(one, first_changed, 1) or _counts_another(one, given, model)):
        return ""
    return _TEXT.format(dims=", ".join(map(str, model.inputs[0].dims)))


_ORDERS = ([0, 1], [0, 2], [2, 1])  # rows of the data, so that one of two changes and the other stays


def _counts_another(found: Arrays, given: Arrays, model: Model) -> bool:
    """Whether no output counts the rows, and one counts what the second dimension of an input does."""
    firsts = {np.shape(array)[0] for array in found.values() if np.ndim(array)}
    seconds = {given[spec.name].shape[1] for spec in model.inputs if spec.name in given and given[spec.name].ndim > 2}
    return 2 not in firsts and bool(firsts & seconds)


def _differ(a: Arrays, b: Arrays, row: int) -> bool:
    """Whether an output that has two rows has another one at this place."""
    for name, array in a.items():
        one, two = np.asarray(array), np.asarray(b[name])
        if one.dtype.kind != "f" or one.shape != two.shape or one.shape[:1] != (2,):
            continue
        one, two = one[row].astype(np.float64), two[row].astype(np.float64)
        if np.sum((one - two) ** 2) > _FELT * np.sum(one**2):
            return True
    return False
