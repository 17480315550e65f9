"""The cut is the best of all choices, tried one by one, and of those as good the one with the fewest in integers."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from compress.quantization.fewest_conversions import Tensors

NODES = st.integers(0, 7)  # 0 to 4 are free, 5 and 6 in integers, 7 in float
TENSORS = st.lists(st.tuples(NODES, st.lists(NODES, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=9)
FREE, BOUND = range(5), (5, 6)


def conversions(tensors, integers):
    """How many tensors are converted, counted as it is said."""
    total = 0
    for producer, readers, either in tensors:
        kinds = {reader in integers for reader in readers}
        total += len(kinds) - 1 if either else len(kinds - {producer in integers})
    return total


@settings(max_examples=150, deadline=None)
@given(TENSORS)
def test_no_choice_converts_less_and_none_as_good_has_fewer_in_integers(tensors):
    found = Tensors(BOUND, FREE)
    for key, (producer, readers, either) in enumerate(tensors):
        found.add(key, producer, readers, either=either)
    choices = [{node for node, taken in zip(FREE, bits, strict=True) if taken} for bits in product((0, 1), repeat=5)]
    counts = {frozenset(choice): conversions(tensors, {*choice, *BOUND}) for choice in choices}
    chosen = found.in_integers()
    least = min(counts.values())
    assert counts[frozenset(chosen)] == least
    assert all(chosen <= other for other, count in counts.items() if count == least)


def test_a_sum_that_nobody_needs_in_integers_stays_in_float():
    """One map from a layer, one in float, read in float: rounding the second saves nothing."""
    tensors = Tensors({"layer"}, {"sum"})
    tensors.add("map", "layer", ["sum"])
    tensors.add("other", None, ["sum"])
    tensors.add("result", "sum", [None])
    assert tensors.in_integers() == set()


def test_a_chain_goes_over_together_where_no_node_would_alone():
    tensors = Tensors({"first", "last"}, {"sum", "act"})
    tensors.add("map", "first", ["sum"])
    tensors.add("other", None, ["sum", "act"])
    tensors.add("acted", "act", ["first"])
    tensors.add("result", "sum", ["last"])
    assert tensors.in_integers() == {"sum", "act"}
