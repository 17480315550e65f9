"""The ablation of corrections: its rows and its page hold every variant, and spread gains are what they say."""

import json

import numpy as np
import torch
from torch import nn

from benchmarks.corrections import VARIANTS, Subject, cells, spread
from benchmarks.corrections_page import page
from compress.base import Context
from compress.quantization.calibration_data import gather
from export.folded import fold
from models.records import example, sizes_of
from tests.compress.onnx_nets import depthwise_net, recurrent


def rows(build):
    model = fold(build())
    data = [example(model.inputs, {**sizes_of(model), "N": 16}, seed=seed) for seed in range(3)]
    return list(cells(Subject("net", model, *gather(model, Context(calibration=data), 32)), "any", per_channel=True))


def test_each_variant_has_a_row_and_a_cell():
    found = rows(depthwise_net)
    assert [row["variant"] for row in found] == list(VARIANTS)
    assert all(np.isfinite(row["sqnr_db"]) for row in found)
    made = page({"command": "c", "made": "now", "machine": {"processor": "p", "instruction_set": "i"}, "rows": found})
    numbers = " | ".join(f"{row['sqnr_db']:.1f}" for row in found)
    assert f"| net | any | channel | {numbers} |" in made
    json.dumps(found, allow_nan=False)


def test_where_nothing_can_be_rescaled_the_row_says_so():
    assert [row.get("sqnr_db") is None for row in rows(recurrent)] == [False, False, True, True, True]


def test_gains_are_spread_by_the_deviation_asked_for():
    torch.manual_seed(0)
    made = spread(lambda: nn.Sequential(nn.BatchNorm2d(4096)), 0.5)
    assert abs(float(made[0].weight.detach().log().std()) - 0.5) < 0.03
    assert float(spread(lambda: nn.Sequential(nn.BatchNorm2d(8)), 0.0)[0].weight.detach().std()) == 0.0
