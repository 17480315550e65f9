"""What each layer costs: the noise in the outputs when this layer alone computes in int8.

It is measured and not guessed, on data that calibration did not see; what a layer's own output has lost says little,
because some of it the next layers take away.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from compress.base import Progress
from compress.quantization.calibration_data import first_of
from compress.quantization.candidates import Maker
from compress.quantization.loss import ByAgreement
from compress.quantization.refused import REFUSALS
from compress.quantization.ways import Way
from models.records import Arrays

OTHERS = "in float, while another layer is tried alone"
_SAMPLES = 32  # the noise of a layer is much the same for all of them


def sensitivities(
    maker: Maker,
    way: Way,
    names: Sequence[str],
    unseen: Sequence[Arrays],
    *,
    of: Collection[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """SQNR of the outputs in decibels, by layer of the main graph.

    It is infinite where the layer changes nothing, and minus that where the layer alone cannot be made or run in int8.

    Args:
        maker: of the candidates.
        way: to make static int8.
        names: of the layers that can be in int8, in the graph's order.
        unseen: data to judge on; empty gives {}.
        of: those of the names to try; all where it is not said.
        progress: told of each layer.
    """
    few = first_of(unseen, _SAMPLES)
    if not few:
        return {}
    judge = ByAgreement(replace(maker.model, forms={}), few, 0.0)
    alone = replace(maker, model=replace(maker.model, forms={}), of_forms={}, correction=None)
    way = replace(way, operators=False, dynamic_rest=False, store_rest=False)
    found = {}
    tried = [name for name in names if of is None or name in of]
    for position, name in enumerate(tried):
        if progress is not None:
            progress("trying layers alone", position, len(tried), detail=name)
        others = {other: OTHERS for other in names if other != name}
        try:
            made = replace(alone, floats={**maker.floats, **others}).make(way)
            found[name] = judge(made.model).sqnr_db or 0.0
        except REFUSALS:
            found[name] = -math.inf
    return found
