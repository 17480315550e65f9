"""Recurrent layers exported once agree with torch at every batch and time, and are not unrolled."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.onnx_file import to_bytes
from export.to_onnx import to_onnx
from export.wrap import Model
from tests.export.architectures import spec

CASES = [
    (nn.LSTM, {}, True),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}, False),
    (nn.LSTM, {"bidirectional": True, "bias": False}, True),
    (nn.GRU, {"batch_first": True}, False),
    (nn.GRU, {"num_layers": 2, "bidirectional": True}, True),
    (nn.GRU, {"num_layers": 2, "batch_first": True}, True),
    (nn.RNN, {"nonlinearity": "tanh", "num_layers": 2, "batch_first": True}, True),
    (nn.RNN, {"nonlinearity": "relu", "bidirectional": True}, False),
]


class Layer(nn.Module):
    """The layer with its states as further inputs and outputs."""

    def __init__(self, kind, settings, stateful):
        super().__init__()
        self.rnn = kind(4, 6, **settings)
        self.stateful = stateful

    def forward(self, x, *states):
        given = states if isinstance(self.rnn, nn.LSTM) else states[0] if states else None
        y, last = self.rnn(x, given if self.stateful else None)
        return (y, *last) if isinstance(last, tuple) else (y, last)


@pytest.mark.parametrize(("kind", "settings", "stateful"), CASES, ids=lambda v: str(getattr(v, "__name__", v)))
def test_exported_once_it_agrees_at_every_batch_and_time(kind, settings, stateful):
    torch.manual_seed(0)
    module = Layer(kind, settings, stateful).eval()
    rows = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    first = "NT" if settings.get("batch_first") else "TN"
    states = [spec(f"s{i}", rows, "N", 6) for i in range(2 if kind is nn.LSTM else 1)] if stateful else []
    exported = to_onnx(Model(module, inputs=[spec("x", *first, 4), *states]))
    assert [o.dims for o in exported.outputs][1:] == [(rows, "N", 6)] * (2 if kind is nn.LSTM else 1)
    nodes = [node.op_type for node in exported.network.graph]
    assert nodes.count(kind.__name__) == settings.get("num_layers", 1)  # a node a level, whatever the time
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
