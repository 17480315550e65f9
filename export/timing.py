"""From turns on the clock to a timing with its interval, and to a verdict on two callables. Reads no clock itself.

A turn is a few milliseconds in which one callable runs alone; its value is the median of its calls, so that a call the
scheduler interrupted does not count. A round is one turn of every callable, so values of one round share the weather.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Verdict = Literal["faster", "slower", "no difference", "cannot tell"]
Floats = np.ndarray[Any, np.dtype[np.float64]]

BAND = 0.03  # two models within 3 % of each other are the same to whoever ships them
FEWEST_TURNS = 6  # the least number whose smallest and largest value hold the median at 95 %


@dataclass(frozen=True)
class Turn:
    """One turn: the time of each call in milliseconds, and whether another process took the core meanwhile."""

    calls_ms: Floats
    disturbed: bool = False


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one call takes.

    Args:
        runs: calls that were counted.
        median_ms: median over turns of the turn's median call.
        p95_ms, p99_ms: percentiles over all counted calls.
        low_ms, high_ms: 95 % interval of the median.
        disturbed: turns left out, because another process took the core while they ran.
    """

    runs: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    disturbed: int = 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Callable b against callable a, from turns of the same rounds.

    Args:
        speedup: time of a over time of b, the median over rounds; above 1, b is faster.
        low, high: its 95 % interval.
        verdict: on b. "no difference" where the whole interval is within 3 % of 1; "faster" or "slower" where the
            interval leaves out 1 and the speed-up is beyond 3 %; else "cannot tell".
        turns: rounds that were counted.
    """

    a: str
    b: str
    speedup: float
    low: float
    high: float
    verdict: Verdict
    turns: int


def timing(turns: Sequence[Turn]) -> Timing:
    """Sum up the turns of one callable, in the order in which they were taken."""
    kept = _undisturbed([turn.disturbed for turn in turns])
    values = np.array([np.median(turns[i].calls_ms) for i in kept])
    calls = np.concatenate([turns[i].calls_ms for i in kept])
    low, high = median_interval(values)
    p95, p99 = np.percentile(calls, (95, 99))
    return Timing(
        runs=len(calls),
        median_ms=float(np.median(values)),
        p95_ms=float(p95),
        p99_ms=float(p99),
        low_ms=low,
        high_ms=high,
        disturbed=len(turns) - len(kept),
    )


def compare(a: str, b: str, turns_a: Sequence[Turn], turns_b: Sequence[Turn]) -> Comparison:
    """Compare two callables by the turns they took in the same rounds (turns_a[i] and turns_b[i] are of round i).

    Raises:
        ValueError: the two do not have the same number of turns.
    """
    pairs = _pairs(turns_a, turns_b)
    # logarithms, so that a over b and b over a have mirrored intervals
    ratios = np.log([np.median(one.calls_ms) / np.median(other.calls_ms) for one, other in pairs])
    low, high = median_interval(ratios)
    speedup, low, high = math.exp(float(np.median(ratios))), math.exp(low), math.exp(high)
    return Comparison(
        a=a, b=b, speedup=speedup, low=low, high=high, verdict=judge(speedup, low, high), turns=len(pairs)
    )


def judge(speedup: float, low: float, high: float, *, band: float = BAND) -> Verdict:
    """Put a speed-up and its interval into one of four words; `Comparison` says which means what."""
    if 1 / (1 + band) <= low and high <= 1 + band:
        return "no difference"
    if low > 1 and speedup > 1 + band:
        return "faster"
    if high < 1 and speedup < 1 / (1 + band):
        return "slower"
    return "cannot tell"


def median_interval(values: Floats) -> tuple[float, float]:
    """95 % interval of the median of values that were taken one after the other.

    Order statistics, so no distribution is assumed: of n independent values, the ranks n/2 ± 1.96 sqrt(n)/2 hold the
    median. Noise of a machine comes in stretches, so neighbours are alike and n of them tell less than n independent
    ones: the ranks are widened by the square root of 1 + 2 sum(rho_k), rho_k the autocorrelation, at lag k, of being
    above or below the median. With fewer than six values it is their range, which holds the median less surely
    (1 - 2^(1-n)).

    Source: order statistics, Conover, Practical Nonparametric Statistics, sec. 3.2; the median under dependence, Sen
    1972, J. Multivariate Analysis 2, 77-95.
    """
    count = len(values)
    ordered = np.sort(values)
    reach = 1.96 * math.sqrt(count * _alikeness(values)) / 2
    rank = max(0, math.floor(count / 2 - reach))
    return float(ordered[rank]), float(ordered[count - 1 - rank])


def _alikeness(values: Floats) -> float:
    """1 + 2 sum(rho_k) of the signs around the median: 1 for independent values, more where neighbours are alike.

    The sum runs while pairs of neighbouring lags stay positive (Geyer 1992, Statistical Science 7, sec. 3.3).
    """
    count = len(values)
    signs = np.sign(values - np.median(values))
    power = float(signs @ signs)
    if count < FEWEST_TURNS or power == 0:
        return 1.0
    total = 1.0
    for lag in range(1, count // 2, 2):
        pair = (signs[:-lag] @ signs[lag:] + signs[: -lag - 1] @ signs[lag + 1 :]) / power
        if pair <= 0:
            break
        total += 2 * float(pair)
    return total


def _pairs(turns_a: Sequence[Turn], turns_b: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    """The rounds in which both ran alone; where those are too few, the turns of each that ran alone, in order."""
    rounds = list(zip(turns_a, turns_b, strict=True))
    kept = _undisturbed([one.disturbed or other.disturbed for one, other in rounds])
    if len(kept) < len(rounds):
        return [rounds[i] for i in kept]
    alone_a, alone_b = ([turn for turn in turns if not turn.disturbed] for turns in (turns_a, turns_b))
    if min(len(alone_a), len(alone_b)) >= FEWEST_TURNS:
        return list(zip(alone_a, alone_b, strict=False))
    return rounds


def _undisturbed(disturbed: Sequence[bool]) -> list[int]:
    """Which turns count: those that ran alone, or all of them where fewer than six, or than a quarter, did."""
    alone = [i for i, was in enumerate(disturbed) if not was]
    return alone if len(alone) >= max(FEWEST_TURNS, len(disturbed) / 4) else list(range(len(disturbed)))
