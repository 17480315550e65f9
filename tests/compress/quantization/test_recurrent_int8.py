"""GRU and RNN as loops in int8, held against ONNX Runtime's own operators in float."""

import itertools
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import compress
from compress.base import Context
from compress.quantization.dynamic_int8 import has_loops, write_dynamic
from compress.quantization.onnx_weights import weights_of
from compress.quantization.quantize import Quantize
from compress.quantization.recurrent_int8 import loop_refusal
from compress.quantization.schemes import Scheme, scheme_for
from compress.quantization.weights_only import write_weights
from export.device import find_device
from export.folded import fold
from export.parity import sqnr_db
from export.profile import optimized_graph
from export.session import onnx_runner, stream
from export.to_onnx import to_onnx
from models import find
from models.records import InputSpec, Model, OutputSpec, example
from tests.compress.onnx_nets import recurrent

STEPS, ROWS, IN, HIDDEN = 12, 3, 20, 48
GATES = {"GRU": 3, "RNN": 1}


def constants(kind, ways, hidden=HIDDEN, seed=0):
    """Uniform as torch starts them, and then grown as training grows them."""
    rng, reach = np.random.default_rng(seed), 1.7 / np.sqrt(hidden)
    rows = GATES[kind] * hidden
    shapes = {"rnn.W": (ways, rows, IN), "rnn.R": (ways, rows, hidden), "rnn.B": (ways, 2 * rows)}
    return {name: rng.uniform(-reach, reach, shape).astype(np.float32) for name, shape in shapes.items()}


def layer(kind="GRU", *, reads=("Y", "Y_h"), lengths=False, initial=False, opset=18, numbers=None, **attributes):
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    numbers = numbers or constants(kind, ways)
    hidden = numbers["rnn.R"].shape[-1]
    given = ["x", "rnn.W", "rnn.R", "rnn.B", "lengths" if lengths else "", "first" if initial else ""]
    outputs = [name if name in reads else "" for name in ("Y", "Y_h")]
    node = helper.make_node(kind, given, outputs, name="rnn", hidden_size=hidden, **attributes)
    specs = [InputSpec(name="x", dtype="float32", dims=("T", "N", numbers["rnn.W"].shape[-1]))]
    specs += [InputSpec(name="lengths", dtype="int32", dims=("N",))] if lengths else []
    specs += [InputSpec(name="first", dtype="float32", dims=(ways, "N", hidden))] if initial else []
    dims = {"Y": ("T", ways, "N", hidden), "Y_h": (ways, "N", hidden)}
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], s.dims) for s in specs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims[name]) for name in reads],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    outputs = tuple(OutputSpec(name=name, dtype="float32", dims=dims[name]) for name in reads)
    return Model(ir.from_proto(proto), tuple(specs), outputs, name="net")


def looped(model, scheme=None, *, store_rest=False, **settings):
    """The model with loops in all of its forms, and the layers of the main one that are in int8 now."""

    def edited(network):
        network = network.clone()
        changed, _ = write_dynamic(network, scheme or Scheme(), loops=True, **settings)
        if store_rest:
            write_weights(network)
        return network, [note.layer for note in changed]

    network, layers = edited(model.network)
    forms = {name: replace(form, network=edited(form.network)[0]) for name, form in model.forms.items()}
    return replace(model, network=network, forms=forms), layers


def inputs(model, seed=2):
    rng = np.random.default_rng(seed)
    made = {"x": rng.standard_normal((STEPS, ROWS, model.inputs[0].dims[-1])).astype(np.float32)}
    for spec in model.inputs[1:]:
        if spec.name == "lengths":
            made["lengths"] = np.array([STEPS, 5, 1], np.int32)
        else:  # a state that no GRU has left behind
            made["first"] = (2 * rng.standard_normal((spec.dims[0], ROWS, spec.dims[2]))).astype(np.float32)
    return made


