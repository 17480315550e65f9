"""Recurrent layers that torch lacks: an LSTM with peepholes, a GRU that resets first, a simple RNN with a sigmoid.

They take and give what nn.LSTM, nn.GRU and nn.RNN of one level and one direction do, and name their parameters alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Layer(nn.Module):
    """The parameters of one recurrent level: weights of the input and of the state, `gates` rows of blocks each."""

    # what nn.LSTM and nn.RNN can have more of; code that asks any recurrent layer finds it here too
    num_layers = 1
    bidirectional = False
    proj_size = 0

    def __init__(self, input_size: int, hidden_size: int, *, gates: int, bias: bool, batch_first: bool) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias, self.batch_first = input_size, hidden_size, bias, batch_first
        self.weight_ih_l0 = nn.Parameter(torch.empty(gates * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(gates * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(gates * hidden_size)) if bias else None
        self.bias_hh_l0 = nn.Parameter(torch.empty(gates * hidden_size)) if bias else None

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(hidden_size), as torch starts its own recurrent layers."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the input gives to the gates, one (N, gates * hidden) a step: one product for all steps."""
        if x.dim() != 3:
            raise ValueError(
                f"{type(self).__name__}: takes a batch of sequences, 3 dimensions; it was given {tuple(x.shape)}. "
                "Add a dimension for the batch (unsqueeze)."
            )
        one, other = self.bias_ih_l0, self.bias_hh_l0
        bias = None if one is None or other is None else one + other
        return F.linear(x, self.weight_ih_l0, bias).unbind(self._time)

    @property
    def _time(self) -> int:
        return 1 if self.batch_first else 0

    def extra_repr(self) -> str:
        """As torch's own layers are printed."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}, batch_first={self.batch_first}"


class SigmoidRNN(_Layer):
    """A simple recurrent layer: h_t = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh); nn.RNN has tanh and ReLU alone.

    Args:
        input_size, hidden_size: of x_t and of h_t.
        bias: whether it has biases.
        batch_first: sequences are (N, T, size) and not (T, N, size).

    Source: Elman 1990, doi:10.1207/s15516709cog1402_1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, gates=1, bias=bias, batch_first=batch_first)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All states, (N, T, hidden) or (T, N, hidden), and the last one, (1, N, hidden); hx is (1, N, hidden) or 0.

        Raises:
            ValueError: the input has not three dimensions.
        """
        steps = self._projected(input)
        h = steps[0].new_zeros(len(steps[0]), self.hidden_size) if hx is None else hx[0]
        back, found = self.weight_hh_l0.t(), []
        for step in steps:
            h = torch.sigmoid(torch.addmm(step, h, back))
            found.append(h)
        return torch.stack(found, self._time), h.unsqueeze(0)


class ResetFirstGRU(_Layer):
    """A gated recurrent unit that resets the state before the product with the weights; nn.GRU resets what it gives.

    With . for the product element by element:

        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        n_t = tanh(W_n x_t + R_n (r_t . h_{t-1}) + b_n)
        h_t = (1 - z_t) . n_t + z_t . h_{t-1}

    where each b is the sum of both biases. ONNX calls it linear_before_reset=0, Keras reset_after=False. The rows of
    the weights are r, z, n, as in nn.GRU.

    Args:
        input_size, hidden_size: of x_t and of h_t.
        bias: whether it has biases.
        batch_first: sequences are (N, T, size) and not (T, N, size).

    Source: Cho et al. 2014 (arXiv:1406.1078v1) sec. 2.3, z for their 1 - z.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bias: bool = True, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, gates=3, bias=bias, batch_first=batch_first)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All states, (N, T, hidden) or (T, N, hidden), and the last one, (1, N, hidden); hx is (1, N, hidden) or 0.

        Raises:
            ValueError: the input has not three dimensions.
        """
        steps, hidden = self._projected(input), self.hidden_size
        h = steps[0].new_zeros(len(steps[0]), hidden) if hx is None else hx[0]
        to_gates, to_new = self.weight_hh_l0.t().split([2 * hidden, hidden], 1)
        found = []
        for step in steps:
            gates, new = step.split([2 * hidden, hidden], 1)
            r, z = torch.sigmoid(torch.addmm(gates, h, to_gates)).chunk(2, 1)
            h = torch.lerp(torch.tanh(torch.addmm(new, r * h, to_new)), h, z)
            found.append(h)
        return torch.stack(found, self._time), h.unsqueeze(0)


class PeepholeLSTM(_Layer):
    """A long short-term memory whose gates see the cell.

    With . for the product element by element:

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + w_ci . c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + w_cf . c_{t-1} + b_f), or 1 without a forget gate
        c_t = f_t . c_{t-1} + i_t . tanh(W_g x_t + R_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + w_co . c_t + b_o)
        h_t = o_t . tanh(c_t)

    Without a forget gate the cell is the constant error carousel: an error flows back through c_t as it is. With
    peepholes of zero this is nn.LSTM. Gradients are complete; the papers cut those that pass through the gates.

    Args:
        input_size, hidden_size: of x_t, and of h_t and c_t.
        bias: whether it has biases.
        batch_first: sequences are (N, T, size) and not (T, N, size).
        forget_gate: whether the cell may forget. The rows of the weights are i, f, g, o, or i, g, o without it.

    Source: peepholes, Gers, Schraudolph & Schmidhuber 2002 (JMLR 3) sec. 3; the carousel, Hochreiter & Schmidhuber
    1997, doi:10.1162/neco.1997.9.8.1735; the forget gate, Gers, Schmidhuber & Cummins 2000.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        forget_gate: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, gates=3 + forget_gate, bias=bias, batch_first=batch_first)
        self.forget_gate = forget_gate
        self.weight_ci = nn.Parameter(torch.empty(hidden_size))
        self.weight_cf = nn.Parameter(torch.empty(hidden_size)) if forget_gate else None
        self.weight_co = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """All h, (N, T, hidden) or (T, N, hidden), and the last h and c, (1, N, hidden) each; hx is such a pair or 0.

        Raises:
            ValueError: the input has not three dimensions.
        """
        steps = self._projected(input)
        zero = steps[0].new_zeros(len(steps[0]), self.hidden_size)
        h, c = (zero, zero) if hx is None else (hx[0][0], hx[1][0])
        back, found = self.weight_hh_l0.t(), []
        for step in steps:
            h, c = self.step(torch.addmm(step, h, back), c)
            found.append(h)
        return torch.stack(found, self._time), (h.unsqueeze(0), c.unsqueeze(0))

    def step(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next h and c, from W x_t + R h_{t-1} + b (N, gates * hidden) and the cell before, (N, hidden)."""
        i, *f, g, o = gates.chunk(3 + self.forget_gate, 1)
        new = torch.sigmoid(torch.addcmul(i, c, self.weight_ci)) * torch.tanh(g)
        if self.weight_cf is None:
            c = c + new
        else:
            c = torch.addcmul(new, c, torch.sigmoid(torch.addcmul(f[0], c, self.weight_cf)))
        return torch.sigmoid(torch.addcmul(o, c, self.weight_co)) * torch.tanh(c), c

    def extra_repr(self) -> str:
        """As torch's own layers are printed."""
        return super().extra_repr() + ("" if self.forget_gate else ", forget_gate=False")
