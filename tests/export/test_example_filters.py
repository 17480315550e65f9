"""Filters made for each example: lifted without a number of groups, exported, right for every batch."""

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compress  # noqa: F401
from export.onnx_file import to_bytes
from export.to_onnx import to_onnx
from export.wrap import Model
from tests.export.architectures import spec


class Modulated(nn.Module):
    def __init__(self, *, biased=False, **settings):
        super().__init__()
        self.style, self.filters = nn.Linear(5, 4), nn.Parameter(torch.randn(1, 6, 4, 3, 3))
        self.bias = nn.Linear(5, 6) if biased else None
        self.settings = settings

    def forward(self, x, z):
        n = x.shape[0]
        filters = (self.filters * self.style(z).view(n, 1, 4, 1, 1)).view(n * 6, 4, 3, 3)
        bias = None if self.bias is None else self.bias(z).view(-1)
        y = F.conv2d(x.view(1, n * 4, 9, 9), filters, bias, groups=n, **self.settings)
        return y.view(n, 6, *y.shape[2:])


@pytest.mark.parametrize(
    "settings",
    [{}, {"padding": 1}, {"stride": 2, "dilation": (1, 2), "padding": (2, 1)}, {"biased": True, "stride": 2}],
    ids=str,
)
def test_they_agree_in_torch_and_onnx_at_every_batch(settings):
    torch.manual_seed(0)
    module = Modulated(**settings).eval()
    model = Model(module, inputs=[spec("x", "N", 4, 9, 9), spec("z", "N", 5)])
    assert not [n for n in model.network.graphs["main"].nodes if "conv" in str(n.target)]
    session = onnxruntime.InferenceSession(to_bytes(to_onnx(model)), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        x, z = torch.randn(batch, 4, 9, 9), torch.randn(batch, 5)
        with torch.no_grad():
            want, lifted = module(x, z), model.network(x, z)
        torch.testing.assert_close(lifted, want, rtol=0, atol=1e-4)  # sums of 36 products of order 1, in another order
        (found,) = session.run(None, {"x": x.numpy(), "z": z.numpy()})
        np.testing.assert_allclose(found, want.numpy(), rtol=0, atol=1e-4)
