import importlib
import math
import os
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from safetensors.torch import load_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from export.session import Formed
from models import DATA, WEIGHTS, ZOO, find, find_task
from models.decoding import first_states
from models.records import ShuffledBatches, Task, example

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")
ENTRIES = [find(name) for name in ZOO]
IN_THE_PACKAGE = [entry for entry in ENTRIES if entry.data in ("fsdd", "addition")]
# what the issue asks of each, in float
REQUIRED = {
    "cnn-fsdd": 0.99,
    "dscnn-fsdd": 0.98,
    "gru-fsdd": 0.97,
    "rnn-fsdd": 0.92,
    "lstm-fsdd": 0.97,
    "birnn-fsdd": 0.98,
    "gru-gesture": 0.95,
    "rnn-add": 1.0,
    "lstm-add": 1.0,
    "gru-add": 1.0,
    "rnn-adding": 0.18,  # what it reaches: it is here to fail, and test_adding_problem holds it above 0.1
    "lstm-adding": 0.01,
    "lstm-peephole": 0.01,
    "resnet8": 0.82,
    "resnet20": 0.84,  # ours: the issue states none
    "vgg-small": 0.844,  # 2 points above resnet8
    "seq2seq": 19.0,  # ours: the issue asks for a stated BLEU
    "seq2seq-attention": 22.2,  # 3 above it
    "transformer": 28.5,  # above that
    "lm-char": 2.4,
    "lm-word": 12.5,
    "seq2seq-dialogue": 10.1,  # ours: it is here for hred to be below it
    "hred": 10.0,
    "vhred": 11.7,  # ours: a bound, which the divergence is part of
    "transformer-char": 2.5,
    "autoencoder": 0.93,
    "vae": 100.0,  # ours: the issue asks for a stated error and a normal code
    "word2vec-skipgram": 0.7,
    "word2vec-cbow": 0.7,
}


def named(value):
    return getattr(value, "name", str(value))


def inputs_of(entry, **sizes):
    return [torch.from_numpy(a) for a in example(entry.inputs, {**entry.typical, **sizes}).values()]


def several(found):
    return found if isinstance(found, tuple) else (found,)


def runner_of(network, entry, form=None):
    """A runner of the reference module itself, not lifted, that knows its forms."""
    specs, outputs = (form or entry).inputs, (form or entry).outputs
    call = getattr(network, form.method) if form else network

    def run(arrays):
        with torch.inference_mode():
            found = call(*(torch.from_numpy(np.ascontiguousarray(arrays[spec.name])) for spec in specs))
        return {spec.name: value.numpy() for spec, value in zip(outputs, several(found), strict=True)}

    forms = {} if form else {name: runner_of(network, entry, each) for name, each in entry.forms.items()}
    return Formed(run, forms, specs)


def trained(entry):
    network = entry.build()
    load_model(network, WEIGHTS / f"{entry.name}.safetensors")
    return network


def test_all_are_listed():
    assert set(ZOO) == set(REQUIRED)
    for name, (module, summary) in ZOO.items():
        entry = find(name)
        assert (entry.name, entry.summary) == (name, summary)
        assert module == name.replace("-", "_")
        assert entry.paper and entry.licence and entry.data in DATA


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_parameters_are_counted_exactly(entry):
    assert sum(p.numel() for p in entry.build().parameters() if p.requires_grad) == entry.params


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_macs_are_those_of_torchs_own_counter(entry):
    network = entry.build().to("meta")  # where an LSTM is no single kernel, which the counter does not know
    # attention as two matrix products, which the counter knows
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(*(x.to("meta") for x in inputs_of(entry)))
    assert counter.get_total_flops() == 2 * entry.macs


def test_macs_by_hand():
    assert find("dscnn-fsdd").macs == 125 * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 64 * 10
    assert find("gru-fsdd").macs == 20 * 3 * 128 * (10 + 128) + 128 * 10
    linear, attention = 128 * 12 * 128 * 128, 2 * 128 * 128 * 128
    assert find("transformer-char").macs == 3 * (linear + attention) + 128 * 128 * 65


@pytest.mark.parametrize("make", ["build", "tiny"])
@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_a_network_gives_what_its_entry_says(entry, make):
    network = getattr(entry, make)()
    assert not network.training
    letters = {d for spec in entry.inputs for d in spec.dims if isinstance(d, str)}
    for sizes in (dict.fromkeys(letters, 1), {letter: 3 + i for i, letter in enumerate(sorted(letters))}):
        with torch.no_grad():
            found = network(*inputs_of(entry, **sizes))
        for output, value in zip(entry.outputs, several(found), strict=True):
            assert tuple(value.shape) == tuple(sizes.get(d, d) for d in output.dims), output.name
            assert str(value.dtype) == f"torch.{output.dtype}"
    if make == "tiny":
        tables = {
            id(m.weight) for m in network.modules() if isinstance(m, torch.nn.Embedding)
        }  # as long as the data ask
        assert sum(p.numel() for p in network.parameters() if id(p) not in tables) < 30_000


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_settings_of_a_builder_change_the_network(entry):
    plain, wide = entry.build(), entry.build(width=24)  # which is nobody's own
    assert {k: v.shape for k, v in plain.state_dict().items()} != {k: v.shape for k, v in wide.state_dict().items()}
    if ways := get_args(get_type_hints(entry.build).get("initialization")):
        torch.manual_seed(0)
        first = entry.build(initialization=ways[0]).state_dict()
        torch.manual_seed(0)
        second = entry.build(initialization=ways[-1]).state_dict()
        assert any((first[k] != second[k]).any() for k in first)
    if words := get_args(get_type_hints(entry.build).get("activation")):  # else its activations are the cell's own
        x = inputs_of(entry, N=2)
        torch.manual_seed(0)
        smooth = entry.build(activation=words[0])
        torch.manual_seed(0)
        sharp = entry.build(activation=words[-1])
        with torch.no_grad():
            pairs = zip(several(smooth(*x)), several(sharp(*x)), strict=True)
            assert any((a != b).any() for a, b in pairs)


