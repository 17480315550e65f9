"""The comparison of int8: every tool gets the same network and samples; page and marks tell what was found."""

import importlib.util
import math
import sys

import numpy as np
import onnx
import pytest

from benchmarks import int8, int8_emulated
from benchmarks.int8_case import SAMPLES, Case, case_of, finite
from benchmarks.int8_marks import fastest, keeps, marks, pace, smallest
from benchmarks.int8_networks import NETWORKS
from benchmarks.int8_page import page
from benchmarks.int8_peers import STATIC, by_nncf
from benchmarks.int8_variants import DYNAMIC, PEERS, VARIANTS, How, make
from export.forms import MAIN
from export.onnx_file import write
from export.save import shipped
from export.wrap import from_entry
from models import ZOO, find
from models.errors import CompressError
from models.records import example


@pytest.fixture(scope="module")
def case():
    """A network of two forms, so that what knows nothing of forms is tried on each."""
    entry = find("lstm-fsdd")
    sizes = {"N": 4, "T": 12}
    model = shipped(from_entry(entry, tiny=True))
    return Case(model, [example(model.inputs, sizes, seed=seed) for seed in range(10)])


@pytest.fixture(scope="module")
def how(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "float.onnx"
    write(case.float_, path)
    return How(seconds=0.01, nncf="", float_=path)


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("variant", [*STATIC, DYNAMIC])
def test_each_variant_of_the_runtime_makes_every_form_and_keeps_its_signature(case, how, variant):
    output = how.float_.with_name(f"{variant}.onnx")
    facts = make(variant, case, output, how)
    assert facts["seconds"] > 0
    found = case.judged(case.loaded(output))
    assert set(found["sqnr_db"]) == {MAIN, "step"} and min(found["sqnr_db"].values()) > 15
    assert "points" not in found  # nothing scores random weights
    wanted = "DynamicQuantizeLSTM" if variant == DYNAMIC else "LSTM"
    assert wanted in operators(output) & operators(output.with_name(f"{variant}.step.onnx"))
    assert (found["integer_macs"] > 0.9) == (variant == DYNAMIC)  # static int8 knows no LSTM


def test_signs_and_formats_are_those_of_the_variants_names(case, how):
    kinds = {}
    for variant in ("ort default", "ort u8s8", "ort u8u8"):
        output = how.float_.with_name("kinds.onnx")
        make(variant, case, output, how)
        graph = onnx.load(output).graph
        kinds[variant] = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 2}
    s8, u8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8
    assert (s8 in kinds["ort default"], s8 in kinds["ort u8s8"], u8 in kinds["ort u8u8"]) == (True, True, True)
    make("ort qoperator", case, output, how)
    assert operators(output) & {"QLinearMatMul", "QGemm"}


def test_peers_calibrate_with_the_samples_that_ours_does(case):
    seen, unseen = case.samples
    whole = [batch["x"] for batch in case.calibrated_on[MAIN]]
    np.testing.assert_array_equal(np.concatenate(whole), np.concatenate([batch["x"] for batch in seen]))
    assert sum(map(len, whole)) <= SAMPLES and not np.array_equal(unseen[0]["x"], seen[0]["x"])
    steps = case.calibrated_on["step"]
    states = {key for key in steps[0] if key != "x"}
    assert states and any(np.any(step[key]) for step in steps for key in states), "a state became something"


def test_a_peer_that_fails_says_why(case, how, tmp_path):
    with pytest.raises(CompressError, match="--nncf-python"):
        make("nncf", case, tmp_path / "made.onnx", how)
    with pytest.raises(CompressError, match="cannot be started"):
        by_nncf(str(tmp_path / "python"), how.float_, tmp_path / "made.onnx", [])
    if importlib.util.find_spec("nncf") is None:
        with pytest.raises(CompressError, match="does not import after a plain install: ModuleNotFoundError"):
            by_nncf(sys.executable, how.float_, tmp_path / "made.onnx", [])


def test_an_emulated_processor_is_asked_for_the_same_outputs(case, how):
    int8_emulated.keep(case, how.float_.parent)
    # by this very processor: what comes back is what the float model says here
    found = int8_emulated.emulated(
        [("float", how.float_), ("none", how.float_.with_name("none.onnx"))], [sys.executable]
    )
    assert found["float"] is None and found["none"] == -1000.0


