"""Names of free dimensions: what says no more than that it is free is no name."""

import onnx
import pytest
from onnx import TensorProto, helper

from export.load import load


def written(graph, path):
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("word", ["?", "None", "unk", "Unknown", "-1", "0", "*"])
def test_a_word_for_unknown_is_not_one_dimension_everywhere(word, tmp_path):
    """A file of PaddlePaddle calls the height of its picture '?', and its width as well."""
    shape = ["N", 3, word, word]
    nodes = [
        helper.make_node("Abs", ["x"], ["positive"], name="abs"),
        helper.make_node("GlobalAveragePool", ["positive"], ["y"], name="pool"),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(
        nodes, "net", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [word, 3, 1, 1])]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx"
    )
    model = load(tmp_path / "net.onnx")
    batch, channels, height, width = model.inputs[0].dims
    assert (batch, channels) == ("N", 3)
    assert isinstance(height, str) and isinstance(width, str) and height != width
    assert model.outputs[0].dims == ("N", 3, 1, 1)


def test_a_name_is_kept(tmp_path):
    node = helper.make_node("Abs", ["x"], ["y"], name="abs")
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["unk__12", "p2o.D.1", 4]) for n in "xy"]
    graph = helper.make_graph([node], "net", infos[:1], infos[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx"
    )
    assert load(tmp_path / "net.onnx").inputs[0].dims == ("unk__12", "p2o.D.1", 4)
