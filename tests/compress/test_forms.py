"""Passes on networks of several forms: one cut for all, and what the forms hand to each other is the network's own."""

import dataclasses

import numpy as np
import pytest
import torch

from compress.base import Context
from compress.pruning.prune import Prune
from compress.pruning.units import groups
from export.forms import examples, handed_over, own_names, parts, run_all
from export.parity import verify
from export.session import runner_for
from export.stream import growing, initial_state, stream
from export.to_onnx import to_onnx
from models.records import sizes_of
from tests.compress.dead_units import dead_and_cut
from tests.compress.many_forms import BY_NAME, FORMED, lifted

NAMES = list(BY_NAME)


def answers(model, batch):
    run = runner_for(model)
    runners = {"main": run, **run.forms}
    return {form: outputs for form, _, outputs in run_all(model, batch, lambda form, given: runners[form](given))}


@pytest.mark.parametrize("name", NAMES)
def test_dead_units_leave_no_trace_in_any_form_when_they_are_cut(name):
    model = lifted(name)
    dead, smaller = dead_and_cut(model)
    batch = examples(model, {letter: size + 2 for letter, size in sizes_of(model).items()})
    want, have = answers(dead, batch), answers(smaller, batch)
    assert list(want) == list(have) and len(want) == 1 + len(model.forms)
    for form in want:
        own = own_names(parts(model), form)
        for output in want[form].keys() - own:
            assert np.abs(want[form][output]).max() > 1e-3
            np.testing.assert_allclose(have[form][output], want[form][output], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("translator", {"memory": ("N", "S", 6), "h": ("N", 6), "h_out": ("N", 6)}),
        ("cached", {"keys": ("N", 2, "P", 4), "values_out": ("N", 2, "P+T", 4)}),
        ("cached-translator", {"memory_key": ("N", "S", 6), "key": ("N", "P", 6), "value_out": ("N", "P+T", 6)}),
        ("dialogue", {"utterance": ("N", 6), "heard": ("N", 6), "told": ("N", 4), "h": ("N", 6)}),
        ("variational", {"z": ("N", 4), "mean": ("N", 4)}),
    ],
)
def test_what_is_handed_over_is_narrower_everywhere_and_nothing_else_is(name, widths):
    model = lifted(name)
    outcome = Prune(recover=0, multiple=1)(model, Context())
    before, after = parts(model), parts(outcome.model)
    found = {s.name: s.dims for form in after.values() for s in (*form.inputs, *form.outputs)}
    assert {n: found[n] for n in widths} == widths
    for form, part in before.items():
        own = own_names(before, form)
        assert [s for s in part.inputs if s.name not in own] == [s for s in after[form].inputs if s.name not in own]
    assert after["main"].outputs == before["main"].outputs
    assert sum(p.numel() for p in outcome.model.module.parameters()) < 0.75 * sum(
        p.numel() for p in model.module.parameters()
    )


def test_prune_says_what_is_narrower_and_who_hands_it_to_whom():
    notes = [n.text for n in Prune(recover=0, multiple=1)(lifted("translator"), Context()).changed if not n.layer]
    assert notes == [
        "'memory', which form 'encode' hands to form 'step', is ['N', 'S', 6], it was ['N', 'S', 12]",
        "state 'h' of form 'step' is ['N', 6], it was ['N', 12]",
    ]


def test_what_the_main_form_takes_or_gives_is_never_handed_over():
    assert handed_over(parts(lifted("variational"))) == {}
    assert handed_over(parts(lifted("dialogue"))) == {"utterance": "read", "h": "listen", "told": "listen"}
    (code,) = [g for g in groups(lifted("variational")) if "mean.weight[0]" in g.places]
    assert "decoder.weight[1]" in code.places and code.reason == "it is an input, 'z', of form 'decode'"