def test_what_json_does_not_know_has_a_number():
    assert (finite(math.inf), finite(-math.inf), finite(None), finite(31.5)) == (None, -1000.0, -1000.0, 31.5)


def test_random_networks_are_ten_of_their_own_names_and_the_same_ones_each_time():
    assert len(NETWORKS) == 10 and not set(NETWORKS) & set(ZOO)
    network = NETWORKS["random dscnn"]
    one, other = (network.module().state_dict() for _ in range(2))
    assert one and all(np.array_equal(one[key], other[key]) for key in one)
    one, other = (list(network.batches(seed=seed)) for seed in (1, 2))
    assert sum(len(batch["x"]) for batch in one) == SAMPLES * 5 // 4 and not np.array_equal(one[0]["x"], other[0]["x"])
    assert case_of("random rnn").task is None


def speed(speedup, low=None):
    return {"speedup": speedup, "low": speedup - 0.01 if low is None else low, "high": speedup, "before_ms": 1.0}


def cell(speedup, **more):
    return {
        "bytes": 100,
        "seconds": 1.0,
        "sqnr_db": {"main": 40.0},
        "varying_db": 38.0,
        "flips": 0.01,
        "integer_macs": 0.5,
        "points": 0.1,
        "points_low": -0.1,
        "points_high": 0.3,
        "after": 0.9,
        "speed": {"main": speed(speedup)},
        **more,
    }


def row(random=False, **cells):
    named = {"any": "ours, any", "cpu": "ours, cpu", "size": "ours, size", "u8s8": "ort u8s8", "u8u8": "ort u8u8"}
    return {
        "random": random,
        "bytes": 400,
        "unit": "accuracy",
        "score": 0.91,
        "samples": 1000,
        "timed": "0.5 s each",
        "machine": {"processor": "a", "instruction_set": "b"},
        "versions": {"torch": "2"},
        "cells": {named.get(key, key): each for key, each in cells.items()},
    }


def test_the_peer_to_beat_is_the_fastest_that_keeps_the_score():
    found = row(u8s8=cell(3.0, points=0.51), u8u8=cell(2.0, bytes=90), nncf={"refused": "no"})
    assert fastest(found) == ("ort u8u8", 2.0) and smallest(found) == ("ort u8u8", 90)
    assert fastest(row(u8s8=cell(3.0, points=0.51))) == ("float", 1.0)
    assert smallest(row()) == ("float", 400)
    noisy = row(
        random=True, u8s8=cell(3.0, sqnr_db={"main": 40.0, "step": 24.9}), u8u8=cell(2.0, sqnr_db={"main": None})
    )
    assert fastest(noisy) == ("ort u8u8", 2.0) and not keeps(noisy, noisy["cells"]["ort u8s8"])
    assert pace({"speed": {"main": speed(4.0), "step": speed(1.0)}}) == pytest.approx(2.0)


def only(networks, ours, words):
    (found,) = [
        mark for mark in marks(networks) if mark.text.startswith(f"`{ours}`") and f"{words} " in f"{mark.text} "
    ]
    return found


def test_marks_are_held_to_every_network():
    good = row(any=cell(2.0), size=cell(1.0, bytes=102), u8s8=cell(2.1))
    slow = row(any=cell(1.0, speed={"main": speed(1.2), "step": speed(0.99, low=0.96)}), u8s8=cell(1.3))
    both = {"good": good, "slow": slow}
    lower = only(both, "ours, any", "lower bound")
    assert not lower.reached and lower.missed == ("`slow`: step 0.99x (0.96 to 0.99)",)
    assert only({"good": good}, "ours, any", "lower bound").reached
    assert only({"good": good}, "ours, any", "0.95 of the speed").reached
    assert only(both, "ours, any", "0.95 of the speed").missed == ("`slow`: 1.09x for 1.30x of ort u8s8, 0.84 of it",)
    assert only(both, "ours, any", "ahead").missed == (
        "`good`: 2.00x for 2.10x of ort u8s8",
        "`slow`: 1.09x for 1.30x of ort u8s8",
    )
    near = {"near": row(any=cell(2.0), u8s8=cell(2.005))}
    assert only(near, "ours, any", "ahead").missed == ("`near`: 2.00x for 2.00x of ort u8s8, no difference",)
    assert only({"good": good}, "ours, size", "bytes").reached
    large = {"large": row(size=cell(1.0, bytes=103), u8s8=cell(1.0))}
    assert only(large, "ours, size", "bytes").missed == ("`large`: 103 bytes for 100 of ort u8s8, 1.03 times",)


