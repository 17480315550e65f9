import re
from xml.etree import ElementTree

import pytest

from benchmarks import plots

POINTS = [
    ("original", 1_747_000, 1.0, 0.99, 1.0),
    ("prune", 60_000, 0.985, 0.975, 0.993),
    ("int8", 21_000, 0.98, 0.97, 1),
]
BARS = [("original", 0.369, 0.367, 0.372), ("int8", 0.024, 0.023, 0.025)]
BEFORE, AFTER = [("conv", 9000.0), ("head", 640.0)], [("conv.0", 90.0), ("conv.1", 900.0), ("head", 640.0)]

EVERY = {
    "size_against_score": lambda name: plots.size_against_score([(name, 100, 0.5, 0.4, 0.6), *POINTS], metric=name),
    "latency": lambda name: plots.latency([(name, 1, 1, 1), *BARS]),
    "layers": lambda name: plots.layers([(name, 5), *BEFORE], AFTER, name),
}


@pytest.mark.parametrize("plot", EVERY.values(), ids=EVERY)
def test_a_plot_is_one_element_without_scripts_or_colours_of_its_own(plot):
    svg = plot("dense")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("aria-label")
    assert not re.search(r"<script|<image|https?://(?!www\.w3\.org)", svg)
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{3,6}", svg)
    assert "currentColor" in svg and "var(--accent" in svg and "var(--soft" in svg


@pytest.mark.parametrize("plot", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("name", ["a<b>&\"c' $x_ 層", "", "$x$" + "n" * 200], ids=["letters", "none", "long"])
def test_any_name_can_be_drawn(plot, name):
    assert name[-4:] in "".join(ElementTree.fromstring(plot(name)).itertext())


@pytest.mark.parametrize("plot", EVERY.values(), ids=EVERY)
def test_the_same_numbers_give_the_same_bytes(plot):
    assert plot("dense") == plot("dense")


def test_two_plots_on_a_page_share_no_id():
    pictures = [plots.latency(BARS), plots.size_against_score(POINTS), plots.layers(BEFORE, AFTER, "bytes")]
    ids = [found for svg in pictures for found in re.findall(r' id="([^"]+)"', svg)]
    assert ids and len(ids) == len(set(ids))


def test_text_is_text_with_its_number_and_unit():
    svg = plots.latency(BARS)
    assert ">369 µs<" in svg and ">24 µs<" in svg and ">median, µs<" in svg
    assert ">2.5 ms<" in plots.latency([("slow", 2.5, 2.4, 2.6)])


def test_a_score_without_an_interval_and_sizes_that_are_equal_are_drawn():
    drawn = ElementTree.fromstring(plots.size_against_score([("a", 10, 0.5, 0.5, 0.5), ("b", 10, 0.5, 0.5, 0.5)]))
    assert {"a", "b"} <= {text.strip() for text in drawn.itertext()}


def test_parts_of_a_layer_are_summed_under_its_name():
    assert plots.merge_layers(BEFORE, AFTER) == {"conv": (9000, 990), "head": (640, 640)}


def test_a_new_layer_has_its_own_row_and_a_lost_one_ends_at_zero():
    assert plots.merge_layers([("a", 5.0)], [("ab", 7.0)]) == {"a": (5, 0), "ab": (0, 7)}


def test_the_deepest_old_name_takes_the_part():
    rows = plots.merge_layers([("block", 1.0), ("block.conv", 2.0)], [("block.conv.0", 3.0), ("block", 4.0)])
    assert rows == {"block": (1, 4), "block.conv": (2, 3)}


def test_the_smallest_of_many_layers_are_summed_and_none_is_lost():
    before = [(f"l{i}", float(i)) for i in range(40)]
    rows = plots.merge_layers(before, [(name, count / 2) for name, count in before], most=10)
    assert len(rows) == 10 and list(rows)[-1] == "31 smaller ones"
    assert sum(was for was, _ in rows.values()) == sum(range(40))
    assert rows["31 smaller ones"] == (sum(range(31)), sum(range(31)) / 2)
