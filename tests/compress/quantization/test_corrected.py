"""Corrections in `quantize`: each switched alone, equalized where all else loses, and in the decision table."""

import json
from dataclasses import replace

import numpy as np
import pytest

from compress.base import Context
from compress.console import plain
from compress.quantization.equalize import channel_reaches, rescaled, shared_junctions
from compress.quantization.quantize import Quantize
from export.onnx_file import to_bytes
from export.parity import sqnr_db
from export.session import onnx_runner
from models.records import example, sizes_of
from tests.compress.onnx_nets import conv_net, depthwise_net, mlp


def data(model, batches=3, seed=100):
    return [example(model.inputs, {**sizes_of(model), "N": 32}, seed=seed + i) for i in range(batches)]


def spread(model, deviation=2.0):
    """The same network with channels of very different reach."""
    rng, main = np.random.default_rng(0), shared_junctions(model)
    reaches = channel_reaches(model, main, data(model, 1))
    return rescaled(model, {name: np.exp(deviation * rng.standard_normal(len(r))) for name, r in reaches.items()})


def static(model, **settings):
    return Quantize(mode="static", **settings)(model, Context(calibration=data(model)))


def errors(model, made):
    name = model.outputs[0].name
    return np.concatenate([onnx_runner(made)(x)[name] - onnx_runner(model)(x)[name] for x in data(model)])


def sqnr(model, made):
    x, name = data(model, 1, seed=7)[0], model.outputs[0].name
    return sqnr_db(onnx_runner(model)(x)[name], onnx_runner(made)(x)[name])


@pytest.mark.parametrize("build", [conv_net, depthwise_net], ids=lambda b: b.__name__)
def test_static_is_corrected_unless_told_otherwise(build):
    model = build()
    with_it, without = (errors(model, static(model, correct=correct).model) for correct in (True, False))
    assert np.abs(with_it.mean(0)).mean() < np.abs(without.mean(0)).mean() / 2


def test_badly_scaled_channels_are_rescued_by_equalization():
    model = spread(depthwise_net())
    assert sqnr(model, static(model, equalize=True).model) > sqnr(model, static(model).model) + 10


def test_auto_equalizes_where_all_else_loses_and_the_table_holds_it(tmp_path):
    model = spread(depthwise_net())
    outcome = Quantize(max_drop=1.0)(model, Context(calibration=data(model), device="arm64"))
    tried = {row["name"]: row for row in outcome.facts["candidates"]}
    assert not tried["static per channel"]["keeps"] and tried["static per channel, equalized"]["keeps"]
    assert outcome.facts["chosen"] == "static per channel, equalized"
    table = plain(outcome.decisions)
    assert table["factors"] and table["shifts"]
    (tmp_path / "t.json").write_text(json.dumps(table), encoding="utf-8")
    again = Quantize(decisions=str(tmp_path / "t.json"))(model, Context(device="arm64"))
    assert to_bytes(again.model) == to_bytes(outcome.model)


def test_a_network_without_junctions_is_left_as_it_is():
    model = replace(mlp(16), name="net")
    for name in list(shared_junctions(model)):
        model.onnx.graph.outputs.append(name.tensor)  # given, so that it must stay
    assert to_bytes(static(model, equalize=True).model) == to_bytes(static(model).model)