def test_most_is_more_than_half():
    ahead, behind = row(any=cell(2.0), u8s8=cell(1.9)), row(any=cell(2.0), u8s8=cell(2.05))
    assert not only({"a": ahead, "b": behind}, "ours, any", "ahead").reached
    assert only({"a": ahead, "b": behind, "c": ahead}, "ours, any", "ahead").reached


def test_random_networks_are_held_to_decibels_on_both_processors_and_others_to_points():
    noise = {"sqnr_db": {"main": 24.0}, "emulated_db": {"x86-avx2": 26.0, "arm64": 23.0}}
    found = {"a": row(random=True, any=cell(1.0, **noise)), "b": row(any=cell(1.0, points=1.01))}
    assert only(found, "ours, any", "25 dB here").missed == ("`a`: 24.0 dB",)
    there = only(found, "ours, any", "emulated x86-avx2")
    assert there.reached and there.asked == 1
    assert only(found, "ours, any", "emulated arm64").missed == ("`a`: 23.0 dB",)
    assert only(found, "ours, any", "emulated arm64-dotprod").asked == 0
    assert only(found, "ours, any", "lost on test").missed == ("`b`: 1.01 points (-0.10 to +0.30)",)
    refused = only({"a": row(random=True, any={"refused": "no"})}, "ours, any", "25 dB here")
    assert refused.missed == ("`a`: refused: no",) and not only({}, "ours, any", "lower bound").reached


def test_the_page_tells_every_cell_the_marks_and_what_is_left():
    cells = {
        "any": cell(2.0, emulated_db={"x86-avx2": None, "arm64": 31.0}, chosen="static"),
        "u8s8": cell(3.0, points=0.51),
    }
    document = {"networks": {"a": row(**cells, nncf={"refused": "no | here"}), "c": {"cells": {}}}}
    text = page(document, ["a", "b", "c"])
    assert "| a | 2.00x, 0.1 KB |  |  | 1.00x, float | 0.4 KB, float |" in text
    assert (
        "| ours, any | 0.9 | +0.10 (-0.10 to +0.30) | 1.00% | 40.0 (38.0) | exact | 31.0 |  | 2.00x (1.99 to 2.00) | "
        "0.1 KB | 50% | 1.0 | static |"
    ) in text
    assert "| ort u8s8 | 0.9 | **+0.51 (-0.10 to +0.30)** |" in text and "| nncf | none: no \\| here |" in text
    assert "Float: accuracy 0.91 on 1,000 samples, 0.4 KB, main 1 ms." in text
    assert "- `ours, any`: lower bound of the speed against float at least 0.97: reached, 1 of 1." in text
    assert "- x86-avx2 dB: a Haswell, emulated by qemu-user" in text and "Not measured yet: b, c." in text


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(int8, "KEPT", tmp_path)
    output = tmp_path / "int8.json"
    asked = ["random rnn", "--seconds", "0.01", "-o", str(output), "--variants"]
    int8.main([*asked, "ort u8u8"])
    first = output.read_text(encoding="utf-8")
    assert "| ort u8u8 |" in capsys.readouterr().out
    int8.main([*asked, "ort u8u8"])
    assert output.read_text(encoding="utf-8") == first
    int8.main([*asked, "ort u8u8", "ort dynamic"])
    text = output.with_suffix(".md").read_text(encoding="utf-8")
    assert "| ort dynamic |" in text and "| ort u8u8 |" in text


def test_a_misspelt_network_or_variant_is_named(capsys):
    for asked, told in ((["resnet9"], "no network named 'resnet9'"), (["--variants", "ort"], "no variant named 'ort'")):
        with pytest.raises(SystemExit):
            int8.main(asked)
        assert told in capsys.readouterr().err
    assert set(PEERS) < set(VARIANTS)
