import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.pruning.costs import bytes_in, macs_in, parameters_in
from compress.pruning.onnx_widths import cut_to
from compress.pruning.units import analyse, groups_of
from compress.pruning.widths import counts_of, numbers_of, widths_of
from export.cost import cost
from export.lift import lift
from export.wrap import from_entry
from models import find
from models.records import Model
from tests.compress.networks import NETWORKS

# between them: grouped, depthwise and transposed convolutions, concatenation, attention with tied tables, einsum, cells
NAMES = ("grouped", "inverted", "dense", "tied-transformer", "conv-recurrent")


@functools.cache
def analysed(name):
    if name.endswith("fsdd"):
        model = from_entry(find(name), weights=False, tiny=True)
    else:
        network = next(n for n in NETWORKS if n.name == name)
        found = lift(network.module(), network.inputs)
        model = Model(network=found.network, inputs=network.inputs, outputs=found.outputs)
    ties = analyse(model)
    found = list(groups_of(ties))
    return model, ties, found, widths_of(ties, found, multiple=1, min_units=1)


def counted(model, ties, widths):
    numbers = numbers_of(widths)
    return parameters_in(ties, numbers), macs_in(ties, numbers, model), bytes_in(ties, numbers)


@pytest.mark.parametrize("name", [*NAMES, "gru-fsdd"])
@settings(deadline=None, max_examples=4)
@given(st.data())
def test_costs_in_closed_form_are_those_of_the_network_after_the_cut(name, data):
    model, ties, found, widths = analysed(name)
    assert widths
    for chosen in (
        tuple(w.size for w in widths),
        tuple(data.draw(st.sampled_from(w.choices)) for w in widths),
    ):
        true = cost(cut_to(model, (), found, counts_of(widths, chosen)))
        assert [round(float(p(chosen))) for p in counted(model, ties, widths)] == [
            true.parameters,
            true.macs,
            true.bytes,
        ]


def test_many_widths_at_once_cost_what_each_costs():
    model, ties, _, widths = analysed("dense")
    rows = np.array([[w.choices[i % len(w.choices)] for w in widths] for i in range(5)])
    for polynomial in counted(model, ties, widths):
        assert polynomial(rows).tolist() == [float(polynomial(row)) for row in rows]
