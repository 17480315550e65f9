"""What shall remain after pruning, as it is written: `params=0.5`, `macs=0.5`, `bytes=0.5`, `kb=100` or `ms=2.5`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from models.errors import UsageError, did_you_mean

Kind = Literal["params", "macs", "bytes", "kb", "ms"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARES: tuple[Kind, ...] = ("params", "macs", "bytes")
_MEANS = (
    "one of params=SHARE, macs=SHARE, bytes=SHARE (what shall remain: more than 0, and less than 1), "
    "kb=KILOBYTES or ms=MILLISECONDS"
)


@dataclass(frozen=True)
class Target:
    """A share of the parameters, multiply-adds or bytes; kilobytes of the exported weights; milliseconds of a run."""

    kind: Kind
    amount: float

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.kind}={self.amount:g}"


def check_target(text: str, *, ratio: float, default_ratio: float, kind: str, scope: str) -> None:
    """Refuse what does not go with a target, or is none; raises UsageError."""
    parse_target(text)
    if ratio != default_ratio:
        raise UsageError(
            f"prune: ratio {ratio:g} and target {text!r} are both given, and each says how much shall go. Give one."
        )
    if kind != "units":
        raise UsageError(f"prune: target {text!r} asked with kind {kind!r}; it is met by removing units. Give ratio.")
    if scope != "group":
        raise UsageError(
            f"prune: scope {scope!r} asked with target {text!r}. It says what a ratio is of; a target is always met "
            "over the whole network. Leave it out."
        )


def parse_target(text: str) -> Target:
    """KIND=NUMBER as a target.

    Raises:
        UsageError: another kind, or no number in the kind's range.
    """
    kind, equals, number = (part.strip() for part in text.partition("="))
    if kind not in KINDS or not equals:
        hint = did_you_mean(kind, KINDS) if equals else ""
        raise UsageError(f"prune: target {text!r} asked, and it is {_MEANS}.{hint}")
    try:
        amount = float(number)
    except ValueError:
        raise UsageError(f"prune: target {text!r} asked, and {number!r} is no number; it is {_MEANS}.") from None
    most = 1.0 if kind in SHARES else math.inf
    if not 0 < amount < most:
        raise UsageError(f"prune: target {text!r} asked, and {amount:g} is out of range; it is {_MEANS}.")
    return Target(kind, amount)
