import json

import pytest
import torch
from torch import nn

import cli
from compress.pruning.group_table import table_of
from export.checkpoint import save
from export.to_onnx import to_onnx
from export.wrap import Model
from tests.compress.networks import spec


class Small(nn.Module):
    """Two layers; the softmax keeps the second's units, the output the third's."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 10), nn.Linear(10, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x))).softmax(-1))


@pytest.fixture(scope="module")
def small():
    return Model(Small().eval(), inputs=(spec("x", "N", 6),), name="small")


def test_the_sum_counts_what_goes_with_all_units_that_can_be_cut(small):
    rows, summary = table_of(small)
    assert [(r.layer, r.kind, r.size, bool(r.reason)) for r in rows] == [
        ("a", "Linear", 10, False),
        ("a", "Linear", 6, True),
        ("b", "Linear", 8, True),
        ("c", "Linear", 3, True),
    ]
    assert rows[0].places == ("a.weight[0]", "a.bias[0]", "b.weight[1]")
    total = 6 * 10 + 10 + 10 * 8 + 8 * 3 + 3
    assert (summary.parameters, summary.cuttable_parameters) == (total, 6 * 10 + 10 + 10 * 8)
    assert str(summary) == "10 of 27 units, in 1 of 4 groups, can be cut; they hold 84.7% of 177 parameters"


def test_an_onnx_file_has_the_same_groups(small):
    rows, summary = table_of(to_onnx(small))
    assert summary.cuttable_units == 10 and summary.cuttable_parameters == 150
    assert next(r.reason for r in rows if r.layer == "b").startswith("'softmax' (") and rows[0].layer == "a"


def test_the_command_prints_them_and_says_which_operation_keeps_what(small, tmp_path, capsys):
    file = tmp_path / "small.pt"
    save(small, file)
    assert cli.status(["info", str(file), "--groups"]) == 0
    said = capsys.readouterr().out
    assert "a.weight[0], a.bias[0], b.weight[1]" in said and "kept: 'softmax' (softmax) runs over it" in said
    assert "in 1 of 4 groups, can be cut" in said
    assert cli.status(["info", str(file), "--groups", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["groups"][0]["places"] == ["a.weight[0]", "a.bias[0]", "b.weight[1]"]
    assert document["summary"]["cuttable_groups"] == 1
