"""Whether rows of the data are samples to the network: what one row gives must not depend on its neighbours.

Torch's recurrent and attention layers take time first unless told otherwise. Data whose rows are samples run through
such a network too, as steps of one sequence, and every range and score that follows is of something else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.quantization.calibration_data import cut, rows, shared_rows
from export.session import runner_for
from models.errors import CompressError
from models.records import Arrays, Model

_FELT = 0.01  # of an output's power: rounding, also that of ranges of the moment, stays far below
_TEXT = (
    "what the network gives for one row of the data depends on the rows beside it, so its first dimension does not "
    "count samples, as ranges and scores take it to (time first?). Export it with samples first: batch_first=True, or "
    "a module around it that gives net(x.transpose(0, 1)).transpose(0, 1)"
)


def mixed_rows(model: Model, batches: Sequence[Arrays]) -> str:
    """What is to be said where rows act on each other; "" where they do not, or nobody can tell.

    Args:
        model: ONNX; of a streaming one rows are steps, and of a fixed number they come together by its own wish.
        batches: of its data.
    """
    given = next(iter(batches), None)
    streams = model.forms or any(spec.state_of for spec in model.inputs)
    if given is None or streams or shared_rows(given, model.inputs) != 0 or rows(given) < 3:
        return ""
    run = runner_for(model)
    try:
        found = [run({name: array[order] for name, array in cut(given, slice(0, 3)).items()}) for order in _ORDERS]
    except CompressError:
        return ""  # it runs on other numbers of rows, and who needs these says so
    one, other, first_changed = found
    return _TEXT if _differ(one, other, 0) or _differ(one, first_changed, 1) else ""


_ORDERS = ([0, 1], [0, 2], [2, 1])  # rows of the data, so that one of two changes and the other stays


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
