import itertools
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.base import Context
from compress.pruning.latency import Latency
from compress.pruning.onnx_widths import AtWidths
from compress.pruning.polynomial import Polynomial
from compress.pruning.prune import Prune
from compress.pruning.units import analyse, groups_of
from compress.pruning.widths import counts_of, widths_of
from export.cost import cost
from export.onnx_file import weight_bytes
from export.session import onnx_runner
from export.stopwatch import Stopwatch
from export.wrap import Model, from_entry
from models import find
from models.errors import CompressError, UsageError
from models.records import example, sizes_of
from tests.compress.dead_units import count
from tests.compress.networks import spec

VECTOR = (spec("x", "N", 10),)


def chain(*widths):
    torch.manual_seed(0)
    pairs = itertools.pairwise(widths)
    layers = [layer for one, other in pairs for layer in (nn.Linear(one, other), nn.ReLU())]
    return Model(nn.Sequential(*layers[:-1]).eval(), VECTOR, name="chain")


@pytest.fixture(scope="module")
def model():
    return chain(10, 40, 24, 4)


@pytest.mark.parametrize("kind", ["params", "macs", "bytes"])
@pytest.mark.parametrize("share", [0.3, 0.72])
def test_what_remains_is_what_was_asked_and_hardly_less(model, kind, share):
    outcome = Prune(target=f"{kind}={share}", recover=0)(model, Context())
    name = {"params": "parameters"}.get(kind, kind)
    before, after = (getattr(cost(m), name) for m in (model, outcome.model))
    assert 0.9 * share <= after / before <= share
    assert outcome.facts["target_after"] == {kind: after}
    assert outcome.facts["target_remaining"] == {kind: pytest.approx(after / before)}