LAYERS = [
    *(("GRU", {"linear_before_reset": late}) for late in (0, 1)),
    *(("RNN", {"activations": [name]}) for name in ("Tanh", "Relu", "Sigmoid")),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "settings"), LAYERS, ids=["gru-first", "gru-late", "tanh", "relu", "sigmoid"])
def test_a_loop_gives_what_the_operator_gives(kind, settings, direction):
    if direction == "bidirectional" and "activations" in settings:
        settings = {"activations": settings["activations"] * 2}
    reads = [("Y", "Y_h"), ("Y",), ("Y_h",)]
    for lengths, initial, names in itertools.product((False, True), (False, True), reads):
        model = layer(kind, reads=names, lengths=lengths, initial=initial, direction=direction, **settings)
        (made, layers), x = looped(model), inputs(model)
        assert layers == ["rnn"]
        wanted, found = onnx_runner(model)(x), onnx_runner(made)(x)
        assert list(found) == list(wanted) == list(names)
        for name in names:
            assert found[name].shape == wanted[name].shape
            assert sqnr_db(wanted[name], found[name]) > 30


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("scheme", [Scheme(), Scheme(pairs_fit=True)], ids=["eight bits", "seven bits"])
def test_one_step_on_the_grids_is_exact(kind, scheme):
    """All weights, inputs and states are names of their grids, so that nothing is rounded."""
    numbers = constants(kind, 1)
    rng = np.random.default_rng(3)
    for name in ("rnn.W", "rnn.R"):
        rows = rng.integers(-63, 64, numbers[name].shape)
        rows[..., :2] = (64, 63) if scheme.pairs_fit else (127, 0)  # what sets the scale of its row to one
        numbers[name] = (rows / 512).astype(np.float32)
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    model = layer(kind, initial=True, numbers=numbers, **extra)
    given = {"x": rng.integers(0, 256, (1, ROWS, IN)) - 128.0, "first": rng.integers(0, 256, (1, ROWS, HIDDEN)) - 128.0}
    for name, array in given.items():
        array.flat[:2] = -128, 127  # its range is the whole grid
        given[name] = (array / 128).astype(np.float32)
    wanted, found = onnx_runner(model)(given), onnx_runner(looped(model, scheme)[0])(given)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_a_state_that_is_given_may_be_of_any_size():
    model = layer(initial=True, reads=("Y",), linear_before_reset=1)
    x = inputs(model)
    x["first"] *= 50
    wanted, found = onnx_runner(model)(x)["Y"], onnx_runner(looped(model)[0])(x)["Y"]
    assert np.abs(wanted).max() > 20
    assert sqnr_db(wanted, found) > 20  # a fixed scale would clip all of them to 1, at 2 dB


def test_a_sequence_is_rounded_for_itself_whatever_stands_beside_it():
    numbers = constants("GRU", 1)
    numbers["rnn.W"] *= 0  # what the input gives is rounded for the whole batch
    runner = onnx_runner(looped(layer(numbers=numbers))[0])
    alone, beside = runner({"x": np.ones((4, 1, IN), np.float32)}), runner({"x": np.ones((4, 5, IN), np.float32)})
    np.testing.assert_array_equal(alone["Y"], beside["Y"][:, :, :1])


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_older_and_newer_graphs(kind, opset):
    model = layer(kind, opset=opset, lengths=True, direction="bidirectional")
    x = inputs(model)
    assert sqnr_db(onnx_runner(model)(x)["Y"], onnx_runner(looped(model)[0])(x)["Y"]) > 30


def test_a_layer_whose_bias_dwarfs_its_weights_does_not_overflow():
    numbers = constants("GRU", 1)
    numbers["rnn.R"][:, ::3] = 1e-9
    model = layer(numbers=numbers, linear_before_reset=1)
    x = inputs(model)
    assert sqnr_db(onnx_runner(model)(x)["Y"], onnx_runner(looped(model)[0])(x)["Y"]) > 30


