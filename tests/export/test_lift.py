import copy
import functools

import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.layers import DROPOUTS, LAYERS
from export.lift import LiftResult, lift
from export.lifted import MAIN, annotate, evaluating, tensors
from models.records import Form
from tests.export.architectures import ARCHITECTURES, Architecture, spec

assert len(ARCHITECTURES) > 30
# said once a process by torch itself, which has no fast kernel for proj_size
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
every = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)


@functools.cache
def lifted(architecture: Architecture) -> LiftResult:
    return lift(architecture.module(), architecture.inputs)


def fresh(architecture: Architecture):
    return copy.deepcopy(lifted(architecture).network)


def sizes(architecture: Architecture, base: int = 4) -> dict[str, int]:
    """Sizes the lifter has not tried, even ones for what is halved and doubled again."""
    letters = dict.fromkeys(d for s in architecture.inputs for d in s.dims if isinstance(d, str))
    return {letter: base + 2 * i for i, letter in enumerate(letters)}


def flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = outputs.values()
    return [t for part in outputs if part is not None for t in flat(part)]


def sized(dims, tried: dict[str, int]) -> list[int | None]:
    """Dimensions as numbers; None for one of which only the letters it follows from are said, as in f(T)."""
    given = {**tried, "f": lambda *_: None}
    return [eval(d, {}, given) if isinstance(d, str) else d for d in dims]


def reference(architecture: Architecture, inputs):
    named = {s.name: t for s, t in zip(architecture.inputs, inputs, strict=True)}
    module = architecture.module()
    try:
        return flat(module(**named))
    except TypeError:  # nn.Sequential calls its argument otherwise
        return flat(module(*inputs))


@every
def test_it_agrees_with_the_module_at_sizes_it_was_not_traced_at(architecture):
    inputs = tensors(architecture.inputs, sizes(architecture))
    with torch.no_grad():
        expected = reference(architecture, inputs)
        found = flat(lifted(architecture).network(*inputs))
    assert len(found) == len(expected) == len(architecture.outputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@every
def test_outputs_are_named_and_their_dimensions_hold(architecture):
    result, tried = lifted(architecture), sizes(architecture)
    assert tuple(o.name for o in result.outputs) == architecture.outputs
    for spec_, tensor in zip(result.outputs, flat(result.network(*tensors(architecture.inputs, tried))), strict=True):
        assert str(tensor.dtype) == f"torch.{spec_.dtype}"
        found = sized(spec_.dims, tried)
        assert found == list(tensor.shape) or None in found


@every
def test_layers_are_modules_under_the_users_names(architecture):
    network, module = lifted(architecture).network, architecture.module()
    weighted = {n: m for n, m in network.named_modules() if isinstance(m, LAYERS) and list(m.parameters(recurse=False))}
    assert weighted
    theirs = dict(module.named_modules())
    own = [n for n, m in theirs.items() if type(m) in LAYERS and not hasattr(m, "parametrizations")]
    kept = [n for n in own if n in weighted and type(weighted[n]) is type(theirs[n])]
    with_weights = [n for n in own if list(theirs[n].parameters(recurse=False))]
    assert set(with_weights) <= set(kept)


@every
def test_gradients_reach_every_parameter(architecture):
    network = fresh(architecture).train()
    outputs = flat(network(*tensors(architecture.inputs, sizes(architecture))))
    sum(t.square().sum() for t in outputs if t.requires_grad).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert not without and list(network.parameters())


@every
def test_a_deep_copy_shares_with_itself_and_not_with_the_original(architecture):
    network = lifted(architecture).network
    twin = copy.deepcopy(network)
    assert len(list(twin.parameters())) == len(list(network.parameters()))
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in network.parameters()}
    inputs = tensors(architecture.inputs, sizes(architecture))
    with torch.no_grad():
        before = flat(network(*inputs))
        for p in twin.parameters():
            p.zero_()
        after = flat(network(*inputs))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@every
