"""What the demo says of its numbers, whichever way they turn out; the demo itself is run by `make demo`."""

from dataclasses import replace

import pytest
import torch

from benchmarks.demo import CHAIN, _forgotten, findings
from compress.ledger import LedgerLine
from compress.recipe import check_order, fields_of
from export.wrap import from_entry
from models import find


def line(name, **facts):
    told = {"size_bytes": 1_700_000, "macs": 20, "parameters": 10, "median_ms": 0.37, "metric": 0.99, "samples": 600}
    return LedgerLine(step=0, pass_=name, metric_name="accuracy", unit="fraction", **{**told, **facts})


SMALL = line("distill", size_bytes=23_000, metric=0.987)
LAST = line(
    "quantize", size_bytes=20_000, metric=0.985, median_ms=0.019, speedup=19.4, drop=0.005, drop_low=0, drop_high=0.01
)
ALONE = line("trained alone", metric=0.978)
DESIGNED = line("dscnn-fsdd int8", size_bytes=40_000, median_ms=0.055, metric=0.98)


def test_the_chain_can_be_run_in_this_order_and_is_all_four_passes():
    check_order(CHAIN)
    assert [step.name for step in CHAIN] == ["separate", "prune", "distill", "quantize"]
    assert fields_of(CHAIN[-1])["mode"] == "auto"


def test_each_sentence_has_its_numbers_from_the_ledger():
    result, alone, designed = findings([line("original"), SMALL, LAST, ALONE, DESIGNED], 2)
    for part in ("85.0 times smaller", "19.4 times faster", "98.5 % against 99.0 %", "600 recordings"):
        assert part in result
    assert "0.50 points lost (95 %, paired: 0.00 to 1.00)" in result
    assert "reaches 97.8 %" in alone and "reaches 98.7 %" in alone
    assert "55.0 µs and 40 KB at 98.0 %" in designed and "19.0 µs and 20 KB" in designed


@pytest.mark.parametrize("unknown", ["drop", "metric", "speedup", "median_ms"])
def test_what_was_not_measured_is_left_out_and_nothing_breaks(unknown):
    said = findings([line("original"), SMALL, replace(LAST, **{unknown: None}), ALONE, DESIGNED], 2)
    assert len(said) == 3 and "None" not in " ".join(said) and " 0.0 " not in " ".join(said)


def test_the_control_starts_from_new_weights_and_leaves_the_taught_ones():
    model = from_entry(find("dscnn-fsdd"), tiny=True)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    forgotten = _forgotten(model, seed=1)
    fresh, again = forgotten.network.state_dict(), _forgotten(model, seed=1).network.state_dict()
    weights = [name for name, value in before.items() if value.ndim > 1]
    assert weights and not any(torch.equal(fresh[name], before[name]) for name in weights)
    assert all(torch.equal(model.network.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(fresh[name], value) for name, value in again.items())