@pytest.mark.parametrize("per_channel", [True, False])
def test_several_layers_and_the_head_after_them(per_channel):
    first, second = layer(reads=("Y",)), layer("GRU", reads=("Y",), numbers=stacked())
    proto = onnx.compose.merge_models(
        onnx.compose.add_prefix(squeezed(first), "a."),
        onnx.compose.add_prefix(ir.to_proto(second.network), "b."),
        io_map=[("a.y", "b.x")],
    )
    x = InputSpec(name="a.x", dtype="float32", dims=("T", "N", IN))
    model = Model(ir.from_proto(proto), (x,), (OutputSpec(name="b.Y", dtype="float32", dims=()),))
    made, layers = looped(model, per_channel=per_channel)
    assert layers == ["a.rnn", "b.rnn"]
    given = {"a.x": inputs(first)["x"]}
    assert sqnr_db(onnx_runner(model)(given)["b.Y"], onnx_runner(made)(given)["b.Y"]) > 30


def stacked():
    return constants("GRU", 1) | {"rnn.W": np.random.default_rng(5).uniform(-0.2, 0.2, (1, 144, 48)).astype(np.float32)}


def squeezed(model):
    proto = ir.to_proto(model.network)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    proto.graph.node.append(helper.make_node("Squeeze", ["Y", "axis"], ["y"], name="squeeze"))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "N", HIDDEN]))
    return proto


def test_the_loop_is_few_integer_nodes_and_a_quarter_of_the_bytes():
    model = recurrent("GRU", hidden=64)
    made, _ = looped(model)
    nodes = optimized_graph(made)
    assert (nodes["DynamicQuantizeMatMul"], nodes["QGemm"]) == (3, 2)
    (scan,) = (node for node in made.network.graph if node.op_type == "Scan")
    assert scan.name == "rnn"
    assert len(scan.attributes["body"].value) <= 12
    held = sum(v.const_value.nbytes for v in made.network.graph.initializers.values())
    assert held < 0.35 * sum(v.const_value.nbytes for v in model.network.graph.initializers.values())


def test_an_old_graph_and_unusual_layers_are_refused_with_the_reason():
    def refused(model, opset=18):
        (node,) = model.network.graph
        return loop_refusal(node, weights_of(node), opset)

    assert refused(layer()) is None
    assert refused(layer(), 12) == "the graph is of opset 12, and a loop in int8 is written from opset 13 on"
    assert refused(layer(clip=3.0)) == "it clips its sums, which a loop in int8 does not"
    batch_first = layer()
    batch_first.network.graph[0].attributes["layout"] = ir.AttrInt64("layout", 1)
    assert refused(batch_first).startswith("it takes its input batch first")
    assert refused(layer(activations=["HardSigmoid", "Tanh"])) == "its activations are others than Sigmoid and Tanh"
    assert refused(layer("RNN", activations=["Softsign"])) == "its activation is none of Tanh, Sigmoid and Relu"
    endless = constants("GRU", 1)
    endless["rnn.B"][0, 0] = np.inf
    assert refused(layer(numbers=endless)) == "its bias holds NaN or infinity"
    assert not has_loops(layer(clip=3.0).network)
    assert not has_loops(layer().network, skip=("rnn",))


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("lengths", [False, True])
def test_an_input_whose_rank_nobody_knows_is_no_hindrance(kind, lengths):
    """The runtime runs no Scan whose body says no rank of what it gives, and here none follows from the input."""
    model = layer(kind, lengths=lengths)
    proto = ir.to_proto(model.network)
    proto.graph.node[0].input[0] = "reshaped"
    proto.graph.node.insert(0, helper.make_node("Reshape", ["x", "shape"], ["reshaped"], name="reshape"))
    proto.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, ["R"]))
    shape = InputSpec(name="shape", dtype="int64", dims=("R",))
    model = replace(model, network=ir.from_proto(proto), inputs=(*model.inputs, shape))
    x = inputs(layer(kind, lengths=lengths)) | {"shape": np.array([STEPS, ROWS, IN])}
    wanted, found = onnx_runner(model)(x), onnx_runner(looped(model)[0])(x)
    for name in wanted:
        assert sqnr_db(wanted[name], found[name]) > 30


