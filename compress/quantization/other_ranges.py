"""Static int8 that loses too much is tried again with ranges by other methods, until one keeps the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .candidates import Candidate, Maker
from .choose import Judge, Loss
from .range_methods import Method
from .ways import Way

ORDER: tuple[Method, ...] = ("mse", "percentile", "entropy", "minmax")


def other_ranges(maker: Maker, lost: Sequence[Way], judge: Judge) -> Iterator[tuple[Candidate, Loss]]:
    """Candidates in the place of those that lost too much, each with its loss, named for its method.

    Of each method one is made and judged. The first that keeps the score is followed by all that lost, made like it;
    then no other is tried.

    Args:
        maker: of the candidates that lost.
        lost: the ways of static candidates.
        judge: of what a candidate costs.
    """
    if not lost or maker.calibrated is None:
        return
    for method in ORDER:
        if method == lost[0].calibration:
            continue
        for way in lost:
            made = maker.make(replace(way, calibration=method))
            loss = judge(made.model)
            yield replace(made, name=f"{made.name}, {method}"), loss
            if not loss.keeps:
                break
        else:
            return
