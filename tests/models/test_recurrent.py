"""Our own recurrent layers against their equations in NumPy, against torch's; how an error flows through a cell."""

import numpy as np
import pytest
import torch
from torch import nn

from models.recurrent import PeepholeLSTM, ResetFirstGRU, SigmoidRNN


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numbers(layer):
    return {name: value.detach().double().numpy() for name, value in layer.named_parameters()}


def by_hand(layer, x, h, c):
    """One step as the docstring's equations say, in double precision."""
    p = numbers(layer)
    bias = p.get("bias_ih_l0", 0) + p.get("bias_hh_l0", 0)
    i, *f, g, o = np.split(x @ p["weight_ih_l0"].T + h @ p["weight_hh_l0"].T + bias, 3 + layer.forget_gate, axis=1)
    i = sigmoid(i + p["weight_ci"] * c)
    f = sigmoid(f[0] + p["weight_cf"] * c) if f else 1.0
    c = f * c + i * np.tanh(g)
    o = sigmoid(o + p["weight_co"] * c)
    return o * np.tanh(c), c


@pytest.mark.parametrize("forget_gate", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_peephole_lstm_is_its_equations(forget_gate, bias):
    torch.manual_seed(0)
    layer = PeepholeLSTM(3, 5, bias=bias, batch_first=True, forget_gate=forget_gate)
    x, h, c = torch.randn(2, 7, 3), torch.randn(2, 5), torch.randn(2, 5)
    found, (last, cell) = layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
    h, c = h.double().numpy(), c.double().numpy()
    for step in range(7):
        h, c = by_hand(layer, x[:, step].double().numpy(), h, c)
        np.testing.assert_allclose(found[:, step].detach(), h, atol=1e-6)
    np.testing.assert_allclose(last[0].detach(), h, atol=1e-6)
    np.testing.assert_allclose(cell[0].detach(), c, atol=1e-6)


def test_a_sigmoid_rnn_is_its_equation():
    torch.manual_seed(0)
    layer = SigmoidRNN(3, 5)
    x, p = torch.randn(7, 2, 3), numbers(layer)
    found, last = layer(x)
    h = np.zeros((2, 5))
    for step in range(7):
        gates = x[step].double().numpy() @ p["weight_ih_l0"].T + h @ p["weight_hh_l0"].T
        h = sigmoid(gates + p["bias_ih_l0"] + p["bias_hh_l0"])
        np.testing.assert_allclose(found[step].detach(), h, atol=1e-6)
    np.testing.assert_allclose(last[0].detach(), h, atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_with_peepholes_of_zero_it_is_torchs_lstm(batch_first):
    torch.manual_seed(0)
    theirs, ours = nn.LSTM(3, 5, batch_first=batch_first), PeepholeLSTM(3, 5, batch_first=batch_first)
    zeros = {f"weight_{name}": torch.zeros(5) for name in ("ci", "cf", "co")}
    ours.load_state_dict(theirs.state_dict() | zeros)
    x, states = torch.randn(4, 6, 3), (torch.randn(1, 4 if batch_first else 6, 5),) * 2
    for given in (None, states):
        (a, (ha, ca)), (b, (hb, cb)) = theirs(x, given), ours(x, given)
        for one, other in ((a, b), (ha, hb), (ca, cb)):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_carousel_hands_the_error_on_as_it_is():
    """Without a forget gate dc_t/dc_{t-1} = 1.

    Held fixed is what the papers cut: the ways from c_{t-1} through the gates, which are that of the peepholes (zero
    here) and that of h_{t-1} (its weights are zero here). Over 200 steps the derivative is still 1, to the bit.
    """
    torch.manual_seed(0)
    layer = PeepholeLSTM(2, 4, batch_first=True, forget_gate=False)
    with torch.no_grad():
        for weight in (layer.weight_hh_l0, layer.weight_ci, layer.weight_co):
            weight.zero_()
    c = torch.randn(1, 1, 4, requires_grad=True)
    _, (_, last) = layer(torch.randn(1, 200, 2), (torch.zeros(1, 1, 4), c))
    for unit in range(4):
        (flow,) = torch.autograd.grad(last[0, 0, unit], c, retain_graph=True)
        assert torch.equal(flow[0, 0], torch.eye(4)[unit])


@pytest.mark.parametrize("forget_gate", [True, False])
def test_what_peepholes_and_a_forget_gate_add_to_the_flow(forget_gate):
    """With h_{t-1} held: dc_t/dc_{t-1} = f + c_{t-1} f (1 - f) w_cf + g i (1 - i) w_ci; f is 1 without its gate."""
    torch.manual_seed(0)
    layer = PeepholeLSTM(2, 6, forget_gate=forget_gate)
    gates = torch.randn(1, 6 * (3 + forget_gate))
    c = torch.randn(1, 6)
    flow = torch.autograd.functional.jacobian(lambda c: layer.step(gates, c)[1], c)[0, :, 0]
    p, before = numbers(layer), c[0].double().numpy()
    i, *f, g, _ = np.split(gates[0].double().numpy(), 3 + forget_gate)
    i = sigmoid(i + p["weight_ci"] * before)
    expected = np.tanh(g) * i * (1 - i) * p["weight_ci"]
    if f:
        forget = sigmoid(f[0] + p["weight_cf"] * before)
        expected += forget + before * forget * (1 - forget) * p["weight_cf"]
    else:
        expected += 1
    np.testing.assert_allclose(flow, np.diag(expected), atol=1e-6)


def test_a_gru_that_resets_first_is_what_its_equations_say_and_nn_gru_where_nothing_is_reset():
    layer = ResetFirstGRU(3, 5)
    x, h = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    (wr, wz, wn), (rr, rz, rn) = layer.weight_ih_l0.chunk(3), layer.weight_hh_l0.chunk(3)
    br, bz, bn = (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(3)
    found, last = layer(x, h)
    state = h[0]
    for t in range(4):
        r = torch.sigmoid(x[t] @ wr.T + state @ rr.T + br)
        z = torch.sigmoid(x[t] @ wz.T + state @ rz.T + bz)
        n = torch.tanh(x[t] @ wn.T + (r * state) @ rn.T + bn)
        state = (1 - z) * n + z * state
        torch.testing.assert_close(found[t], state)
    assert torch.equal(last[0], found[-1])

    torchs = nn.GRU(3, 5)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            torchs.get_parameter(name).copy_(layer.get_parameter(name))
        for gru in (torchs, layer):
            gru.bias_ih_l0[:5] = 30  # r is 1: both resets do nothing
    torch.testing.assert_close(layer(x, h), torchs(x, h))


@pytest.mark.parametrize("kind", [PeepholeLSTM, ResetFirstGRU, SigmoidRNN])
def test_a_sequence_without_its_batch_is_refused(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: takes a batch .* it was given \(7, 3\)\. Add a dimension"):
        kind(3, 5)(torch.zeros(7, 3))


def test_they_are_printed_as_torchs_layers():
    assert str(SigmoidRNN(3, 5)) == "SigmoidRNN(3, 5, bias=True, batch_first=False)"
    assert str(PeepholeLSTM(3, 5, forget_gate=False)).endswith("batch_first=False, forget_gate=False)")
