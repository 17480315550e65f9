"""A batch that a file fixes is made free where rows stay apart, in graphs of the legacy and of the new exporter."""

import io
import warnings
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from compress.base import Context
from compress.pruning.prune import Prune
from compress.recipe import run
from export.batch_axis import Rows, reshaped
from export.free_batch import fixed_as, free_batch
from export.from_onnx import lift_onnx
from export.load import load
from export.session import onnx_runner, torch_runner
from export.to_onnx import to_onnx
from export.wrap import Model
from models.records import InputSpec, OutputSpec
from tests.compress.small_tasks import digits


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8 * 16, 10)

    def forward(self, x):
        y = torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        return self.out(y.view(x.size(0), -1))


class Frames(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 12, num_layers=2, batch_first=True)
        self.gru = nn.GRU(12, 8, batch_first=True, bidirectional=True)
        self.out = nn.Linear(16, 10)

    def forward(self, x):
        return self.out(self.gru(self.lstm(x.squeeze(1))[0])[0][:, -1])


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(8, 16), nn.Linear(16, 10)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 16))

    def forward(self, x):
        y = self.into(x.squeeze(1))
        y = torch.cat([self.token.expand(x.size(0), -1, -1), y], 1)
        return self.out(self.encoder(y)[:, 0])


class Mixes(nn.Module):
    """What a row gives depends on the other rows."""

    def forward(self, x):
        return x.flatten(1) - x.flatten(1).mean(0, keepdim=True) * 0.5


def fixed(module, tmp_path, *, legacy, rows=1):
    torch.manual_seed(0)
    path = tmp_path / "fixed.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.randn(rows, 1, 8, 8),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamo=not legacy,
            opset_version=17 if legacy else 18,
            verbose=False,
        )
    return load(str(path))


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("build", [Flat, Frames, Attends])
def test_rows_at_once_give_what_each_gives_alone(build, legacy, tmp_path):
    model = fixed(build(), tmp_path, legacy=legacy)
    freed = free_batch(model)
    assert (freed.inputs[0].dims[0], freed.outputs[0].dims[0]) == ("N", "N")
    x = np.random.default_rng(3).standard_normal((5, 1, 8, 8)).astype(np.float32)
    alone = np.concatenate([onnx_runner(model)({"x": x[i : i + 1]})["y"] for i in range(5)])
    np.testing.assert_allclose(onnx_runner(freed)({"x": x})["y"], alone, rtol=1e-4, atol=1e-5)
    lifted = lift_onnx(model)
    assert lifted.inputs == model.inputs and lifted.outputs == model.outputs
    several = torch_runner(free_batch(lifted))({"x": x})["y"]
    np.testing.assert_allclose(several, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [Flat, Frames, Attends])
def test_it_is_pruned_and_trained_in_batches_and_takes_one_row_as_before(build, tmp_path):
    model = fixed(build(), tmp_path, legacy=True)
    (outcome,) = run([Prune(ratio=0.5, recover=3)], model, Context(task=digits()))
    assert outcome.model.inputs == model.inputs
    assert outcome.model.outputs == model.outputs
    made = to_onnx(outcome.model)
    assert onnx_runner(made)({"x": np.zeros((1, 1, 8, 8), np.float32)})["y"].shape == (1, 10)


def test_other_numbers_of_rows_are_freed_too(tmp_path):
    model = fixed(Flat(), tmp_path, legacy=True, rows=4)
    assert free_batch(model).typical["N"] == 4


def test_rows_that_mix_stay_as_many_as_the_file_says(tmp_path):
    model = fixed(Mixes(), tmp_path, legacy=True, rows=2)
    assert free_batch(model) is model


def test_a_free_batch_and_a_streaming_model_stay():
    net = Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), inputs=["x:float32[N,1,8,8]"], name="net")
    assert free_batch(net) is net
    step = replace(
        net,
        inputs=(
            InputSpec(name="x", dtype="float32", dims=(1, 4)),
            InputSpec(name="h", dtype="float32", dims=(1, 4), state_of="y"),
        ),
        outputs=(OutputSpec(name="y", dtype="float32", dims=(1, 4)),),
    )
    assert free_batch(step) is step


def test_dimensions_are_put_back_where_they_were():
    net = Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), inputs=["x:float32[1,1,8,8]"], name="net")
    freed = free_batch(net)
    assert freed.inputs[0].dims == ("N", 1, 8, 8)
    assert fixed_as(freed, net).inputs == net.inputs
    assert fixed_as(freed, net).outputs == net.outputs


def test_functions_of_a_file_are_read_too():
    """Of an old file whose weights are listed as inputs, the inputs are those that are no weights."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], np.ones(8, np.float32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "old",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=3)
    buffer = io.BytesIO()
    onnx.save(proto, buffer)
    model = Model(
        ir.from_proto(proto),
        (InputSpec(name="x", dtype="float32", dims=(1, 4)),),
        (OutputSpec(name="y", dtype="float32", dims=(1, 2)),),
        name="old",
    )
    freed = free_batch(model)
    assert onnx_runner(freed)({"x": np.ones((3, 4), np.float32)})["y"].tolist() == [[4, 4]] * 3


@given(st.integers(1, 5), st.lists(st.integers(2, 5), min_size=1, max_size=4), st.data())
def test_rows_are_found_behind_any_reshape_that_keeps_them_apart(rows, dims, data):
    """Whatever is joined or parted before and behind them; more than one of them, so that nothing is open."""
    rows += 1
    place = data.draw(st.integers(0, len(dims)))
    before = [*dims[:place], rows, *dims[place:]]
    head, tail = int(np.prod(dims[:place])), int(np.prod(dims[place:]))
    after = [*([head] if place else []), rows, *([tail] if place < len(dims) else [])]
    assert reshaped(before, after, Rows(place)) == Rows(1 if place else 0)


@pytest.mark.parametrize(
    ("before", "after", "rows", "expected"),
    [
        ([21, 1, 4, 8], [21, 32], Rows(1), Rows(0, 21)),  # heads are joined: the row goes with the time before it
        ([21, 32], [21, 1, 32], Rows(0, 21), Rows(1)),  # and is found again
        ([21, 1, 32], [21, 4, 8], Rows(1), Rows(1)),  # the row goes with the heads
        ([1, 20, 32], [20, 32], Rows(0), Rows(0)),
        ([6, 5], [4, 15], Rows(0, 3), None),
    ],
)
def test_one_row_joins_what_features_leave(before, after, rows, expected):
    assert reshaped(before, after, rows) == expected
