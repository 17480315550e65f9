"""Backpropagation through time as its equations have it, in NumPy; and the networks that are trained by it."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from models import adder, find
from models.addition import STEPS, pairs, task, to_bits
from models.records import example
from models.recurrent import SigmoidRNN

SQUASHES = ["tanh", "sigmoid", "relu"]
NAMES = {"rnn-add": ("h",), "gru-add": ("h",), "lstm-add": ("h", "c")}


def squash(kind, a):
    return {"tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "relu": lambda a: np.maximum(a, 0)}[kind](a)


def slope(kind, h):
    """The squash's derivative, from its value."""
    return {"tanh": lambda h: 1 - h**2, "sigmoid": lambda h: h * (1 - h), "relu": lambda h: h > 0}[kind](h)


def forward(kind, p, x):
    """h_t = f(W_in x_t + W h_{t-1} + b), y_t = sigmoid(W_out h_t + c), of one sequence x (T, in)."""
    h = [np.zeros(len(p["b"]))]
    for x_t in x:
        h.append(squash(kind, p["W_in"] @ x_t + p["W"] @ h[-1] + p["b"]))
    return np.array(h), 1 / (1 + np.exp(-(np.array(h[1:]) @ p["W_out"].T + p["c"])))  # (T + 1, H), (T, out)


def error(kind, p, x, d):
    """E = the mean over steps of the binary cross-entropy of y_t and the wanted d_t."""
    h, _ = forward(kind, p, x)
    v = h[1:] @ p["W_out"].T + p["c"]
    return float((np.logaddexp(0, v) - d * v).mean())  # of the logits: log(1 - y) has no digits left where y is near 1


def backward(kind, p, x, d):
    """delta_t = dE/da_t = f'(a_t) . (W_out^T e_t + W^T delta_{t+1}), e_t = dE/dv_t, from the last step to the first."""
    h, y = forward(kind, p, x)
    e = (y - d) / d.size  # of the sigmoid and the cross-entropy together
    delta, later = np.zeros_like(h[1:]), np.zeros(len(p["b"]))
    for t in reversed(range(len(x))):
        later = slope(kind, h[t + 1]) * (p["W_out"].T @ e[t] + p["W"].T @ later)
        delta[t] = later
    return {
        "W_in": delta.T @ x,  # the sum over t of delta_t x_t^T
        "W": delta.T @ h[:-1],  # of delta_t h_{t-1}^T
        "W_out": e.T @ h[1:],
        "b": delta.sum(0),
        "c": e.sum(0),
    }


def autograd(kind, p, x, d):
    """The same gradients by torch, of the network as it is trained and the task's own loss."""
    width = len(p["b"])
    network = adder.Adder(adder.simple(width, kind), width).double()
    layer, zero = network.recurrent, np.zeros(width)
    for parameter, value in (
        (layer.weight_ih_l0, p["W_in"]),
        (layer.weight_hh_l0, p["W"]),
        (layer.bias_ih_l0, p["b"]),
        (layer.bias_hh_l0, zero),  # torch has b twice; the sum is what counts
        (network.head.weight, p["W_out"]),
        (network.head.bias, p["c"]),
    ):
        parameter.data.copy_(torch.from_numpy(value))
    loss = task().loss({"logits": network(torch.from_numpy(x)[None])}, torch.from_numpy(d[:, 0])[None])
    loss.backward()
    torch.testing.assert_close(layer.bias_ih_l0.grad, layer.bias_hh_l0.grad)
    found = {
        "W_in": layer.weight_ih_l0,
        "W": layer.weight_hh_l0,
        "W_out": network.head.weight,
        "b": layer.bias_ih_l0,
        "c": network.head.bias,
    }
    return loss.item(), {name: parameter.grad.numpy() for name, parameter in found.items()}


def drawn(width, steps, std, seed):
    rng = np.random.default_rng(seed)
    shapes = {"W_in": (width, 2), "W": (width, width), "W_out": (1, width), "b": (width,), "c": (1,)}
    parameters = {name: rng.normal(0, std, shape) for name, shape in shapes.items()}
    return parameters, rng.integers(0, 2, (steps, 2)).astype(float), rng.integers(0, 2, (steps, 1)).astype(float)


