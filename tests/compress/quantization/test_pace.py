"""A mode that was asked for and is slower says so; what is timed elsewhere, or only stored, says nothing."""

import pytest

from compress.base import Context, Note
from compress.quantization.candidates import Candidate
from compress.quantization.pace import against_the_file, in_words, slower_here
from compress.quantization.ways import Way
from export.device import find_device
from export.stopwatch import Stopwatch
from models.records import InputSpec
from tests.compress.onnx_nets import Net


def deep(layers):
    """So many times the work of one layer."""
    net, x = Net(), "x"
    for number in range(layers):
        x = net.linear(x, 256, 256, name=f"layer{number}")
    return net.model((InputSpec(name="x", dtype="float32", dims=("N", 256)),), {"y": ("N", 256)})


def made(layers, kind="static"):
    return Candidate(f"{kind} per channel", deep(layers), (Note("layer0", "in int8"),), (), Way(kind=kind))


def told(one, *, device="any", clock=True):
    context = Context(measure=Stopwatch(seconds=0.05) if clock else None)
    return slower_here(deep(4), one, context, find_device(device), [])


def against(came, one, *, device="any", clock=True):
    context = Context(measure=Stopwatch(seconds=0.05) if clock else None)
    return against_the_file(came, deep(4), one, context, find_device(device), [])


def test_what_takes_eight_times_as_long_is_told_and_what_takes_a_quarter_is_not():
    assert 0 < told(made(32))["slower"] < 0.5
    assert told(made(1)) == {}


@pytest.mark.parametrize("how", [{"clock": False}, {"device": "stm32h743"}])
def test_without_a_clock_or_for_another_machine_nothing_is_told(how):
    assert told(made(32), **how) == {}


def test_what_only_stores_eight_bits_is_not_timed():
    assert told(made(32, "weights")) == {}


def test_the_file_as_it_came_is_what_a_user_compares_with():
    """Where it runs as the prepared network does there is nothing to tell."""
    found = against(deep(32), made(1))
    assert found.verdict == "faster" and found.speedup > 4
    assert in_words(found) == f"{found.speedup:.2f} times as fast as the file as it came"
    assert against(deep(1), made(32)).verdict == "slower"
    assert against(deep(4), made(1)) is None


@pytest.mark.parametrize("how", [{"clock": False}, {"device": "stm32h743"}])
def test_the_file_is_timed_only_where_times_count(how):
    assert against(deep(32), made(1), **how) is None
