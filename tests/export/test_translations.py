"""Operations that torch's exporter does not translate: the file gives what torch gives, at other sizes too."""

import functools

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compress  # noqa: F401
from export.onnx_file import to_bytes
from export.to_onnx import to_onnx
from export.translations import TRANSLATIONS
from export.wrap import Model
from models.errors import CompressError
from tests.export.architectures import spec

ROW = torch.tensor([-0.8, -0.1, 0.0, 0.5])
OPERATIONS = {
    "cdist, p 2": lambda x: torch.cdist(x, 1 - x[:, :4]),
    "cdist, p 1, to a table": lambda x: torch.cdist(x, torch.eye(4), p=1.0),
    "cdist, p 0": lambda x: torch.cdist(x.round(), x.round(), p=0.0),
    "cdist, p 3": lambda x: torch.cdist(x, 2 * x, p=3.0),
    "cdist, p inf": lambda x: torch.cdist(x, 2 * x, p=float("inf")),
    "hypot": lambda x: torch.hypot(x, x.flip(1)),
    "fmax": lambda x: torch.fmax((x - 1).log(), x),
    "fmin": lambda x: torch.fmin(x, (x - 1).log()),
    "amax": lambda x: x.amax(),
    "amin": lambda x: x.amin((1, 2), keepdim=True),
    "rrelu": F.rrelu,
    "cumprod": lambda x: x.cumprod(1),
    "cumprod, last": lambda x: (2 * x.round()).cumprod(-1),
    "cummax": lambda x: x.round().cummax(1),
    "cummin": lambda x: x.round().cummin(2),
    "cummin, first": lambda x: x.cummin(0),
    "median": lambda x: x.median(1),
    "median of all, kept": lambda x: (x.median(), *x.median(2, keepdim=True)),
    "searchsorted": lambda x: torch.searchsorted(ROW, x.round(decimals=1)),
    "searchsorted, right": lambda x: torch.searchsorted(ROW, x.round(decimals=1), right=True, out_int32=True),
    "stable sort": lambda x: x.round().sort(dim=1, stable=True),
    "stable sort, descending": lambda x: x.round().sort(dim=-1, descending=True, stable=True),
    "adaptive pooling": lambda x: F.adaptive_avg_pool3d(x.mean(1).repeat(1, 18).view(-1, 2, 3, 3, 4), (3, 1, 2)),
    "conv3d": lambda x: F.conv3d(torch.stack([x] * 4, 1)[:, None], torch.ones(2, 1, 3, 1, 2), stride=2, padding=1),
}


class Applied(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return self.operation(x)


def exported(operation, *dims):
    return to_onnx(Model(Applied(operation).eval(), inputs=[spec("x", *dims)]))


@functools.cache
def session(name):
    return onnxruntime.InferenceSession(to_bytes(exported(OPERATIONS[name], "N", "T", 4)))


def test_there_are_many():
    assert len(TRANSLATIONS) <= len(OPERATIONS) > 20


@pytest.mark.parametrize("sizes", [(1, 5), (3, 9)], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_they_give_what_torch_gives(name, sizes):
    x = torch.randn(*sizes, 4, generator=torch.Generator().manual_seed(0))
    want = OPERATIONS[name](x)
    found = session(name).run(None, {"x": x.numpy()})
    for have, wanted in zip(found, want if isinstance(want, tuple) else (want,), strict=True):
        assert have.dtype == wanted.numpy().dtype
        np.testing.assert_allclose(have, wanted.numpy(), rtol=1e-5, atol=1e-6)  # float32, sums of four numbers


def test_the_inverse_error_function_is_right_to_single_precision_up_to_both_ends():
    file = onnxruntime.InferenceSession(to_bytes(exported(torch.erfinv, "N")))
    x = torch.cat([torch.linspace(-1, 1, 4001), 1 - 10.0 ** -torch.arange(1, 8)])
    (found,) = file.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, torch.erfinv(x.double()).numpy(), rtol=1e-6, atol=1e-7)


def test_a_convolution_in_three_dimensions_has_the_bias_that_it_has_and_no_other():
    found = exported(OPERATIONS["conv3d"], "N", 6, 4)
    (node,) = [n for n in found.network.graph if n.op_type == "Conv"]
    assert len([value for value in node.inputs if value is not None]) == 2


@pytest.mark.parametrize("channels", [2, 5])
def test_a_batch_norm_goes_into_a_convolution_in_three_dimensions_without_a_bias(channels):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(3, channels, 3, bias=False), nn.BatchNorm3d(channels), nn.ReLU()).eval()
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 1.5)
    found = to_onnx(Model(net, inputs=[spec("x", "N", 3, 4, 6, 6)]))
    assert [n.op_type for n in found.network.graph] == ["Conv", "Relu"]
    (node, _) = found.network.graph
    scale = net[1].weight / (net[1].running_var + net[1].eps).sqrt()
    bias = (net[1].bias - net[1].running_mean * scale).detach().numpy()
    np.testing.assert_allclose(ir.convenience.get_const_tensor(node.inputs[2]).numpy(), bias, rtol=1e-5, atol=1e-6)


def test_windows_of_several_sizes_are_refused():
    with pytest.raises(CompressError, match=r"pooling of 4 x 6 x 6 to 3 x 2 x 2 .* Ask for sizes that divide"):
        exported(lambda x: F.adaptive_avg_pool3d(x, (3, 2, 2)), "N", 1, 4, 6, 6)
