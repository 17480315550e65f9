"""The layers that a least cut leaves in float, against all ways to split small networks."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.quantization.cheapest_split import cheapest_floats
from compress.quantization.layer_times import LayerTimes, maker_of
from compress.quantization.placement import place
from export.folded import fold
from tests.compress.onnx_nets import attention, conv_net, depthwise_net, residual_net

PLACEMENTS = [place(fold(build()).network) for build in (conv_net, depthwise_net, residual_net, attention)]


def total(placement, times, floats):
    """What the nodes take, and each tensor that has makers and readers of both kinds."""
    inside = placement.chosen - floats
    spent = sum((times.after if node in inside else times.before)[node.name] for node in placement.chosen)
    for value in placement.rounded:
        made = maker_of(value) in inside
        readers = [use.node in inside for use in value.uses()] + [False] * value.is_graph_output()
        spent += times.conversion(value.name) * ((any(readers) and not made) or (made and not all(readers)))
    return spent


def times_of(placement, draw):
    nodes = [node.name for node in placement.chosen]
    before, after = ({name: draw(st.integers(1, 60)) for name in nodes} for _ in range(2))
    elements = {value.name: draw(st.integers(0, 20_000)) for value in placement.rounded}
    return LayerTimes(before, after, {}, {}, elements)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_split_takes_less(data):
    placement = data.draw(st.sampled_from(PLACEMENTS))
    times = times_of(placement, data.draw)
    names = cheapest_floats(placement, times)
    layers, carriers = list(placement.layers), list(placement.carriers)
    fixed = {node for node in layers if node.name in names}
    found = min(
        total(placement, times, fixed | set(some))
        for count in range(len(carriers) + 1)
        for some in itertools.combinations(carriers, count)
    )
    least = min(
        total(placement, times, set(some))
        for count in range(len(layers) + len(carriers) + 1)
        for some in itertools.combinations([*layers, *carriers], count)
    )
    assert found == pytest.approx(least, rel=1e-3)


def test_two_layers_that_only_gain_together_are_found():
    """The first is slower in integers, but its result is larger than what it reads; the second gives less again."""
    placement = place(fold(conv_net()).network)
    stem, body, head = (node.name for node in placement.layers)
    big, small = (next(v.name for v in placement.rounded if maker_of(v) is n) for n in list(placement.layers)[:2])
    before = {**{node.name: 1.0 for node in placement.chosen}, stem: 10.0, body: 10.0, head: 50.0}
    after = {**{node.name: 1.0 for node in placement.chosen}, stem: 30.0, body: 30.0, head: 10.0}
    times = LayerTimes(before, after, {"x": 3.0}, {}, {big: 10_000, small: 500})
    assert cheapest_floats(placement, times) == [stem, body]


def test_where_nothing_takes_any_time_nothing_is_proposed():
    placement = PLACEMENTS[0]
    assert cheapest_floats(placement, LayerTimes({}, {}, {}, {}, {})) in ([], [n.name for n in placement.layers])
