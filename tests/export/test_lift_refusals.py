import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compress  # noqa: F401
from export.lift import lift
from export.wrap import Model
from models.errors import LiftError, UsageError
from models.records import Form
from tests.export.architectures import spec

ROWS = (spec("x", "N", 8),)
STEPS = (spec("x", "N", "T", 8),)


class Around(nn.Module):
    """A layer of the user's inside a module of the user's."""

    def __init__(self, forward):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("memory", torch.zeros(8))
        self.inner = forward

    def forward(self, x):
        return self.inner(self, x)


class Deciding(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Outer(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 8), inner or Deciding())

    def forward(self, x):
        return self.block(x)


def remembers(self, x):
    y = self.fc(x) + self.memory
    self.memory.copy_(y.mean(0))
    return y


def packs(self, x):
    lengths = torch.full((x.shape[0],), 4)
    packed = nn.utils.rnn.pack_padded_sequence(x[:, :4], lengths, batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


def counts_steps(self, x):
    return sum(self.fc(x[:, t]) for t in range(x.shape[1]))


def hooked(untraceable):
    module = Around(lambda self, x: self.fc(x))
    module.fc.register_forward_hook(untraceable)
    return module


REFUSED = {
    "decides by data": (Outer(), ROWS, r"layer 'block\.1' decides by the values of a tensor"),
    "remembers": (Around(remembers), ROWS, "keeps a state in its buffer 'memory' from call to call"),
    "packs": (Around(packs), STEPS, "layer 'rnn' is given a PackedSequence"),
    "one size": (
        nn.Sequential(nn.Flatten(), nn.Linear(128, 2)),
        STEPS,
        "'T' is not free, the network works at 16 only",
    ),
    "counts steps": (Around(counts_steps), STEPS, "'T' is not free, the network works at 16 only"),
    "random": (Around(lambda s, x: s.fc(x) + torch.randn_like(x)), ROWS, "'randn_like', which draws random numbers"),
    "always drops": (Around(lambda s, x: F.dropout(s.fc(x))), ROWS, "a dropout stays active in eval mode"),
    "unknown": (Around(lambda s, x: torch.linalg.pinv(s.fc(x))), ROWS, "uses the operation 'linalg_pinv"),
    "inverse": (
        Around(lambda s, x: s.fc(x).clip(-1, 1) @ torch.inverse(s.fc.weight)),
        ROWS,
        "uses the operation 'linalg_inv', .* made of weights alone: compute it once, and keep the result as a buffer",
    ),
    "solve": (
        Outer(Around(lambda s, x: torch.linalg.solve(s.fc.weight, s.fc(x).mT).mT)),
        ROWS,
        r"layer 'block\.1' uses the operation 'linalg_solve', .* Write it with plain operations",
    ),
    "no tensor": (
        Outer(Around(lambda s, x: s.fc(x) + torch.randn(8, generator=torch.Generator().manual_seed(0)))),
        ROWS,
        r"layer 'block\.1' gives the operation 'randn' an object that is no tensor, of the type Generator\. Compute",
    ),
    "complex": (Around(lambda s, x: torch.fft.fft(s.fc(x))), ROWS, "gives complex numbers"),
    "hooks": (
        hooked(lambda m, i, o: o * float(o.numpy().max())),
        ROWS,
        "output 'y' of the lifted network differs .* It has hooks",
    ),
    "wrong sizes": (nn.Sequential(nn.Linear(7, 8)), ROWS, r"does not run at {'N': 2}: layer '0': mat1 and mat2"),
    "raises": (Around(lambda s, x: {}["nothing"]), ROWS, "does not run at {'N': 2}: 'forward': 'nothing'"),
    "on the meta device": (
        nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8, device="meta")),
        ROWS,
        r"'1\.weight' is on the meta device, so it has no values\. Load the trained weights",
    ),
    "lazy": (nn.Sequential(nn.LazyLinear(8)), ROWS, r"'0\.weight' is lazy and has seen no data"),
    "gives nothing": (Around(lambda s, x: 3), ROWS, "'forward' of Around gives no tensor"),
    "gives an object": (Around(lambda s, x: object()), ROWS, "gives a object, in which no tensors can be found"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lifted_is_refused_in_one_sentence(name, capsys):
    module, inputs, text = REFUSED[name]
    with pytest.raises(LiftError, match=text) as caught:
        lift(module, inputs)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_the_layer_and_the_operation_are_attributes():
    with pytest.raises(LiftError) as caught:
        lift(Outer(), ROWS)
    assert caught.value.layer == "block.1"
    with pytest.raises(LiftError) as caught:
        lift(Around(counts_steps), STEPS)
    assert caught.value.operation == "T"


def test_a_module_in_training_mode_is_lifted_in_eval_mode_and_stays_as_it_was():
    module = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
    found = lift(module, ROWS).network
    assert all(m.training for m in module.modules()) and not any(m.training for m in found.modules())
    x = torch.randn(3, 8)
    torch.testing.assert_close(found(x), module.eval()(x))


def test_a_data_parallel_wrapper_is_only_a_name_in_front():
    found = lift(nn.DataParallel(nn.Linear(8, 8)), ROWS).network
    assert [name for name, _ in found.named_parameters()] == ["module.weight", "module.bias"]


def test_a_letter_that_is_not_free_can_be_written_as_the_number_named():
    assert lift(Around(counts_steps), [spec("x", "N", 16, 8)]).outputs[0].dims == ("N", 8)


def test_a_table_of_positions_leaves_the_length_free_below_its_end():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(16, 8))

        def forward(self, x):
            return x + self.table[: x.shape[1]]

    assert lift(Table(), STEPS).outputs[0].dims == ("N", "T", 8)