@pytest.mark.parametrize("kind", SQUASHES)
@pytest.mark.parametrize(("width", "steps", "std"), [(16, STEPS, 0.3), (5, 30, 1.0), (1, 1, 1.0)])
def test_autograd_is_backpropagation_through_time(kind, width, steps, std):
    p, x, d = drawn(width, steps, std, seed=width)
    loss, found = autograd(kind, p, x, d)
    assert loss == pytest.approx(error(kind, p, x, d), rel=1e-12)
    for name, wanted in backward(kind, p, x, d).items():
        # double precision, a few hundred products a number
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-12, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(SQUASHES),
    width=st.integers(1, 4),
    steps=st.integers(1, 6),
    std=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_the_equations_are_the_slopes_of_the_error(kind, width, steps, std, seed):
    p, x, d = drawn(width, steps, std, seed)
    size = 1e-6
    if kind == "relu":
        # a slope has no meaning where a step of the difference crosses the corner at 0
        h, _ = forward(kind, p, x)
        a = x @ p["W_in"].T + h[:-1] @ p["W"].T + p["b"]
        assume(np.abs(a).min() > 1e-3)
    for name, wanted in backward(kind, p, x, d).items():
        for place in np.ndindex(wanted.shape):
            sides = []
            for step in (size, -size):
                moved = {**p, name: p[name].copy()}
                moved[name][place] += step
                sides.append(error(kind, moved, x, d))
            # central: the cube of the step, and rounding of 1e-16 / 1e-6
            assert (sides[0] - sides[1]) / (2 * size) == pytest.approx(wanted[place], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_is_the_whole_at_once(name):
    entry = find(name)
    network, form = entry.build(), entry.forms["step"]
    bits = torch.from_numpy(to_bits(pairs("test")[::4001]).transpose(0, 2, 1).astype(np.float32))
    start = example(form.inputs, {"N": len(bits), "T": 1})
    states = [torch.from_numpy(start[state]) for state in NAMES[name]]
    assert [spec.state_of for spec in form.inputs[1:]] == [f"{state}_out" for state in NAMES[name]]
    parts = []
    with torch.no_grad():
        for some in bits.split([1, 1, 3, 4], 1):
            logits, *states = network.step(some, *states)
            parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), network(bits))


@pytest.mark.parametrize("how", ["normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize("name", NAMES)
def test_every_gate_starts_as_the_initialization_says(name, how):
    torch.manual_seed(0)
    width = 200
    network = find(name).build(width=width, initialization=how, std=0.3)
    assert not any(p.any() for p in network.parameters() if p.ndim == 1)
    for gate in network.recurrent.weight_hh_l0.detach().split(width):
        if how == "orthogonal":
            torch.testing.assert_close(gate @ gate.T, torch.eye(width), atol=1e-5, rtol=0)
        else:
            # uniform within sqrt(6 / (in + out)) has variance 2 / (in + out); 40,000 numbers know theirs to a percent
            wanted = {"normal": 0.3, "xavier": (2 / (2 * width)) ** 0.5, "kaiming": (2 / width) ** 0.5}[how]
            assert gate.std().item() == pytest.approx(wanted, rel=0.02)
            assert gate.mean().item() == pytest.approx(0, abs=0.02 * wanted)
    (row,) = network.head.weight.detach()
    assert row.any()


def test_the_initialization_of_torch_is_left_alone():
    torch.manual_seed(0)
    found = find("rnn-add").build().recurrent.state_dict()
    torch.manual_seed(0)
    wanted = nn.RNN(2, 16, batch_first=True).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_sigmoid_is_a_layer_of_its_own():
    network = find("rnn-add").build(activation="sigmoid")
    assert isinstance(network.recurrent, SigmoidRNN)
    assert isinstance(find("rnn-add").build(activation="relu").recurrent, nn.RNN)


def test_numbers_longer_than_those_of_training_are_added_too():
    from safetensors.torch import load_file

    from models import WEIGHTS

    numbers = np.random.default_rng(0).integers(0, 2**31, (100, 2))
    bits = torch.from_numpy(to_bits(numbers, 32).transpose(0, 2, 1).astype(np.float32))
    for name in NAMES:
        network = find(name).build()
        network.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
        with torch.no_grad():
            found = (network(bits) > 0).numpy()
        np.testing.assert_array_equal(found, to_bits(numbers.sum(1), 32), err_msg=name)
