import numpy as np
import onnx
import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.lift import lift
from export.naming import layer_of
from export.onnx_file import read, to_bytes, write
from export.parity import verify
from export.session import onnx_runner, stream
from export.to_onnx import parsed_once, to_onnx
from models.errors import CompressError
from models.records import Form, InputSpec, Model, example
from tests.export.exported import BY_NAME, TRIED, exported


def model_of(module: nn.Module, *inputs: InputSpec, forms=None, **facts) -> Model:
    lifted = lift(module, inputs, forms=forms or {})
    return Model(lifted.network, tuple(inputs), lifted.outputs, forms=lifted.forms, name="net", **facts)


every = pytest.mark.parametrize("architecture", TRIED, ids=lambda a: a.name)


@every
def test_it_agrees_with_torch_at_sizes_that_were_not_traced(architecture):
    model, onnx_model = exported(architecture)
    letters = {d: 6 for spec in model.inputs for d in spec.dims if isinstance(d, str)} | {"N": 7}
    arrays = example(model.inputs, letters, seed=3)
    with torch.no_grad():
        expected = model.network(*[torch.from_numpy(a) for a in arrays.values()])
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = onnx_runner(onnx_model)(arrays)
    assert list(found) == [spec.name for spec in model.outputs]
    for ours, theirs in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)  # float32, another order of summation


@every
def test_signature_survives_the_file(architecture, tmp_path):
    model, onnx_model = exported(architecture)
    write(onnx_model, tmp_path / "net.onnx")
    again = read(tmp_path / "net.onnx")
    assert [s.name for s in again.inputs] == [s.name for s in model.inputs]
    assert [s.dims for s in again.inputs] == [s.dims for s in model.inputs]
    assert again.outputs == model.outputs
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)


@every
def test_nothing_of_this_machine_and_no_dead_weight_is_in_the_bytes(architecture):
    _, onnx_model = exported(architecture)
    data = to_bytes(onnx_model)
    for word in (b"pkg.torch", b"stack_trace", b"site-packages", b"/home", b"Dropout"):
        assert word not in data
    assert not onnx_model.network.functions
    for node in onnx_model.network.graph:  # an output that another output is already needs an Identity
        assert node.op_type != "Constant"
        assert node.op_type != "Identity" or node.outputs[0].is_graph_output()
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        folded = before is None or before.op_type not in ("Conv", "ConvTranspose", "Gemm")
        assert node.op_type != "BatchNormalization" or folded


@every
def test_layers_keep_the_names_of_the_users_modules(architecture):
    model, onnx_model = exported(architecture)
    modules = {name for name, _ in model.network.named_modules() if name}
    names = [node.name for node in onnx_model.network.graph]
    assert len(set(names)) == len(names)
    for node in onnx_model.network.graph:
        if node.op_type not in ("Conv", "Gemm", "ConvTranspose", "LayerNormalization"):
            continue
        assert layer_of(node) in modules, node.name


def test_the_same_network_gives_the_same_bytes():
    model, onnx_model = exported(BY_NAME["residual"])
    assert to_bytes(to_onnx(model)) == to_bytes(onnx_model)


