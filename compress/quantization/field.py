"""The field of candidates: what there is to choose from for one model, each judged, and what is no choice and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from compress.base import Progress
from compress.quantization.candidates import IN_INT8, Candidate, Maker
from compress.quantization.choose import FLOAT, Judged
from compress.quantization.loss import Judge, Loss
from compress.quantization.refused import REFUSALS
from compress.quantization.search import fewest
from compress.quantization.ways import Kind, Way
from export.onnx_file import to_bytes
from export.profile import optimized_graph
from export.session import session
from models.errors import first_line
from models.records import Model

# operators of the optimized graph that compute in integers
INTEGER = ("QLinear", "QGemm", "MatMulInteger", "DynamicQuantize", "ConvInteger")
_ITSELF = Loss(points=0.0, text="what the others are held against", keeps=True)


class Floats(dict[str, str]):
    """Layers that stay in float, each with the reason."""

    @property
    def words(self) -> str:
        """Which they are, in short; of none nothing."""
        first, *others = self or [""]
        return f", {first}{f' and {len(others)} more' if others else ''} in float" if first else ""


@dataclass
class Field:
    """Candidates in the order in which they were made, float first.

    Args:
        maker: of the candidates.
        judge: of what each costs.
        small: whether the smallest is looked for.
        progress: told how far this is.
    """

    maker: Maker
    judge: Judge
    small: bool = False
    progress: Progress | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, int]] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    lost: list[tuple[Candidate, Loss]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make and judge the usual candidates."""
        self._take(Candidate(FLOAT, self.maker.original or self.maker.model), {}, _ITSELF)
        ways = list(self._ways())
        for position, way in enumerate(ways):
            self._tell("making candidates", position, len(ways), way.name)
            self.try_way(self._stored(way))
        both = [self.candidates[way.name] for way in ways if way.name in self.candidates]
        for way in (*_together(both), *self._unsigned()):
            self.try_way(way)

    def _ways(self) -> Iterator[Way]:
        """What is tried; static int8 only where calibration saw something."""
        scheme = self.maker.scheme
        yield Way(kind="weights")
        if self.small:  # a scale for each row of a table of words is some percent of its bytes
            yield Way(kind="weights", per_channel=False)
        yield Way(kind="fp16")
        if scheme.why_not_int8:
            return
        if self.maker.ranges:
            for per_channel in (True, False):
                for operators in (False, True) if scheme.fuses else (False,):
                    method = self.maker.calibration
                    yield Way(
                        kind="static",
                        per_channel=per_channel,
                        operators=operators,
                        store_rest=True,
                        equalize=self.maker.equalize,
                        calibration=method,
                    )
        if scheme.fuses:
            for per_channel in (True, False):  # a scale for the whole tensor is some percent faster, and coarser
                yield Way(kind="dynamic", per_channel=per_channel, store_rest=True)
            if self.maker.has_loops():
                yield Way(kind="dynamic", loops=True, store_rest=True)

    def _stored(self, way: Way) -> Way:
        """With what it leaves in float stored in half, where the weights alone cost too much in 8 bits."""
        alone = next((one for one in self.judged if one.name == "weights"), None)
        return replace(way, half_rest=way.store_rest and alone is not None and not alone.loss.keeps)

    def _unsigned(self) -> Iterator[Way]:
        """Of a kind that keeps the score in no way, all ways again in all eight bits, where sums took some of them."""
        for kind in ("static", "dynamic") if self.maker.scheme.pairs_fit else ():
            found = [(self.candidates[one.name].way, one.loss.keeps) for one in self.judged]
            ways = [(way, keeps) for way, keeps in found if way.kind == kind and not way.loops]
            if not any(keeps for _, keeps in ways):
                yield from (replace(way, unsigned=True) for way, _ in ways)

    def try_way(self, way: Way) -> None:
        """Make it and take it, unless it cannot be made or changes nothing."""
        with self.refusing(way.name):
            made = self.maker.make(way)
            nodes = self._integer_nodes(made)
            if not made.changed:
                self._refuse(way.name, "it changes no layer")
            elif self.maker.scheme.fuses and not nodes and way.kind in ("static", "dynamic"):
                self._refuse(way.name, "the runtime computes nothing of it in integers")
            else:
                self._tell("judging candidates", len(self.judged), len(self.judged) + 1, way.name)
                self._take(made, nodes, self.judge(made.model))

    @contextmanager
    def refusing(self, name: str) -> Iterator[None]:
        """Note a candidate that cannot be made or run within the block, with the reason, and leave the block."""
        try:
            yield
        except REFUSALS as error:  # an old graph that no converter raises, or one that the runtime does not take
            self._refuse(name, first_line(error))

    def offer(self, made: Candidate, loss: Loss) -> None:
        """Take one more that was judged elsewhere; one that loses too much need not be timed."""
        if not loss.keeps:
            self.lost.append((made, loss))
            self._refuse(made.name, f"it loses too much: {loss.text}")
            return
        with self.refusing(made.name):
            self._take(made, self._integer_nodes(made), loss)

    def fewest(
        self, most: int, name: Callable[[int], str], make: Callable[[int], Candidate], least: int = 1
    ) -> int | None:
        """The least number from `least` to `most` whose candidate keeps the score, and offer that one; else None."""
        tried: dict[int, tuple[Candidate, Loss]] = {}

        def keeps(count: int) -> bool:
            with self.refusing(name(count)):
                made = make(count)
                tried[count] = made, self.judge(made.model)
            return count in tried and tried[count][1].keeps

        count = 0 if least == 0 and keeps(0) else fewest(most, keeps)
        if count is not None:
            self.offer(*tried[count])
        return count

    def try_without(self, way: Way, floats: Floats) -> None:
        """Judge a candidate in which some layers stay in float, and offer it."""
        way = _signed(way, floats)
        if any(one.way == way and one.floats == set(floats) for one in self.candidates.values()):
            return
        with self.refusing(self.name_without(way, floats)):
            made = self.without(way, floats)
            self.offer(made, self.judge(made.model))

    def name_without(self, way: Way, floats: Floats) -> str:
        """What a candidate is called in which some layers stay in float: for how many they are."""
        method = "" if way.calibration == self.maker.calibration else f", {way.calibration}"
        return f"{_signed(way, floats).name}{method}{floats.words}"

    def without(self, way: Way, floats: Floats) -> Candidate:
        """A candidate in which some layers stay in float."""
        made = replace(self.maker, floats={**self.maker.floats, **floats}).make(_signed(way, floats))
        return replace(made, name=self.name_without(way, floats), floats=frozenset(floats))

    def _take(self, made: Candidate, nodes: Mapping[str, int], loss: Loss) -> None:
        made = replace(made, name=self._free(made.name))
        self.candidates[made.name], self.nodes[made.name] = made, nodes
        total = sum(nodes.values())
        half = made.way.kind == "fp16" and self.maker.scheme.half_computes
        self.judged.append(
            Judged(
                name=made.name,
                model=made.model,
                bytes=size(made.model),
                loss=loss,
                integer_nodes=total,
                half=half,
            )
        )

    def _free(self, name: str) -> str:
        """The name, with a number where another set of layers is told by the same words."""
        same = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
        return next(each for each in same if each not in self.candidates)

    def _refuse(self, name: str, why: str) -> None:
        self.refused.append({"name": name, "refused": why})

    def _integer_nodes(self, made: Candidate) -> Mapping[str, int]:
        """Of the main form; the others, which are timed and not judged, are loaded to see that they can be."""
        for form in made.model.forms:
            session(made.model, form=form)
        return integer_nodes(made.model) if self.maker.scheme.fuses and made.way.kind in ("static", "dynamic") else {}

    def _tell(self, what: str, done: int, total: int, detail: str) -> None:
        if self.progress is not None:
            self.progress(what, done, total, detail=detail)

    def of_kind(self, kind: Kind) -> list[tuple[Candidate, Loss]]:
        """Those of static int8, or another kind, with what they cost."""
        pairs = [(self.candidates[one.name], one.loss) for one in self.judged]
        return [pair for pair in pairs if pair[0].way.kind == kind]


