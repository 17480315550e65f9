"""What one sweep over the data saw of a model's tensors, in all its forms; any method takes its ranges from that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from compress.base import Progress
from compress.quantization.calibration import form_histograms, histograms
from compress.quantization.carriers import CARRIERS
from compress.quantization.histogram import Histogram, Range
from compress.quantization.placement import place
from compress.quantization.range_methods import Method, range_by
from compress.quantization.turned import written_out
from export.forms import MAIN
from models.records import Arrays, Model

Ranges = dict[str, Range]


@dataclass(frozen=True)
class Calibrated:
    """The histograms of the main graph's tensors by name, and of those of each further form.

    Args:
        symmetric: whether grids will be symmetric around zero.
    """

    main: Mapping[str, Histogram] = field(default_factory=dict)
    forms: Mapping[str, Mapping[str, Histogram]] = field(default_factory=dict)
    symmetric: bool = False

    def ranges(self, method: Method = "minmax") -> tuple[Ranges, dict[str, Ranges]]:
        """Range of each tensor: in the main graph, in each form."""
        return self._of(self.main, method), {form: self._of(seen, method) for form, seen in self.forms.items()}

    def _of(self, seen: Mapping[str, Histogram], method: Method) -> Ranges:
        return {name: range_by(method, one, symmetric=self.symmetric) for name, one in seen.items()}


def look(
    model: Model,
    batches: Iterable[Arrays],
    *,
    skip: Sequence[str] = (),
    everything: bool = False,
    counted: bool = True,
    symmetric: bool = False,
    products: bool = False,
    wide: bool = False,
    progress: Progress | None = None,
) -> Calibrated:
    """See, in one sweep, the tensors that static int8 may round, or all that is computed.

    Args:
        model: ONNX.
        batches: to calibrate with; re-iterable where the model has several forms.
        skip: patterns of layers that stay in float.
        everything: look at all tensors; of those that nothing rounds at the finite numbers alone.
        counted: whether to count values; without, only the method "minmax" has a range.
        symmetric: whether grids will be symmetric around zero.
        products: whether products of two activations may be rounded.
        wide: whether carriers may start from float tensors; of those that hold NaN or infinity there is then no range.
        progress: told of each run.
    """

    def rounded_in(network: ir.Model, *, wide: bool) -> list[str]:
        written_out(network := network.clone())
        placement = place(network, skip=skip, products=products, starting=CARRIERS if wide else ())
        # the tensor itself too: where only a part computes in integers, what shared a grid may need its own
        return [v.name or "" for value in placement.rounded for v in (placement.root(value), value)]

    graphs: dict[str, ir.Model] = {MAIN: model.onnx, **{form: part.network for form, part in model.forms.items()}}
    rounded = {form: dict.fromkeys(rounded_in(network, wide=False)) for form, network in graphs.items()}
    found = {form: rounded_in(network, wide=True) if wide else [] for form, network in graphs.items()}
    further = {form: [name for name in dict.fromkeys(found[form]) if name not in rounded[form]] for form in graphs}
    # of what is not rounded an infinity is no harm: a mask holds some, and half precision has them too
    others = {form: _computed(graph, rounded[form]) if everything else [] for form, graph in graphs.items()}
    names = {form: [*rounded[form], *further[form], *others[form]] for form in graphs}
    main = names.pop(MAIN)
    of_forms = {form: wanted for form, wanted in names.items() if wanted}
    known = (
        histograms(
            model, main, batches, counted=counted, finite_of=others[MAIN], if_finite=further[MAIN], progress=progress
        )
        if main
        else {}
    )
    return Calibrated(
        known,
        form_histograms(model, of_forms, batches, counted=counted, finite_of=others, if_finite=further),
        symmetric,
    )


def _computed(network: ir.Model, rounded: Collection[str]) -> list[str]:
    """Names of what the nodes of the main graph give beside what is rounded."""
    values = (value for node in network.graph for value in node.outputs)
    return list(dict.fromkeys(value.name for value in values if value.name and value.name not in rounded))