def test_every_node_knows_its_shape(architecture):
    network = fresh(architecture)
    graph = network.graphs[MAIN]
    before = {n.name: (n.meta["shape"], n.meta["dtype"]) for n in graph.nodes}
    tried = sizes(architecture, base=6)
    with evaluating(network):
        for node, value in network.trace(MAIN, *tensors(architecture.inputs, tried)):
            if isinstance(value, torch.Tensor):
                shape = sized(node.meta["shape"], tried)
                assert shape == list(value.shape) or None in shape, node
    annotate(network, architecture.inputs, sizes(architecture, base=8))
    assert {n.name: (n.meta["shape"], n.meta["dtype"]) for n in graph.nodes} == before


@every
def test_dropout_and_batch_norm_train_again(architecture):
    network = fresh(architecture)
    inputs = tensors(architecture.inputs, sizes(architecture))
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    statistics = [m.running_mean.clone() for m in norms if m.running_mean is not None]
    with torch.no_grad():
        network.train()
        first, second = flat(network(*inputs)), flat(network(*inputs))
        now = [m.running_mean for m in norms if m.running_mean is not None]
        assert all(not torch.equal(a, b) for a, b in zip(statistics, now, strict=True))
        drops = [m for m in network.modules() if isinstance(m, DROPOUTS)]
        between = [m for m in network.modules() if getattr(m, "dropout", 0.0)]
        same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert same != bool(drops or between)
        assert all(0 < m.p < 1 for m in drops)


def by_name(name: str) -> Architecture:
    return next(a for a in ARCHITECTURES if a.name == name)


def test_no_layer_is_left_as_an_operation():
    left = {
        a.name: [
            str(n.target)
            for n in lifted(a).network.graphs[MAIN].nodes
            if "conv" in str(n.target) or "linear" in str(n.target)
        ]
        for a in ARCHITECTURES
    }
    left = {name: [t for t in found if t.startswith("aten.")] for name, found in left.items()}
    assert {name: found for name, found in left.items() if found} == {"shared": ["aten.conv2d.default"]}


def test_a_convolution_used_twice_is_one_module_called_twice_and_its_weight_a_tensor_elsewhere():
    graph = lifted(by_name("shared")).network.graphs[MAIN]
    assert [str(n.target) for n in graph.nodes if n.op == "call_module"] == ["stem", "conv", "conv"]
    assert {str(n.target) for n in graph.nodes if n.op == "get_attr"} == {"conv.weight", "conv.bias"}


def test_tied_weights_are_one_parameter():
    network = fresh(by_name("tied"))
    assert network.head.weight is network.embedding.weight
    assert network.embedding.padding_idx == 0


def test_an_attention_is_cut_into_its_projections():
    network = lifted(by_name("cross-attention")).network
    linears = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    assert {n: (m.in_features, m.out_features) for n, m in linears.items()} == {
        "attention.q_proj": (12, 12),
        "attention.kv_proj": (12, 24),
        "attention.out_proj": (12, 12),
    }


def test_a_weight_written_as_a_matrix_product_is_a_linear_layer():
    network = lifted(by_name("hand-written-cell")).network
    assert isinstance(network.candidate, nn.Linear)
    calls = [str(n.target) for n in network.graphs[MAIN].nodes if n.op == "call_module"]
    assert calls.count("candidate") == 5 and calls.count("gates") == 5


def test_recurrent_layers_are_the_users_own():
    network = lifted(by_name("gru")).network
    assert isinstance(network.rnn, nn.GRU)
    assert (network.rnn.num_layers, network.rnn.dropout, network.rnn.batch_first) == (2, 0.2, True)


def test_hooks_that_do_a_part_of_the_work_are_traced_with_it():
    rows = (spec("x", "N", 8),)
    behind, before = nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 8)
    behind[0].register_forward_hook(lambda layer, given, output: 2 * output)
    before.register_forward_pre_hook(lambda layer, given: (2 * given[0],))
    assert lift(behind, rows).difference < 1e-6
    assert lift(before, rows).difference < 1e-6


def test_a_recurrent_layer_beside_a_module_with_two_names():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = self.other = nn.ReLU()
            self.part = nn.ModuleDict({"rnn": nn.LSTM(8, 6, batch_first=True)})

        def forward(self, x):
            return self.other(self.part["rnn"](self.one(x))[0])

    assert isinstance(lift(Twice(), (spec("x", "N", "T", 8),)).network.part.rnn, nn.LSTM)