def steps_by_itself(entry):
    """Whether its step needs nothing but what the main form takes, its own states, and what `encode` gives."""
    if "step" not in entry.forms:
        return False
    encoded = entry.forms["encode"].outputs if "encode" in entry.forms else ()
    known = {spec.name for spec in (*entry.inputs, *encoded)}
    return all(spec.state_of or spec.name in known for spec in entry.forms["step"].inputs)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if steps_by_itself(e)], ids=named)
def test_states_fed_back_give_what_the_whole_sequence_gives(entry):
    run, form = runner_of(entry.build(), entry), entry.forms["step"]
    letters = {d for spec in entry.inputs for d in spec.dims if isinstance(d, str)}
    arrays = example(entry.inputs, {**dict.fromkeys(letters, 5), "T": 9, "N": 3})
    given = {}
    if "encode" in entry.forms:
        given = dict(run.forms["encode"]({spec.name: arrays[spec.name] for spec in entry.forms["encode"].inputs}))
    (fed,) = (spec for spec in form.inputs if spec.name in arrays)  # (N, T, ...)
    given |= first_states({spec.name: spec.dims for spec in form.inputs}, {fed.name: arrays[fed.name], **given})
    states = [spec for spec in form.inputs if spec.state_of]
    assert states and all(spec.initial == 0 for spec in states)
    answer, parts = entry.outputs[0], []
    for piece in np.split(arrays[fed.name], [2, 3, 7], axis=1):  # as many as have come
        found = run.forms["step"]({**given, fed.name: piece})
        given |= {spec.name: found[spec.state_of] for spec in states}
        parts.append(found[answer.name])
    stepped = np.concatenate(parts, axis=1) if fed.dims[1] in answer.dims else parts[-1]
    # float32, and sums in another order
    np.testing.assert_allclose(stepped, run(arrays)[answer.name], atol=1e-5)


def test_the_transformer_reads_no_character_that_is_still_to_come():
    network = find("transformer-char").build()
    ids = torch.randint(0, 65, (2, 20))
    other = ids.clone()
    other[:, 12:] = 0
    with torch.no_grad():
        torch.testing.assert_close(network(ids)[:, :12], network(other)[:, :12])
        assert (network(ids)[:, 12:] != network(other)[:, 12:]).any()


@here
@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_a_task_fits_its_network(entry):
    made = entry.task(batch_size=2)
    assert isinstance(made.train, ShuffledBatches)
    assert made.labels == entry.labels or not entry.labels
    network = entry.tiny()
    inputs, target = next(iter(made.train.epoch(0, 0)))
    assert list(inputs) == [spec.name for spec in entry.inputs]
    found = several(network(*(torch.from_numpy(np.ascontiguousarray(inputs[spec.name])) for spec in entry.inputs)))
    outputs = {spec.name: value for spec, value in zip(entry.outputs, found, strict=True)}
    loss = made.loss(outputs, torch.from_numpy(np.array(target)))
    loss.backward()
    assert loss.ndim == 0 and math.isfinite(loss.item())
    other = find_task(entry.data, batch_size=2, inputs=entry.inputs)
    again, _ = next(iter(other.validation))
    mine, _ = next(iter(made.validation))
    assert {k: (v.shape, v.dtype) for k, v in again.items()} == {k: (v.shape, v.dtype) for k, v in mine.items()}
    for protocol_part in ("loss", "score", "statistic", "train", "validation", "test", "name", "labels"):
        assert hasattr(made, protocol_part), Task


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_weights_are_small_and_fit(entry):
    assert (WEIGHTS / f"{entry.name}.safetensors").stat().st_size < 3_000_000
    trained(entry)


def check_golden(entry, score):
    golden = entry.golden
    assert (score.n, score.unit, score.higher_is_better) == (golden.n, golden.unit, golden.higher_is_better)
    # other processors round otherwise, and that may move a row or two in a thousand over the edge
    points = 50 if golden.unit == "BLEU" else 1  # of 100, and a word that is another one changes all those after it
    assert score.value == pytest.approx(golden.value, abs=2e-3 * points)
    for mine, theirs in ((score.low, golden.low), (score.high, golden.high)):
        assert mine == pytest.approx(theirs, abs=5e-3 * points)
    reached = score.value >= REQUIRED[entry.name] if golden.higher_is_better else score.value <= REQUIRED[entry.name]
    assert reached, f"{entry.name}: {score.value:.4f}, and {REQUIRED[entry.name]} is required"


@pytest.mark.parametrize("entry", IN_THE_PACKAGE, ids=named)
def test_the_committed_weights_reach_the_golden_score(entry):
    check_golden(entry, entry.task(batch_size=100).score(runner_of(trained(entry), entry)))


@here
@pytest.mark.parametrize("entry", [e for e in ENTRIES if e not in IN_THE_PACKAGE], ids=named)
def test_the_committed_weights_reach_the_golden_score_on_data_from_outside(entry):
    check_golden(entry, entry.task(batch_size=250).score(runner_of(trained(entry), entry)))


def test_every_named_set_is_found():
    for name, (place, summary) in DATA.items():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(f"models.{module}"), function)), name
        assert summary
