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
    "kb=KILOBYTES or ms=MILLISECONDS; shares go together, params=0.3,macs=0.5"
)


@dataclass(frozen=True)
class Target:
    """What shall remain at most, by kind.

    Either a share of the parameters, multiply-adds or bytes, one or several of them; or kilobytes of the exported
    weights; or milliseconds of a run.
    """

    limits: dict[Kind, float]

    @property
    def kind(self) -> Kind:
        """Of the first limit."""
        return next(iter(self.limits))

    @property
    def amount(self) -> float:
        """Of the first limit."""
        return self.limits[self.kind]

    def __str__(self) -> str:
        """As it was written."""
        return ",".join(f"{kind}={amount:g}" for kind, amount in self.limits.items())


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
    """KIND=NUMBER as a target, or several of them behind commas.

    Raises:
        UsageError: another kind, no number in the kind's range, the same kind twice, or what goes alone with others.
    """
    limits: dict[Kind, float] = {}
    for part in text.split(","):
        kind, amount = _limit(part, text)
        if kind in limits:
            raise UsageError(f"prune: target {text!r} asked, and {kind} is in it twice. Give it once. It is {_MEANS}.")
        limits[kind] = amount
    alone = [kind for kind in limits if kind not in SHARES]
    if alone and len(limits) > 1:
        raise UsageError(f"prune: target {text!r} asked, and {alone[0]} goes alone; it is {_MEANS}.")
    return Target(limits)


def _limit(part: str, text: str) -> tuple[Kind, float]:
    kind, equals, number = (piece.strip() for piece in part.partition("="))
    found = next((known for known in KINDS if known == kind), None)
    if found is None or not equals:
        hint = did_you_mean(kind, KINDS) if equals else ""
        raise UsageError(f"prune: target {text!r} asked, and it is {_MEANS}.{hint}")
    try:
        amount = float(number)
    except ValueError:
        raise UsageError(f"prune: target {text!r} asked, and {number!r} is no number; it is {_MEANS}.") from None
    most = 1.0 if found in SHARES else math.inf
    if not 0 < amount < most:
        raise UsageError(f"prune: target {text!r} asked, and {amount:g} is out of range; it is {_MEANS}.")
    return found, amount
