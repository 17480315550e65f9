import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import compress  # noqa: F401
from export.cost import cost, integer_macs_share
from export.counts import Step, peak_bytes
from export.einsum import einsum_macs
from export.lift import lift
from export.lifted import tensors
from export.to_onnx import to_onnx
from models.records import InputSpec, Model, OutputSpec
from models.recurrent import PeepholeLSTM, SigmoidRNN
from tests.export.exported import BY_NAME, exported


def model_of(module: nn.Module, *inputs: InputSpec) -> Model:
    lifted = lift(module.eval(), inputs)
    return Model(lifted.network, tuple(inputs), lifted.outputs, name="net")


def spec(*dims, dtype="float32", **facts) -> InputSpec:
    return InputSpec(name="x", dtype=dtype, dims=dims, **facts)


CASES = {  # network, input, MACs at N = 1, T = 10 by hand
    "conv": (nn.Conv2d(4, 8, 3, groups=2), spec("N", 4, 10, 12), 8 * 8 * 10 * (4 // 2) * 9),
    "strided": (nn.Conv2d(4, 8, 3, stride=2, padding=1), spec("N", 4, 10, 12), 8 * 5 * 6 * 4 * 9),
    "transposed": (nn.ConvTranspose2d(4, 8, 2, stride=2), spec("N", 4, 5, 6), 4 * 5 * 6 * 8 * 4),
    "linear": (nn.Linear(6, 7), spec("N", "T", 6), 10 * 6 * 7),
    "gru": (nn.GRU(5, 6, batch_first=True, bidirectional=True), spec("N", "T", 5), 10 * 2 * 3 * 6 * (5 + 6)),
    "lstm": (nn.LSTM(5, 6, num_layers=2, batch_first=True), spec("N", "T", 5), 10 * 4 * 6 * (5 + 6 + 6 + 6)),
    "peephole": (PeepholeLSTM(5, 6, batch_first=True), spec("N", "T", 5), 10 * 4 * 6 * (5 + 6)),
    "sigmoid-rnn": (SigmoidRNN(5, 6, batch_first=True), spec("N", "T", 5), 10 * 6 * (5 + 6)),
    "embedding": (nn.Embedding(20, 8), spec("N", "T", dtype="int64", high=20), 0),
    "norm": (nn.BatchNorm1d(6), spec("N", 6, "T"), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand_for_torch_and_onnx_alike(name):
    torch.manual_seed(0)
    module, x, macs = CASES[name]
    model = model_of(nn.Sequential(module) if name not in ("gru", "lstm", "peephole", "sigmoid-rnn") else module, x)
    assert cost(model, N=1, T=10).macs == macs
    assert cost(to_onnx(model), N=1, T=10).macs == macs
    assert cost(model, N=1, T=10).parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["residual", "conv3d", "gru-both", "word2vec"])
def test_against_torchs_own_counter(name):
    architecture = BY_NAME[name]
    model = model_of(architecture.module(), *architecture.inputs)
    sizes = {d: 3 for s in model.inputs for d in s.dims if isinstance(d, str)}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(*tensors(model.inputs, sizes))
    assert cost(model, **sizes).macs == counter.get_total_flops() // 2


def test_layers_carry_the_users_names_and_add_up():
    for found in map(cost, exported(BY_NAME["residual"])):
        assert {"stem.0", "block.0", "block.3", "fc"} <= {row.layer for row in found.layers}
        assert sum(row.macs for row in found.layers) == found.macs
        assert sum(row.parameters for row in found.layers) == found.parameters


def test_tied_weights_count_once():
    model, onnx_model = exported(BY_NAME["tied"])
    assert cost(model).parameters == sum(p.numel() for p in model.network.parameters())
    assert cost(onnx_model).parameters == cost(model).parameters


def test_a_recurrent_layer_is_counted_where_only_its_last_state_is_used():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(5, 6, batch_first=True)

        def forward(self, x):
            return self.gru(x)[1].squeeze(0)

    model = model_of(Last(), spec("N", "T", 5))
    assert cost(to_onnx(model)).macs == cost(model).macs == 16 * 3 * 6 * (5 + 6)


def test_the_peak_is_where_the_most_is_alive():
    """x (10) -> a (100) -> b (20); c = a + b needs all three at once, a reshape of c nothing more."""
    steps = [Step([("a", 100)], ["x"]), Step([("b", 20)], ["a"]), Step([("c", 100)], ["a", "b"])]
    assert peak_bytes(steps, [("x", 10)], ["c"]) == 220
    assert peak_bytes([*steps, Step([("d", 100)], ["c"], shares="c")], [("x", 10)], ["d"]) == 220


def test_a_chain_keeps_two_tensors_alive():
    model = model_of(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)), spec("N", 1, 8, 8))
    assert cost(model).peak_activation_bytes == 2 * 4 * 64 * 4
    assert cost(to_onnx(model)).peak_activation_bytes == 2 * 4 * 64 * 4


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)], 720),
        ("ij->ji", [(2, 3)], 0),
    ],
)
def test_einsum_multiplies_all_indices(equation, shapes, macs):
    assert einsum_macs(equation, shapes) == macs