@pytest.mark.parametrize("shares", [(0.3, 0.9), (0.9, 0.3), (0.5, 0.4)], ids=str)
def test_several_shares_are_all_kept_and_one_of_them_hardly_missed(shares):
    """A convolution before a stride has few parameters and most multiply-adds, so the two ask for other widths."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 9, 40)]
    network = nn.Sequential(*layers, nn.ReLU(), nn.Linear(40, 4))
    model = Model(network.eval(), (spec("x", "N", 3, 14, 14),), name="strided")
    outcome = Prune(target=f"params={shares[0]},macs={shares[1]}", multiple=1, recover=0)(model, Context())
    before, after = cost(model), cost(outcome.model)
    told = outcome.facts["target_remaining"]
    assert told == {"params": after.parameters / before.parameters, "macs": after.macs / before.macs}
    over = [told[kind] / share for kind, share in zip(("params", "macs"), shares, strict=True)]
    assert 0.9 <= max(over) <= 1


def test_a_width_that_the_user_likes_is_kept_to(model):
    outcome = Prune(target="params=0.7", multiple=8, recover=0)(model, Context())
    assert all(kept % 8 == 0 for _, _, kept in outcome.facts["widths"])


def test_what_matters_most_stays_where_it_is(model):
    """Dead units go before any that live."""
    network = Prune(ratio=0.0, recover=0)(model, Context()).model.module
    with torch.no_grad():
        for layer, position in (("0", 0), ("2", 1)):
            network.get_submodule(layer).weight.index_fill_(position, torch.arange(20), 0)
    outcome = Prune(target="params=0.6", multiple=1, recover=0)(replace(model, network=network), Context())
    kept = dict((layer, n) for layer, _, n in outcome.facts["widths"])
    assert kept == {"0": 20, "2": 24}


def test_a_target_out_of_reach_says_what_is_least_and_what_holds_the_rest():
    model = chain(10, 40, 24, 4)
    with pytest.raises(CompressError) as caught:
        Prune(target="params=0.3", skip=("2",), recover=0)(model, Context())
    text = str(caught.value)
    assert text.startswith("prune: params=0.3 asked of 'chain', and the least that can be reached is params=1.000")
    assert "'0' keeps its 40 units ('2' is skipped)" in text
    with pytest.raises(CompressError, match=r"the least .* is params=0\.\d+, with 20 units \(min_units\) left"):
        Prune(target="params=0.1", min_units=20, recover=0)(model, Context())
    with pytest.raises(CompressError, match="which has no macs"):
        Prune(target="macs=0.5", recover=0)(
            Model(nn.Embedding(9, 8), (spec("w", "N", dtype="int64", high=9),)), Context()
        )


def test_kilobytes_are_those_of_the_exported_weights(model):
    outcome = Prune(target="kb=3", recover=0)(model, Context())
    assert 2.7 <= outcome.facts["target_measured"] <= 3
    assert outcome.facts["target_measured"] == 4 * count(outcome.model) / 1000  # linear layers: floats, nothing else
    already = Prune(target="kb=50", recover=0)(model, Context())
    assert already.model is model and "kb=50 asked, and it has" in already.skipped[-1].text


@pytest.mark.parametrize("name", ["gru-fsdd", "transformer-char"])
def test_two_exports_tell_a_file_of_any_widths(name):
    model = from_entry(find(name), weights=False, tiny=True)
    ties = analyse(model)
    found = list(groups_of(ties))
    widths = widths_of(ties, found, multiple=1, min_units=1)
    at = AtWidths(model, (), ties, found, widths)
    chosen = tuple(max(1, w.size // 2) for w in widths)
    made, true = at(chosen), at.export(chosen)
    assert at.exports in (3, 4)  # whole, cut once or twice, and the true one
    assert counts_of(widths, chosen) and weight_bytes(made) == weight_bytes(true) < weight_bytes(at(at.full))
    assert [s.dims for s in made.inputs] == [s.dims for s in true.inputs]
    one, other = ({n: v.const_value.shape for n, v in m.onnx.graph.initializers.items()} for m in (made, true))
    assert one == other
    given = example(true.inputs, sizes_of(model))
    one, other = (onnx_runner(m)(given) for m in (made, true))
    assert {n: v.shape for n, v in one.items()} == {n: v.shape for n, v in other.items()}


def test_a_forecast_gives_back_what_two_narrow_neighbours_would_save_twice():
    """On a clock that counts multiply-adds it is exact: 10 a, a b and 4 b of a chain, at 2 ms each, and 5 ms beside."""
    macs = Polynomial.of({(0,): 10.0, (0, 1): 1.0, (1,): 4.0})
    full = (8, 6)

    def clock(*widths):
        return 5 + 2 * float(macs(widths))

    points = (tuple((n, clock(n, 6)) for n in (1, 4, 8)), tuple((n, clock(8, n)) for n in (2, 6)))
    table = Latency(clock(*full), points, macs, full)
    assert table.ms_per_mac() == pytest.approx(2)
    for widths in itertools.product((1, 3, 4, 8), (2, 5, 6)):
        assert float(table(widths)) == pytest.approx(clock(*widths))


def test_milliseconds_are_measured_or_refused():
    model = chain(10, 256, 4)
    with pytest.raises(UsageError, match=re.escape("prune: ms=1 asked for device 'rp2040', and this machine is not")):
        Prune(target="ms=1", recover=0)(model, Context(device="rp2040"))
    quick = Context(measure=Stopwatch(seconds=0.02, turn_ms=0.5))
    with pytest.raises(CompressError, match=r"prune: ms=1e-06 asked of 'chain', and of [\d.]+ ms, the least .* is ms="):
        Prune(target="ms=1e-6", recover=0)(model, quick)
    already = Prune(target="ms=60000", recover=0)(model, quick)
    assert already.model is model and "ms=60000 asked, and it takes" in already.skipped[-1].text
    with pytest.raises(CompressError, match="the least that can be reached is all of it"):
        Prune(target="ms=1e-6", skip=("*",), recover=0)(model, quick)


def test_rounds_end_where_one_shot_ends():
    model = chain(10, 40, 24, 4)
    batches = [{"x": x.numpy()} for x in torch.randn(4, 8, 10, generator=torch.Generator().manual_seed(0))]
    context = Context(calibration=batches)
    once = Prune(target="params=0.5", recover=7)(model, context)
    thrice = Prune(target="params=0.5", recover=7, rounds=3)(model, context)
    assert count(once.model) == count(thrice.model) and once.changed == thrice.changed
    assert thrice.facts["rounds"] == 3 and thrice.facts["steps"] == once.facts["steps"] == 7
    by_ratio = Prune(ratio=0.5, recover=0, rounds=4)(model, context)
    assert count(by_ratio.model) == count(Prune(ratio=0.5, recover=0)(model, context).model)
    with pytest.raises(UsageError, match="prune: rounds 0 asked, and it must be 1 or more"):
        Prune(rounds=0)