def _signed(way: Way, floats: Floats) -> Way:
    """Without the unsigned layers that are in float."""
    return replace(way, unsigned_layers=tuple(name for name in way.unsigned_layers if name not in floats))


def _together(made: list[Candidate]) -> Iterator[Way]:
    """Static int8 whose rest computes with the ranges of the moment, where each of the two has layers of its own."""
    static = next((one for one in made if one.way.kind == "static"), None)
    for dynamic in made:
        fits = dynamic.way.kind == "dynamic" and dynamic.way.per_channel
        if static is not None and fits and computing(dynamic) - computing(static):
            yield replace(static.way, dynamic_rest=True, loops=dynamic.way.loops)


def computing(made: Candidate) -> set[str]:
    """The layers that a candidate computes in int8."""
    return {note.layer for note in made.changed if IN_INT8.match(note.text)}


def integer_nodes(model: Model) -> dict[str, int]:
    """How many integer nodes of each operator the runtime's optimized graph has."""
    return {op: n for op, n in optimized_graph(model).items() if op.startswith(INTEGER)}


def size(model: Model) -> int:
    """Bytes of all forms' files."""
    parts = [
        replace(model, network=form.network, inputs=form.inputs, outputs=form.outputs) for form in model.forms.values()
    ]
    return sum(len(to_bytes(replace(part, forms={}))) for part in (model, *parts))
