import re

import pytest

from compress.pruning.prune import Prune
from compress.pruning.target import KINDS, Target, parse_target
from models.errors import UsageError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("params=0.5", Target({"params": 0.5})),
        (" macs = .25 ", Target({"macs": 0.25})),
        ("bytes=0.9", Target({"bytes": 0.9})),
        ("kb=100", Target({"kb": 100})),
        ("ms=2.5", Target({"ms": 2.5})),
        ("params=0.3, macs=0.5", Target({"params": 0.3, "macs": 0.5})),
    ],
    ids=str,
)
def test_a_target_is_kinds_and_their_numbers(text, target):
    assert parse_target(text) == target and str(target) == text.replace(" ", "").replace("=.", "=0.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.5", "target '0.5' asked, and it is one of params=SHARE"),
        ("half", "target 'half' asked, and it is one of"),
        ("parms=0.5", "Did you mean 'params'?"),
        ("params=half", "and 'half' is no number"),
        ("params=50", "and 50 is out of range"),
        ("macs=1", "and 1 is out of range"),
        ("macs=0", "and 0 is out of range"),
        ("ms=-1", "and -1 is out of range"),
        ("ms=nan", "and nan is out of range"),
        ("kb=inf", "and inf is out of range"),
        ("ms=", "and '' is no number"),
        ("params=0.5,", "target 'params=0.5,' asked, and it is one of"),
        ("params=0.5,params=0.4", "and params is in it twice. Give it once. It is one of params=SHARE"),
        ("params=0.5,ms=2", "and ms goes alone; it is one of params=SHARE"),
    ],
    ids=str,
)
def test_any_other_text_is_refused_with_what_is_allowed(text, says):
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        Prune(target=text)
    assert all(f"{kind}=" in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ratio": 0.25}, "prune: ratio 0.25 and target 'params=0.5' are both given"),
        ({"kind": "weights"}, "asked with kind 'weights'; it is met by removing units"),
        ({"kind": "blocks"}, "asked with kind 'blocks'; it is met by removing units"),
        ({"scope": "network"}, "scope 'network' asked with target 'params=0.5'"),
    ],
    ids=str,
)
def test_what_does_not_go_with_a_target_is_refused(fields, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        Prune(target="params=0.5", **fields)
