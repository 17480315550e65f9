"""A model says which kind of network it holds, and refuses to hand it out as the other."""

import onnx_ir as ir
import pytest
from torch import nn

import compress  # noqa: F401
from models.records import Model


def test_a_network_is_handed_out_as_what_it_is():
    layer = nn.Linear(2, 2)
    graph = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=10)
    assert Model(layer).module is layer
    assert Model(graph).onnx is graph
    with pytest.raises(TypeError, match=r"model 'line' is a torch network, and an ONNX graph is needed\. Use to_onnx"):
        _ = Model(layer, name="line").onnx
    with pytest.raises(TypeError, match=r"model 'line' is an ONNX graph, and a torch network is needed\. Use lift"):
        _ = Model(graph, name="line").module
