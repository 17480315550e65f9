import random
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import compress  # noqa: F401
from export.onnx_file import read, to_bytes, write
from models.errors import ModelFileError
from models.records import Form, InputSpec, Mfcc, Model, OutputSpec, Preprocess

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def proto(
    *, opset: int = 13, ir_version: int = 7, listed: bool = False, dims=("N", 2), out=("N", 3)
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)]
    if listed:
        inputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3]))
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, out)
    graph = helper.make_graph([node], "g", inputs, [output], [numpy_helper.from_array(WEIGHT, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(proto().SerializeToString())
    return path


def test_names_types_and_letters_are_read(file):
    model = read(file)
    assert model.name == "net"
    assert model.inputs == (InputSpec(name="x", dtype="float32", dims=("N", 2)),)
    assert model.outputs == (OutputSpec(name="y", dtype="float32", dims=("N", 3)),)


@pytest.mark.parametrize(("opset", "ir_version"), [(9, 3), (9, 4), (11, 6), (15, 8), (18, 9), (21, 10)])
def test_every_opset_from_nine_on(tmp_path, opset, ir_version):
    path = tmp_path / "old.onnx"
    path.write_bytes(proto(opset=opset, ir_version=ir_version, listed=ir_version < 4).SerializeToString())
    assert [spec.name for spec in read(path).inputs] == ["x"]


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path):
    path = tmp_path / "listed.onnx"
    path.write_bytes(proto(listed=True).SerializeToString())
    assert [spec.name for spec in read(path).inputs] == ["x"]


def test_nameless_dimensions_get_letters(tmp_path):
    path = tmp_path / "free.onnx"
    path.write_bytes(proto(dims=(None, 2), out=(-1, 3)).SerializeToString())
    model = read(path)
    assert [s.dims for s in (*model.inputs, *model.outputs)] == [("N", 2), ("N", 3)]


def test_an_output_without_a_shape_is_run_to_see_it(tmp_path):
    made = proto()
    made.graph.output[0].type.tensor_type.ClearField("shape")
    path = tmp_path / "shapeless.onnx"
    path.write_bytes(made.SerializeToString())
    assert read(path).outputs[0].dims == ("N", 3)


def test_external_data_comes_in_and_one_file_goes_out(tmp_path):
    path = tmp_path / "outside.onnx"
    onnx.save(proto(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = read(path)
    write(model, tmp_path / "inside.onnx")
    (tmp_path / "weights.bin").unlink()
    np.testing.assert_array_equal(
        read(tmp_path / "inside.onnx").network.graph.initializers["w"].const_value.numpy(), WEIGHT
    )
    with pytest.raises(ModelFileError, match=r"weights.bin"):
        read(path)


def test_everything_that_travels_comes_back(file, tmp_path):
    source = read(file)
    mfcc = Mfcc(sample_rate=8000, window=256, hop=128, mel_bands=20, coefficients=10, low_hz=20.0, high_hz=4000.0)
    state = (InputSpec(name="x", dtype="float32", dims=("N", 2), state_of="y", initial=0.5, high=7),)
    model = Model(
        source.network, state, source.outputs, labels=("yes", "nö"), preprocess=Preprocess(mean=(1.0,), mfcc=mfcc),
        history=({"pass": "prune", "settings": {"ratio": 0.5, "skip": ["a"]}},), typical={"N": 4}, name="kws",
        data="fsdd",
        sample={"x": np.ones((3, 2), np.float32)},
    )  # fmt: skip
    write(model, tmp_path / "out.onnx")
    again = read(tmp_path / "out.onnx")
    for fact in ("inputs", "outputs", "labels", "preprocess", "history", "typical", "name", "data"):
        assert getattr(again, fact) == getattr(model, fact), fact
    np.testing.assert_array_equal(again.sample["x"], model.sample["x"])
    assert "onnx" in again.network.metadata_props["compress.versions"]
    assert not source.network.metadata_props, "the model that is written stays as it is"


def test_the_same_model_gives_the_same_bytes(file, tmp_path):
    model = read(file)
    write(model, tmp_path / "a.onnx")
    write(model, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() == to_bytes(model)


def test_a_constant_alone_says_its_type_and_shape(file):
    """Said twice they are a hundredth of a small file; what a body holds is no exception."""
    model = read(file)
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["z"], name="add")],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.ones(2, np.float32), "c")],
    )
    graph = proto()
    graph.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    graph.graph.node.append(helper.make_node("If", ["yes"], ["u"], name="if", then_branch=body, else_branch=body))
    written = onnx.load_from_string(to_bytes(replace(model, network=ir.from_proto(graph))))
    inner = [a.g for a in written.graph.node[-1].attribute]
    for each in (written.graph, *inner):
        assert len(each.initializer) and not {v.name for v in each.value_info} & {t.name for t in each.initializer}


def test_further_forms_lie_beside_and_come_back(file, tmp_path):
    model = read(file)
    part = Form(inputs=model.inputs, outputs=model.outputs, network=ir.from_proto(proto()))
    write(Model(model.network, model.inputs, model.outputs, name="two", forms={"step": part}), tmp_path / "two.onnx")
    assert (tmp_path / "two.step.onnx").is_file()
    assert read(tmp_path / "two.onnx").forms["step"].inputs == model.inputs


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello, I am a text\n" * 9, "no ONNX file"),
        (random.Random(0).randbytes(4000), "no ONNX file"),
        (proto().SerializeToString()[:-20], "cut off"),
        (proto().SerializeToString()[:2], "only its beginning"),
        (proto(opset=8).SerializeToString(), "opset 8"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, content, says):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says) as raised:
        read(path)
    assert "bad.onnx" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"no file .*none.onnx"):
        read(tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match="is a folder"):
        read(tmp_path)


def test_a_graph_that_no_runtime_takes_is_refused(tmp_path):
    made = proto()
    made.graph.node[0].input[1] = "nowhere"
    path = tmp_path / "broken.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match=r"no valid ONNX.*nowhere"):
        read(path)


def test_text_inputs_are_refused(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.STRING, ["N"]) for n in "xy"]
    path = tmp_path / "text.onnx"
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7).SerializeToString()
    )
    with pytest.raises(ModelFileError, match="only tensors of numbers"):
        read(path)


def test_broken_metadata_of_ours_is_named(file, tmp_path):
    made = proto()
    made.metadata_props.add(key="compress.labels", value="[not json")
    path = tmp_path / "meta.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="metadata that compress wrote"):
        read(path)


def test_a_later_version_is_named(tmp_path):
    made = proto()
    made.metadata_props.add(key="compress.schema", value="999")
    path = tmp_path / "later.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelFileError, match="later version"):
        read(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 150), byte=st.integers(0, 255), at=st.integers(0, 150))
def test_damage_never_gives_another_error(tmp_path, cut, byte, at):
    data = bytearray(proto().SerializeToString())
    data[at % len(data)] = byte
    path = tmp_path / "damaged.onnx"
    path.write_bytes(bytes(data[: len(data) - cut % len(data)]))
    try:
        read(path)
    except ModelFileError as error:
        assert "\n" not in str(error)
