"""Recurrent layers exported once agree with torch at every batch and time, and are not unrolled."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.from_onnx import lift_onnx
from export.onnx_file import to_bytes
from export.parity import verify
from export.to_onnx import to_onnx
from export.wrap import Model
from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN
from tests.export.architectures import spec

CASES = [
    (nn.LSTM, {}, True),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}, False),
    (nn.LSTM, {"bidirectional": True, "bias": False}, True),
    (nn.LSTM, {"proj_size": 4}, True),
    (nn.LSTM, {"proj_size": 3, "num_layers": 2, "bidirectional": True, "batch_first": True}, True),
    (nn.GRU, {"batch_first": True}, False),
    (nn.GRU, {"num_layers": 2, "bidirectional": True}, True),
    (nn.GRU, {"num_layers": 2, "batch_first": True}, True),
    (nn.RNN, {"nonlinearity": "tanh", "num_layers": 2, "batch_first": True}, True),
    (nn.RNN, {"nonlinearity": "relu", "bidirectional": True}, False),
    (SigmoidRNN, {"batch_first": True}, True),
    (SigmoidRNN, {"bias": False}, False),
    (ResetFirstGRU, {"batch_first": True}, True),
    (PeepholeLSTM, {"batch_first": True}, True),
    (PeepholeLSTM, {"bias": False}, False),
    (PeepholeLSTM, {"forget_gate": False}, True),
    (PeepholeLSTM, {"forget_gate": False, "bias": False}, True),
]
# said once a process by torch itself, which has no fast kernel for proj_size
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
OPERATOR = {PeepholeLSTM: "LSTM", ResetFirstGRU: "GRU", SigmoidRNN: "RNN"}


class Layer(nn.Module):
    """The layer with its states as further inputs and outputs."""

    def __init__(self, kind, settings, stateful):
        super().__init__()
        self.rnn = kind(4, 6, **settings)
        self.stateful = stateful

    def forward(self, x, *states):
        given = states if isinstance(self.rnn, nn.LSTM | PeepholeLSTM) else states[0] if states else None
        y, last = self.rnn(x, given if self.stateful else None)
        return (y, *last) if isinstance(last, tuple) else (y, last)


@pytest.mark.parametrize(("kind", "settings", "stateful"), CASES, ids=lambda v: str(getattr(v, "__name__", v)))
def test_exported_once_it_agrees_at_every_batch_and_time(kind, settings, stateful):
    torch.manual_seed(0)
    module = Layer(kind, settings, stateful).eval()
    rows = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    first = "NT" if settings.get("batch_first") else "TN"
    two = 2 if kind in (nn.LSTM, PeepholeLSTM) else 1
    widths = (settings.get("proj_size", 6), 6)
    states = [spec(f"s{i}", rows, "N", widths[i]) for i in range(two)] if stateful else []
    exported = to_onnx(Model(module, inputs=[spec("x", *first, 4), *states]))
    assert [o.dims for o in exported.outputs][1:] == [(rows, "N", width) for width in widths[:two]]
    nodes = [node.op_type for node in exported.network.graph]
    # a node a level, whatever the time
    assert nodes.count(OPERATOR.get(kind, kind.__name__)) == settings.get("num_layers", 1)
    assert "Loop" not in nodes and "Scan" not in nodes
    session = onnxruntime.InferenceSession(to_bytes(exported), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for batch, time in ((1, 1), (1, 3), (4, 11), (2, 40)):
        sizes = {"N": batch, "T": time}
        given = {s.name: rng.standard_normal(s.shape(sizes)).astype(np.float32) for s in exported.inputs}
        with torch.no_grad():
            expected = module(*(torch.from_numpy(given[s.name]) for s in exported.inputs))
        for a, b in zip(session.run(None, given), expected, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-5)  # sums of 6 in float32, over 40 steps


@pytest.mark.parametrize(("kind", "settings"), [(k, s) for k, s, _ in CASES if k in OPERATOR], ids=str)
def test_our_own_layers_come_back_from_onnx_as_what_they_were(kind, settings):
    torch.manual_seed(0)
    first = "NT" if settings.get("batch_first") else "TN"
    states = [spec(f"s{i}", 1, "N", 6) for i in range(2 if kind is PeepholeLSTM else 1)]
    model = Model(Layer(kind, settings, True), inputs=[spec("x", *first, 4), *states])
    assert type(model.network.get_submodule("rnn")) is kind
    exported = to_onnx(model)
    lifted = lift_onnx(exported)
    assert verify(exported, lifted).sqnr_db > 100
    found = lifted.network.get_submodule("rnn")
    assert type(found) is kind
    if settings.get("forget_gate", True):
        before = model.network.get_submodule("rnn").state_dict()
        weights = {name: value for name, value in found.state_dict().items() if name in before}
        assert weights.keys() == before.keys()
        assert all(torch.equal(before[name], value) for name, value in weights.items())
    else:  # the gate that ONNX cannot leave out, held open
        assert (torch.sigmoid(found.bias_ih_l0.chunk(4)[1]) == 1).all() and not found.weight_cf.any()


def test_a_state_fed_back_gives_what_the_whole_sequence_does():
    torch.manual_seed(0)
    model = Model(
        Layer(PeepholeLSTM, {}, True), inputs=[spec("x", "T", "N", 4), spec("h", 1, "N", 6), spec("c", 1, "N", 6)]
    )
    session = onnxruntime.InferenceSession(to_bytes(to_onnx(model)), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((30, 2, 4)).astype(np.float32)
    h = c = np.zeros((1, 2, 6), np.float32)
    whole, *_ = session.run(None, {"x": x, "h": h, "c": c})
    for part in np.split(x, [1, 2, 7, 20]):
        found, h, c = session.run(None, {"x": part, "h": h, "c": c})
    np.testing.assert_allclose(found[-1], whole[-1], atol=1e-6)
