"""Every row of the table is prepared and still does what it did, under the names it had."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import compress  # noqa: F401
from cli import status
from export.folded import folded
from export.onnx_file import read, to_bytes
from export.parity import parity
from export.session import onnx_runner
from models.errors import DataError
from models.records import Model, OutputSpec, example, sizes_of
from tests.export.old_graphs import TABLE, floats, ints, net

WEIGHTS = {"w": floats("w", 6, 32), "m": floats("m", 32, 4)}
BETWEEN = ("float[N,6] x", "float[N,4] y")


def opened(folder, model: onnx.ModelProto) -> Model:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return read(path)


@pytest.fixture(params=list(TABLE))
def model(request, tmp_path) -> Model:
    return opened(tmp_path, TABLE[request.param]())


def test_what_is_prepared_agrees_with_what_came(model):
    made = folded(model)
    assert made.left == "", "the thorough way agrees"
    assert [s.name for s in made.model.inputs] == [s.name for s in model.inputs]
    graph = made.model.onnx.graph
    assert [value.name for value in graph.outputs] == [spec.name for spec in model.outputs]
    names = [node.name for node in graph]
    assert all(names) and len(set(names)) == len(names)
    assert not {"Identity", "Constant", "Dropout"} & {n.op_type for n in graph if not n.outputs[0].is_graph_output()}
    assert not any(value.is_graph_input() for value in graph.initializers.values())


def kinds(model: Model) -> list[str]:
    return [node.op_type for node in model.onnx.graph]


def prepared(folder, name: str) -> Model:
    return folded(opened(folder, TABLE[name]())).model


def test_batch_norms_are_folded_where_nothing_else_reads_before_them(tmp_path):
    assert "BatchNormalization" not in kinds(prepared(tmp_path, "listed_initializers"))
    assert "BatchNormalization" not in kinds(prepared(tmp_path, "face_detector_of_opset_nine"))
    for kept in ("norm_with_several_readers", "weight_used_twice"):
        assert "BatchNormalization" in kinds(prepared(tmp_path, kept)), kept


def test_chains_in_front_of_weights_are_computed_once(tmp_path):
    made = prepared(tmp_path, "weights_behind_chains")
    assert kinds(made) == ["Conv", "Relu", "Conv", "GlobalAveragePool", "Reshape", "Gemm"]
    assert all(value.is_initializer() for node in made.onnx.graph for value in node.inputs[1:])


def test_shapes_that_follow_from_fixed_inputs_are_constants(tmp_path):
    assert not {"Shape", "Gather", "Unsqueeze"} & set(kinds(prepared(tmp_path, "face_detector_of_opset_nine")))


def test_stale_shapes_inside_are_not_believed(tmp_path):
    made = net("a = MatMul (x, w)  s = Shape (a)  b = Relu (a)  y = MatMul (b, m)", BETWEEN[0], BETWEEN[1], **WEIGHTS)
    made.graph.output.append(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [2]))
    made.graph.value_info.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [1, 32]))
    model = opened(tmp_path, made)
    batch = example(model.inputs, {"N": 3})
    assert [list(onnx_runner(m)(batch)["s"]) for m in (model, folded(model).model)] == [[3, 32]] * 2


def test_an_ir_version_from_later_is_read_and_an_opset_from_later_is_named(tmp_path, capsys):
    body = "a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, m)"
    assert opened(tmp_path, net(body, *BETWEEN, ir_version=99, **WEIGHTS)).onnx.ir_version <= 13
    (tmp_path / "new.onnx").write_bytes(net(body, *BETWEEN, opset=99, **WEIGHTS).SerializeToString())
    assert status(["info", str(tmp_path / "new.onnx")]) == 1
    assert "opset 99" in capsys.readouterr().err


def test_data_come_before_examples_and_rows_are_kept_apart(tmp_path):
    made = opened(tmp_path, TABLE["lstm_inside_if"]())
    batch = {**example(made.inputs, {**sizes_of(made), "N": 5}), "sr": np.asarray(16000)}
    good = folded(made, [batch]).model
    result = parity(onnx_runner(made), onnx_runner(good), [batch])
    assert result.sqnr_db > 100


def test_a_batch_that_is_free_in_name_alone_is_told(tmp_path):
    made = opened(
        tmp_path,
        net("a = Reshape (x, s)  y = MatMul (a, w)", BETWEEN[0], "float[N,32] y", **{**WEIGHTS, "s": ints(1, 6)}),
    )
    with pytest.raises(DataError, match=r"runs on one sample .* 'N' free.*make_dynamic_shape_fixed --dim_param N"):
        folded(made, [example(made.inputs, {"N": 8})])


def said(folder, capsys, model: onnx.ModelProto | bytes) -> str:
    """What the command line says of a file that it cannot quantize; no traceback, no file left behind."""
    path = folder / "bad.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    before = sorted(folder.iterdir())
    assert status(["quantize", str(path), "--mode", "weights"]) == 1
    assert sorted(folder.iterdir()) == before
    text = capsys.readouterr().err
    assert "Traceback" not in text and "mistake of compress" not in text and text.count("\n") == 1
    return text


def test_an_operator_that_the_runtime_does_not_know_is_named(tmp_path, capsys):
    body = "a = MatMul (x, w)  b = my.own.Thing <k=3> (a)  y = MatMul (b, m)"
    assert "'my.own:Thing'" in said(tmp_path, capsys, net(body, *BETWEEN, domains=(("my.own", 1),), **WEIGHTS))
    assert "Nonsense" in said(tmp_path, capsys, net("y = Nonsense (x)", BETWEEN[0], "float[N,6] y"))


def test_a_network_that_runs_on_no_example_asks_for_data(tmp_path, capsys):
    made = net("a = Reshape (x, s)  y = MatMul (a, m)", BETWEEN[0], "float[7,4] y", s=ints(7, 13), m=floats("m", 13, 4))
    assert "Give --data" in said(tmp_path, capsys, made)


def external(name: str, dims: tuple[int, ...], file: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=dims, data_location=1)
    for key, value in (("location", file), ("offset", "0"), ("length", str(4 * int(np.prod(dims))))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_weights_in_a_file_of_their_own_are_there_whole_and_beside(tmp_path, capsys):
    made = net("y = MatMul (x, w)", BETWEEN[0], "float[N,32] y")
    made.graph.initializer.append(external("w", (6, 32), "w.bin"))
    assert "'w.bin', which does not lie beside it" in said(tmp_path, capsys, made)
    (tmp_path / "w.bin").write_bytes(WEIGHTS["w"].tobytes()[:-8])
    assert "has 760 bytes and needs 768" in said(tmp_path, capsys, made)
    made.graph.initializer[0].external_data[0].value = "../w.bin"
    assert "outside its own folder" in said(tmp_path, capsys, made)


def test_more_than_two_gigabytes_are_refused_before_anything_is_read(tmp_path, capsys):
    made = net("a = MatMul (x, w)  b = MatMul (a, v)  y = MatMul (b, u)", *BETWEEN, w=WEIGHTS["w"])
    rows = 10_000_000
    made.graph.initializer.extend([external("v", (32, rows), "big.bin"), external("u", (rows, 4), "big.bin")])
    with open(tmp_path / "big.bin", "wb") as file:
        file.truncate(32 * rows * 4 * 2)
    made.graph.node.add(op_type="MatMul", input=["a", "v2"], output=["unused"])
    made.graph.initializer.append(external("v2", (32, 2 * rows), "big.bin"))
    assert "3.7 GB of weights" in said(tmp_path, capsys, made)


def test_rows_of_one_name_and_nodes_out_of_order_are_set_right(tmp_path):
    names = [node.name for node in opened(tmp_path, TABLE["odd_names"]()).onnx.graph if node.name]
    assert names == ["same", "same_1"]
    assert kinds(opened(tmp_path, TABLE["unsorted_graph"]())) == ["MatMul", "Relu", "MatMul"]
    free = opened(tmp_path, TABLE["nameless_dimensions"]())
    assert all(isinstance(spec.dims[0], str) for spec in (*free.inputs, *free.outputs))
    assert all(isinstance(value.shape[0], ir.SymbolicDim) for value in free.onnx.graph.inputs)
    assert isinstance(free.outputs[0], OutputSpec) and to_bytes(free)


def test_constants_of_files_are_found_in_bodies_too(tmp_path):
    from export.external_data import tensors_of

    names = {tensor.name for tensor in tensors_of(TABLE["lstm_inside_if"]())}
    assert {"qlw", "pw"} <= names
    assert ints(1, 2).dtype == np.int64