def quantized() -> Model:
    """x times an int8 matrix, as QuantizeLinear and DequantizeLinear around a MatMul; a float MatMul behind it."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.integers(-127, 127, (64, 64)).astype(np.int8), "v": rng.standard_normal((64, 32)).astype(np.float32),
        "s": np.float32(0.05), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"]),
        helper.make_node("MatMul", ["d", "dw"], ["p"], name="int/MatMul"),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "s", "z"], ["pd"]),
        helper.make_node("MatMul", ["pd", "v"], ["y"], name="float/MatMul"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", s]) for n, s in (("x", 64), ("y", 32)))
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    proto = helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
    return Model(ir.from_proto(proto), (spec("N", 64),), (OutputSpec(name="y", dtype="float32", dims=("N", 32)),))


def test_integers_are_counted_as_the_runtime_computes_them():
    model = quantized()
    found = cost(model)
    assert found.macs == 64 * 64 + 64 * 32
    assert found.parameters == 64 * 64 + 64 * 32
    assert {row.layer: row.bytes for row in found.layers} == {"int": 64 * 64, "float": 64 * 32 * 4}
    assert integer_macs_share(model) == pytest.approx(64 * 64 / found.macs)


def test_a_scan_counts_as_often_as_it_runs():
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["p"]),
            helper.make_node("Add", ["p", "row"], ["h_next"]),
            helper.make_node("Identity", ["h_next"], ["out"]),
        ],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("h", "row")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("h_next", "out")],
    )
    scan = helper.make_node("Scan", ["h0", "x"], ["last", "y"], num_scan_inputs=1, body=body, name="loop")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, 4])
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, 4])]
    constants = [
        numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"),
        numpy_helper.from_array(np.zeros((1, 4), np.float32), "h0"),
    ]
    proto = helper.make_model(helper.make_graph([scan], "g", [x], outputs, constants), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
    model = Model(ir.from_proto(proto), (spec("T", 1, 4),), (OutputSpec(name="y", dtype="float32", dims=("T", 1, 4)),))
    assert cost(model, T=7).macs == 7 * 16


def test_a_loop_that_collects_its_results_in_a_sequence_counts_as_often_as_it_runs():
    """As scripted modules come out: what each turn gives is put into a list."""
    proto = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1,4] x) => (float[T,4] y) <float[4,4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, int64 turns = {5}> {
            empty = SequenceEmpty ()
            last, all = Loop (turns, , x, empty) <body = b (int64 i, bool c, float[1,4] h, seq(float) list)
                => (bool go, float[1,4] next, seq(float) longer) {
                go = Identity (c)
                next = MatMul (h, w)
                longer = SequenceInsert (list, next)
            }>
            y = ConcatFromSequence <axis = 0> (all)
        }
    """)
    model = Model(ir.from_proto(proto), (spec(1, 4),), (OutputSpec(name="y", dtype="float32", dims=("T", 4)),))
    assert cost(model).macs == 5 * 16


def test_a_weight_that_is_put_together_of_constants_is_counted_where_it_is_computed_with():
    """As a script exports an LSTM: its gates in pieces, each a constant inside a node."""
    rng = np.random.default_rng(0)
    nodes = []
    for name, rows in (("W", 3), ("R", 4)):
        for part in range(2):
            piece = numpy_helper.from_array(rng.standard_normal((8, rows)).astype(np.float32))
            nodes.append(helper.make_node("Constant", [], [f"{name}{part}"], value=piece))
        nodes.append(helper.make_node("Concat", [f"{name}0", f"{name}1"], [f"{name}s"], axis=0))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}s", "axes"], [name]))
    nodes.append(helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="lstm", hidden_size=4))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, "N", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 1, "N", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.asarray([0]), "axes")])
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    given = InputSpec(name="x", dtype="float32", dims=(5, "N", 3))
    model = Model(ir.from_proto(proto), (given,), (OutputSpec(name="y", dtype="float32", dims=(5, 1, "N", 4)),))
    (row,) = [row for row in cost(model).layers if row.type == "LSTM"]
    assert row.parameters == 16 * (3 + 4) and row.bytes == 4 * row.parameters
    assert row.macs == 5 * 16 * (3 + 4)