def test_a_type_asked_for_together_with_a_place_is_kept():
    class Masked(nn.Module):
        def forward(self, x):
            keep = torch.ones(x.shape[1]).to(device=x.device, dtype=torch.bool)
            return torch.where(keep & (x > 0), x, 0.5 * x)

    assert lift(Masked(), (spec("x", "N", 8),)).difference == 0


def test_batch_norm_keeps_a_momentum_of_none():
    assert lifted(by_name("norms")).network.get_submodule("9").momentum is None


def test_the_users_module_is_only_read():
    module = by_name("residual").build()
    called = []
    module.fc.register_forward_hook(lambda *_: called.append(1))
    module.train()
    module.fc.weight.grad = torch.ones_like(module.fc.weight)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    network = lift(module, by_name("residual").inputs).network
    assert all(m.training for m in module.modules())
    assert len(module.fc._forward_hooks) == 1 and module.fc.weight.grad is not None
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
    assert all(torch.equal(before[n], t) for n, t in module.state_dict().items())


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])

    def step(self, x, h):
        y, h = self.rnn(x[:, None], h[None])
        return self.fc(y[:, 0]), h[0]


def test_several_forms_run_over_the_same_layers():
    step = Form(method="step", inputs=(spec("x", "N", 4), spec("h", "N", 6)), outputs=())
    result = lift(Steps(), [spec("x", "N", "T", 4)], forms={"step": step}, outputs=["logits"])
    network, x = result.network, torch.randn(3, 5, 4)
    assert [list(form.outputs[1].dims) for form in result.forms.values()] == [["N", 6]]
    assert result.outputs[0].name == "logits"
    h = torch.zeros(3, 6)
    stepwise = copy.deepcopy(network).form("step")
    for t in range(5):
        y, h = stepwise(x[:, t], h)
    torch.testing.assert_close(y, network(x))
    assert dict(network.form("step").named_parameters()).keys() == dict(network.named_parameters()).keys()
    network.form("step").set_submodule("fc", nn.Linear(6, 3))
    assert network(x).shape == (3, 3)


def test_an_edit_counts_at_once_and_shapes_follow():
    network = fresh(by_name("squeeze-excite"))
    network.set_submodule("conv", nn.Conv2d(3, 6, 3, padding=1))
    network.set_submodule("down", nn.Linear(6, 1))
    network.set_submodule("up", nn.Linear(1, 6))
    network.set_submodule("out", nn.Conv2d(6, 4, 1))
    annotate(network, by_name("squeeze-excite").inputs, {"N": 2})
    shapes = {str(n.target): n.meta["shape"] for n in network.graphs[MAIN].nodes if n.op == "call_module"}
    assert shapes == {"conv": ("N", 6, 16, 16), "down": ("N", 1), "up": ("N", 6), "out": ("N", 4, 16, 16)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_constants_follow_the_network_to_another_device():
    architecture = by_name("causal")
    network = fresh(architecture).cuda()
    given = [t.cuda() for t in tensors(architecture.inputs, sizes(architecture))]
    assert network(*given).is_cuda


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x) + torch.arange(x.shape[1], device=x.device)[:, None]


def test_a_tensor_made_of_nothing_is_made_where_the_weights_are():
    network = lift(Positions(), [spec("x", "N", "T", 4)]).network
    assert all("device" not in node.kwargs for node in network.graphs[MAIN].nodes)
    assert network.to("meta")(torch.empty(2, 3, 4, device="meta")).is_meta


def test_the_length_of_a_batch_stays_free_and_len_is_pythons_again():
    class Counted(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), -1)

    result = lift(Counted(), [spec("x", "N", 2, 3)])
    assert result.outputs[0].dims == ("N", 6)
    assert isinstance(len(torch.ones(4)), int) and len.__module__ == "builtins"


def test_a_piece_of_a_buffer_that_a_layer_looks_up_is_what_it_is_applied_to():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.places = nn.Embedding(16, 4)
            self.register_buffer("numbers", torch.arange(16).expand(1, -1))

        def forward(self, x):
            return x + self.places(self.numbers[:, : x.shape[1]])

    module = Positions()
    network = lift(module, [spec("x", "N", "T", 4)]).network
    x = torch.randn(3, 7, 4)
    torch.testing.assert_close(network(x), module(x))