def test_a_method_that_is_not_there_and_names_that_do_not_fit():
    with pytest.raises(LiftError, match="Linear has no method 'step'"):
        lift(nn.Linear(8, 8), ROWS, forms={"step": Form(method="step", inputs=ROWS, outputs=())})
    with pytest.raises(LiftError, match="2 output names were given, the network has 1 outputs: y"):
        lift(nn.Linear(8, 8), ROWS, outputs=["a", "b"])
    with pytest.raises(UsageError, match="say what the network takes"):
        Model(nn.Linear(8, 8))


def test_old_parametrizations_and_masks_become_plain_weights():
    import torch.nn.utils.prune

    with pytest.warns(FutureWarning):
        first = nn.utils.weight_norm(nn.Linear(8, 8))
    masked = nn.Linear(8, 8)
    torch.nn.utils.prune.l1_unstructured(masked, "weight", 0.5)
    module = nn.Sequential(first, nn.utils.spectral_norm(nn.Linear(8, 8)), masked).eval()
    network = lift(module, ROWS).network
    assert [n for n, _ in network.named_parameters()] == [f"{i}.{w}" for i in range(3) for w in ("weight", "bias")]
    assert int((network.get_submodule("2").weight == 0).sum()) == 32
    assert hasattr(first, "weight_g") and hasattr(masked, "weight_mask")  # the user's own are as they were


def test_names_that_the_lifted_network_needs_itself_get_a_stroke():
    class Names(nn.Module):
        def __init__(self):
            super().__init__()
            self.run = nn.Linear(8, 8)
            self.graphs = nn.ModuleDict({"form": nn.Linear(8, 8)})
            self.trace = nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.graphs["form"](self.run(x)) * self.trace

    network = lift(Names(), ROWS).network
    assert {n.rpartition(".")[0] for n, _ in network.named_parameters()} == {"run_", "graphs_.form", ""}


def test_inputs_and_constants_may_be_outputs_and_unused_inputs_stay():
    class Passing(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(3))

        def forward(self, x, unused):
            return x, self.w, torch.ones(2), {"n": x.shape[0], "none": None}

    result = lift(Passing(), [ROWS[0], spec("unused", "N", 2)])
    assert [o.dims for o in result.outputs] == [("N", 8), (3,), (2,)]
    assert result.network(torch.ones(5, 8), torch.ones(5, 2))[0].shape == (5, 8)


def test_regions_without_gradient_and_buffers_that_only_count_are_no_obstacle():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x):
            self.calls += 1
            with torch.no_grad():
                x = self.fc(x)
            with torch.autocast("cpu", enabled=False):
                return self.fc(x)

    assert [n for n, _ in lift(Counting(), ROWS).network.named_parameters()] == ["fc.weight", "fc.bias"]


def test_a_weight_that_is_masked_in_place_says_what_to_write_instead():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("mask", torch.ones(8, 8).tril())

        def forward(self, x):
            self.fc.weight.data *= self.mask
            return self.fc(x)

    with pytest.raises(LiftError, match=r"writes into a weight while it runs \(\.data\).*self\.weight \* self\.mask"):
        lift(Masked(), ROWS)
