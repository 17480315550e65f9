"""Static int8 that loses too much is tried again, equalized or with other ranges, until one keeps the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from compress.quantization.candidates import Candidate, Maker
from compress.quantization.loss import Judge, Loss
from compress.quantization.range_methods import Method
from compress.quantization.ways import Way

ORDER: tuple[Method, ...] = ("mse", "percentile", "entropy", "minmax")


def other_ranges(
    maker: Maker,
    lost: Sequence[Way],
    judge: Judge,
    *,
    refusing: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Iterator[tuple[Candidate, Loss]]:
    """Candidates in the place of those that lost too much, each with its loss, named for what is other.

    First the channels are equalized, where there is something to equalize; then ranges are by another method. Of each
    kind one is made and judged. The first that keeps the score is followed by all that lost, made like it; then no
    other is tried.

    Args:
        maker: of the candidates that lost.
        lost: the ways of static candidates.
        judge: of what a candidate costs.
        refusing: gives, for a name, what one that cannot be made or run is refused within; it counts as one that lost.
    """
    if not lost or maker.calibrated is None:
        return
    for ways in _tries(maker, lost):
        for way in ways:
            name = way.name if way.calibration == lost[0].calibration else f"{way.name}, {way.calibration}"
            tried: list[tuple[Candidate, Loss]] = []
            with refusing(name):
                made = maker.make(way)
                tried.append((replace(made, name=name), judge(made.model)))
            yield from tried
            if not any(loss.keeps for _, loss in tried):
                break
        else:
            return


def _tries(maker: Maker, lost: Sequence[Way]) -> Iterator[list[Way]]:
    if not lost[0].equalize and maker.equalized() is not None:
        yield [replace(way, equalize=True) for way in lost]
    for method in ORDER:
        if method != lost[0].calibration:
            yield [replace(way, calibration=method) for way in lost]