def test_a_layer_inside_a_body_becomes_a_loop_there():
    inner = ir.to_proto(layer(reads=("Y",)).network).graph
    branch = helper.make_graph(
        list(inner.node), "then", [], [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)], inner.initializer
    )
    other = helper.make_graph(
        [helper.make_node("Unsqueeze", ["x", "one"], ["same"], name="same")],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1]), "one")],
    )
    node = helper.make_node("If", ["flag"], ["out"], name="if", then_branch=branch, else_branch=other)
    graph = helper.make_graph(
        [node],
        "net",
        [inner.input[0], helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    network = ir.from_proto(proto)
    changed, _ = write_dynamic(network, Scheme(), loops=True)
    assert [note.layer for note in changed] == ["rnn"]
    specs = (InputSpec(name="x", dtype="float32", dims=("T", "N", IN)), InputSpec(name="flag", dtype="bool", dims=()))
    outputs = (OutputSpec(name="out", dtype="float32", dims=()),)
    given = {"x": inputs(layer())["x"], "flag": np.array(True)}
    wanted, found = (onnx_runner(Model(n, specs, outputs))(given)["out"] for n in (ir.from_proto(proto), network))
    assert sqnr_db(wanted, found) > 30


@pytest.mark.parametrize("name", ["gru-fsdd", "rnn-fsdd", "birnn-fsdd"])
def test_a_trained_network_keeps_its_outputs_whole_and_step_by_step(name):
    whole = fold(to_onnx(compress.load(f"zoo:{name}")))
    made, _ = looped(whole, scheme_for(find_device("any")), store_rest=True)
    assert list(made.forms) == list(whole.forms)
    (features, _), *_ = find(name).task().validation
    assert flips(whole, made, [features]) < 0.03
    for form, part in whole.forms.items():
        steps = [example(part.inputs, {"N": 1, "T": 1}, seed=i) for i in range(20)]
        one, other = (
            np.concatenate([out["logits"] for out in stream(onnx_runner(form_of(m, form)), part.inputs, steps)])
            for m in (whole, made)
        )
        assert sqnr_db(one, other) > 25


def form_of(model, name):
    part = model.forms[name]
    return Model(part.network, part.inputs, part.outputs)


def flips(model, other, batches):
    wanted, found = (
        np.concatenate([onnx_runner(m)(batch)["logits"].argmax(-1).ravel() for batch in batches])
        for m in (model, other)
    )
    return float(np.mean(wanted != found))


def test_auto_offers_the_loop_and_tells_its_speed():
    model = recurrent("GRU", hidden=32)
    outcome = Quantize(mode="auto")(model, Context(device="cpu"))
    offered = {row["name"]: row for row in outcome.facts["candidates"]}
    assert "dynamic with loops" in offered
    assert "dynamic with loops" not in {
        row["name"] for row in Quantize(mode="auto")(recurrent("LSTM"), Context()).facts["candidates"]
    }


def test_mode_dynamic_says_what_auto_may_do():
    (note,) = Quantize(mode="dynamic")(recurrent("GRU"), Context()).skipped
    assert note.text == (
        "no dynamic int8 kernel for GRU in ONNX Runtime; weights mode stores it in 8 bits, and auto tries a loop of "
        "int8 products (faster from about 256 units on)"
    )


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_a_sequence_without_a_step_leaves_nothing_behind(kind, direction):
    """The operators give zeros then, and not the state that they were given."""
    model = layer(kind, lengths=True, initial=True, direction=direction)
    (made, _), x = looped(model), inputs(model)
    x["lengths"][1] = 0
    wanted, found = onnx_runner(model)(x), onnx_runner(made)(x)
    assert not wanted["Y_h"][:, 1].any()
    assert all(sqnr_db(wanted[name], found[name]) > 30 for name in wanted)
