"""A closer look at static int8, layer by layer: what each costs in the outputs, and what it gains in time.

From it follow candidates in which some layers stay in float: those that cost most, until the score is kept, and those
that gain nothing. Proposals only: each is judged and timed like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from types import MappingProxyType

import onnx_ir as ir

from compress.base import Context
from compress.quantization.by_turns import one_sample
from compress.quantization.candidates import IN_INT8, Candidate, Maker
from compress.quantization.carriers import CARRIERS, EXACT
from compress.quantization.cheapest_split import cheapest_floats
from compress.quantization.field import Field, Floats
from compress.quantization.layer_times import LayerTimes, layer_times, slower
from compress.quantization.onnx_weights import everywhere
from compress.quantization.placement import Placement
from compress.quantization.sensitivity import sensitivities
from compress.quantization.turned import written_out
from compress.quantization.ways import Way
from models.records import Arrays

COSTS = "of all layers it costs most in int8"
SLOW = "in int8 it is no faster than in float"


@dataclass(frozen=True)
class Study:
    """What was found out about the layers of the main graph.

    Args:
        whole: the candidate that was looked at, with all layers in int8 that can be.
        placement: of its layers.
        sensitivities: SQNR of the outputs with one layer alone in int8, in decibels.
        times: of its nodes; None where nothing may be timed.
    """

    whole: Candidate
    placement: Placement
    sensitivities: Mapping[str, float] = field(default_factory=dict)
    times: LayerTimes | None = None

    def after_us(self, name: str) -> float:
        """What a layer takes in int8 with the conversions beside it, each counted once; infinite where it has none."""
        node = next((n for n in self.placement.chosen if n.name == name), None)
        if self.times is None or node is None:
            return math.inf
        read = (v.name or "" for v in self.placement.reads(node) if _first_reader(self.placement, v) is node)
        given = (v.name or "" for v in self.placement.results(node))
        return (
            self.times.after.get(name, 0.0)
            + sum(self.times.rounding.get(tensor, 0.0) for tensor in read)
            + sum(self.times.back.get(tensor, 0.0) for tensor in given)
        )


def _first_reader(placement: Placement, value: ir.Value) -> ir.Node | None:
    return next((use.node for use in value.uses() if use.node in placement.chosen), None)


def study(maker: Maker, whole: Candidate, unseen: Sequence[Arrays], context: Context, *, clock: bool) -> Study:
    """Look at a static candidate.

    Args:
        maker: of the candidate.
        whole: with all layers in int8 that can be.
        unseen: data to judge on.
        context: for its stopwatch's threads, and to be told how far this is.
        clock: whether times taken here are the target's.
    """
    network = maker.model.onnx.clone()
    written_out(network)
    floats = {note.layer: note.text for note in (*whole.skipped, *whole.changed) if not IN_INT8.match(note.text)}
    placement = maker.placing.place(network, floats)
    layers = [node.name or "" for node in everywhere(network) if node in placement.chosen - placement.carriers]
    found = sensitivities(maker, whole.way, layers, unseen, progress=context.progress)
    times = None
    if clock and context.measure is not None:
        feed = one_sample(maker.model, unseen)
        times = layer_times(maker.model, whole.model, placement, feed, threads=context.measure.threads)
    return Study(whole, placement, found, times)


def explore(field: Field, looked: Study) -> None:
    """Offer what follows: as few costly layers in float as keep the score; those too that gain nothing; more carriers.

    More carriers lose something with each tensor that is rounded for them, and some are slower in integers: where they
    could be, the clock and the judge decide.
    """
    way = looked.whole.way
    cut, *others = [[]] if looked.times is None else _quicker(looked.placement, looked.times)
    mixtures: list[tuple[Way, Floats]] = []
    if any(loss.keeps for _, loss in field.of_kind("static")):
        mixtures = [(way, Floats(dict.fromkeys(names, SLOW))) for names in ([], cut, *others)]
    else:
        if (kept := _kept(field, looked, Floats({}))) is not None:
            way, floats = kept
            mixtures = [(way, Floats({**floats, **dict.fromkeys(names, SLOW)})) for names in ([], *others)]
        if cut and (kept := _kept(field, looked, Floats(dict.fromkeys(cut, SLOW)))) is not None:
            mixtures.append(kept)
    for way, mixture in mixtures:
        wider = looked.times is not None and _goes_further(field.maker, mixture)
        for operators, wide in product((False, True) if field.maker.scheme.fuses else (False,), (False, True)):
            if (wider if wide else mixture) and len(mixture) < len(looked.sensitivities or looked.placement.layers):
                field.try_without(replace(way, operators=operators, wide=wide), mixture)


def _kept(field: Field, looked: Study, base: Floats) -> tuple[Way, Floats] | None:
    """How the score is kept with as few layers in float as it takes, beside those of the base; None where it is not.

    Their weights are stored in 8 bits, or in half where that is what loses.
    """
    way = looked.whole.way
    for stored in dict.fromkeys((way, replace(way, half_rest=way.store_rest))):
        if (floats := fewest_floats(field, looked.sensitivities, stored, base)) is not None:
            return stored, floats
    return None


def _quicker(placement: Placement, times: LayerTimes) -> list[list[str]]:
    """Sets of layers that may be left in float for the sake of time: by a cut, which may be empty, and others."""
    cut = cheapest_floats(placement, times)
    if len(cut) == len(placement.layers):
        cut = []  # that is float
    return [cut, *(names for names in slower(placement, times) if set(names) != set(cut))]


def _goes_further(maker: Maker, floats: Floats) -> bool:
    """Whether more computes in integers where any carrier may start from float tensors."""
    network = maker.model.onnx.clone()
    written_out(network)
    few, more = (maker.placing.place(network, {**maker.floats, **floats}, one).carriers for one in (EXACT, CARRIERS))
    return len(more) > len(few)


def fewest_floats(
    field: Field,
    costs: Mapping[str, float],
    way: Way,
    base: Mapping[str, str] = MappingProxyType({}),
    *,
    most: int | None = None,
) -> Floats | None:
    """The costliest layers, as few as must stay in float for the score to be kept; None where that is all of them.

    The candidate that was found is offered.

    Args:
        field: that judges.
        costs: SQNR of the outputs with one layer alone in int8, by layer.
        way: how to make it.
        base: layers that stay in float beside them, each with the reason.
        most: how many may stay in float beside the base; all but one where it is not said.
    """
    ranked = sorted((name for name in costs if name not in base), key=lambda name: costs[name])

    def floats(count: int) -> Floats:
        return Floats({**base, **dict.fromkeys(ranked[:count], COSTS)})

    count = field.fewest(
        len(ranked) - 1 if most is None else min(most, len(ranked) - 1),
        lambda count: field.name_without(way, floats(count)),
        lambda count: field.without(way, floats(count)),
        least=0 if base else 1,
    )
    return None if count is None else floats(count)