class Twice(nn.Module):
    """A convolution and its batch norm, used twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x)).relu()))


def test_a_convolution_used_twice_is_folded_once():
    model = model_of(Twice().eval(), InputSpec(name="x", dtype="float32", dims=("N", 4, "T")))
    graph = to_onnx(model).network.graph
    assert [node.op_type for node in graph] == ["Conv", "Relu", "Conv"]
    assert [node.name for node in graph] == ["conv/Conv", "Relu", "conv/Conv_1"]
    assert sorted(graph.initializers) == ["conv.bias", "conv.weight"]


class Listener(nn.Module):
    """Whole sequences, and one step at a time."""

    def __init__(self, kind, **settings):
        super().__init__()
        self.rnn = kind(5, 6, batch_first=True, **settings)

    def forward(self, x):
        return self.rnn(x)[0]

    def step(self, x, h):
        y, h = self.rnn(x, h)
        return {"y": y, "h_next": h}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (nn.GRU, {}),
        (nn.GRU, {"num_layers": 2, "bidirectional": True, "bias": False}),
        (nn.LSTM, {"bidirectional": True}),
        (nn.LSTM, {"num_layers": 2}),
        (nn.RNN, {}),
        (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    ],
)
def test_recurrent_layers_are_one_operator_a_level_with_free_time(kind, settings):
    torch.manual_seed(0)
    model = model_of(Listener(kind, **settings).eval(), InputSpec(name="x", dtype="float32", dims=("N", "T", 5)))
    graph = to_onnx(model).network.graph  # compared at four lengths inside
    levels = settings.get("num_layers", 1)
    assert [n.op_type for n in graph].count(kind.__name__) == levels
    assert {"rnn.W", "rnn.R", "rnn.B"} <= set(graph.initializers)


def test_a_streaming_form_steps_to_what_the_whole_gives(tmp_path):
    torch.manual_seed(0)
    x = InputSpec(name="x", dtype="float32", dims=("N", "T", 5))
    step = Form(
        inputs=(
            InputSpec(name="x", dtype="float32", dims=("N", 1, 5)),
            InputSpec(name="h", dtype="float32", dims=(1, "N", 6), state_of="h_next"),
        ),
        outputs=(),
        method="step",
    )
    model = model_of(Listener(nn.GRU).eval(), x, forms={"step": step})
    write(to_onnx(model), tmp_path / "net.onnx")
    again = read(tmp_path / "net.onnx")
    assert again.forms["step"].inputs[1].state_of == "h_next"
    verify(model, again)
    sequence = example((x,), {"N": 2, "T": 9})["x"]
    whole = onnx_runner(again)({"x": sequence})["y"]
    pieces = [{"x": sequence[:, t : t + 1]} for t in range(9)]
    steps = [out["y"] for out in stream(onnx_runner(again, form="step"), again.forms["step"].inputs, pieces)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 17, 21, 23])
def test_other_opsets_agree_too(opset):
    model, _ = exported(BY_NAME["residual"])
    made = to_onnx(model, opset=opset)  # compared with torch inside
    assert made.network.opset_imports[""] == opset


@pytest.mark.parametrize(("opset", "says"), [(99, "opset 99 was asked for"), (8, "opset 8 was asked for")])
def test_an_opset_that_is_not_there_is_named(opset, says):
    model, _ = exported(BY_NAME["residual"])
    with pytest.raises(CompressError, match=says):
        to_onnx(model, opset=opset)


def test_the_exporter_says_nothing(capfd):
    model, _ = exported(BY_NAME["dict"])
    to_onnx(model)
    assert capfd.readouterr() == ("", "")


def test_an_onnx_model_passes_through():
    _, onnx_model = exported(BY_NAME["residual"])
    assert to_onnx(onnx_model) is onnx_model


def test_the_exporters_translations_are_read_once_and_its_own_function_is_given_back():
    library = torch.onnx._internal.exporter._registration.onnxscript_apis
    read = library.get_torchlib_ops
    with parsed_once():
        assert library.get_torchlib_ops() is library.get_torchlib_ops() != []
    assert library.get_torchlib_ops is read


class Extended(nn.Module):
    """Its parameter is called as the operation that makes it longer, and the exporter calls the result so."""

    def __init__(self):
        super().__init__()
        self.expand, self.head = nn.Parameter(torch.randn(1, 1, 16)), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.cat([self.expand.expand(x.size(0), -1, -1), x], 1))


@pytest.mark.parametrize("rows", [1, "N"])
def test_a_weight_may_be_called_as_what_is_computed(rows):
    model = model_of(Extended(), InputSpec(name="x", dtype="float32", dims=(rows, 3, 16)))
    made = to_onnx(model)  # which holds it to the module
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 16)).astype(np.float32)}
    assert onnx_runner(made)(x)[made.outputs[0].name].shape == (1, 4, 4)