def test_a_width_that_two_forms_name_is_one_group():
    found = {place: group for group in groups(lifted("dialogue")) for place in group.places}
    assert found["start.weight[0]"] == found["writer.weight_hh_l0[1]"]
    assert found["reader.weight_hh_l0[1]"] == found["context.weight_ih[1]"]
    assert not found["start.weight[0]"].reason and not found["reader.weight_hh_l0[1]"].reason


def test_the_same_name_of_another_rank_is_left_alone():
    model = lifted("translator")
    step = model.forms["step"]
    longer = dataclasses.replace(
        step, inputs=tuple(dataclasses.replace(s, name="told") if s.name == "memory" else s for s in step.inputs)
    )
    told = dataclasses.replace(model, forms={"encode": model.forms["encode"], "step": longer})
    found = {place: group for group in groups(told) for place in group.places}
    assert found["encoder.weight_hh_l0[1]"].reason == "it is an output, 'memory', of form 'encode'"
    assert found["score.weight[0]"].reason == "it is an output, 'memory', of form 'encode'"
    assert not found["decoder.weight_hh_l0[1]"].reason  # h is still handed over


def test_forms_are_read_at_the_width_of_the_module_at_hand():
    for name, width in (("translator", 8), ("cached", 24), ("dialogue", 20), ("cached-translator", 10)):
        network = BY_NAME[name]
        torch.manual_seed(0)
        model = network.lifted(network.build(width).eval())
        dims = {s.name: s.dims for form in model.forms.values() for s in (*form.inputs, *form.outputs)}
        wanted = {
            "translator": {"memory": ("N", "S", 8), "h": ("N", 8), "h_out": ("N", 8)},
            "cached": {"keys": ("N", 4, "P", 6), "values_out": ("N", 4, "P+T", 6)},
            "dialogue": {"utterance": ("N", 20), "heard": ("N", 20), "told": ("N", 8), "h_out": ("N", 20)},
            "cached-translator": {"memory_value": ("N", "S", 10), "key": ("N", "P", 10)},
        }[name]
        assert {n: dims[n] for n in wanted} == wanted


def test_a_cache_begins_empty_and_a_whole_text_is_what_its_steps_are():
    model = lifted("cached")
    step = model.forms["step"]
    assert growing(step.inputs) == growing(step.inputs, step.outputs) == {"P"}
    tokens = examples(model, {"N": 2, "T": 6, "P": 3})["target"]
    assert initial_state(step.inputs, {"target": tokens})["keys"].shape == (2, 4, 0, 4)
    whole = runner_for(model)({"target": tokens})["logits"]
    for runner in (runner_for(model), runner_for(to_onnx(model))):
        pieces = [{"target": tokens[:, a:b]} for a, b in ((0, 1), (1, 4), (4, 6))]
        made = [out["logits"] for out in stream(runner.forms["step"], step.inputs, pieces, step.outputs)]
        np.testing.assert_allclose(np.concatenate(made, 1), whole, rtol=0, atol=1e-5)


def test_a_length_of_a_state_that_stays_is_no_cache():
    step = lifted("cached").forms["step"]
    same = [dataclasses.replace(o, dims=("N", 4, "P", 4)) if o.name != "logits" else o for o in step.outputs]
    assert growing(step.inputs, same) == frozenset()
    assert initial_state(step.inputs, {}, same)["keys"].shape == (1, 4, 1, 4)


@pytest.mark.parametrize("name", ["cached-translator", "dialogue"])
def test_every_form_agrees_with_onnx_runtime_before_and_after_a_cut(name):
    smaller = Prune(recover=0, multiple=1)(lifted(name), Context()).model
    exported = to_onnx(smaller)
    found = verify(smaller, exported)
    assert found.sqnr_db > 100
    batch = examples(smaller, sizes_of(smaller))
    want, have = answers(smaller, batch), answers(exported, batch)
    for form, outputs in want.items():
        for output, value in outputs.items():
            np.testing.assert_allclose(have[form][output], value, rtol=0, atol=1e-5)


def test_networks_of_several_kinds_are_tried():
    assert len(FORMED) == len(BY_NAME) >= 5
