"""Networks of the coverage test over sound, text and other sequences, without attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Chomp1d(nn.Module):
    """Cuts what padding on the right has added."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.size].contiguous()


class Tcn(nn.Module):
    """Causal convolutions of growing dilation, padded and chomped, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.shortcut = nn.ModuleList(), nn.ModuleList()
        for level, (i, o) in enumerate(((8, 24), (24, 24), (24, 32))):
            d = 2**level
            self.net.append(
                nn.Sequential(
                    nn.utils.parametrizations.weight_norm(nn.Conv1d(i, o, 3, padding=2 * d, dilation=d)),
                    Chomp1d(2 * d),
                    nn.ReLU(),
                    nn.Dropout(0.2),
                    nn.utils.parametrizations.weight_norm(nn.Conv1d(o, o, 3, padding=2 * d, dilation=d)),
                    Chomp1d(2 * d),
                    nn.ReLU(),
                )
            )
            self.shortcut.append(nn.Conv1d(i, o, 1) if i != o else nn.Identity())
        self.linear = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        for net, shortcut in zip(self.net, self.shortcut, strict=True):
            y = F.relu(net(y) + shortcut(y))
        return self.linear(y[:, :, -1])


class WaveNet(nn.Module):
    """Gated dilated convolutions with a global condition, residual and skip outputs from one convolution."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.start, self.cond = nn.Conv1d(1, channels, 1), nn.Linear(4, 2 * channels * 3)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 3, padding=2**i, dilation=2**i) for i in range(3)
        )
        self.res_skip = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(3))
        self.end = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, 32, 1), nn.ReLU(), nn.Conv1d(32, 8, 1))

    def forward(self, audio: Tensor, speaker: Tensor) -> Tensor:
        x = self.start(audio)
        cond = self.cond(speaker).unsqueeze(-1)
        output = torch.zeros_like(x)
        for i in range(3):
            acts = self.in_layers[i](x) + cond[:, 2 * i * self.channels : 2 * (i + 1) * self.channels]
            acts = torch.tanh(acts[:, : self.channels]) * torch.sigmoid(acts[:, self.channels :])
            both = self.res_skip[i](acts)
            x = x + both[:, : self.channels, :]
            output = output + both[:, self.channels :, :]
        return self.end(output)


class EcgNet(nn.Module):
    """1-D residual network for heart beats: many leads, wide kernels, two heads in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(12, 24, 7, stride=2, padding=3)
        self.bn = nn.BatchNorm1d(24)
        self.b1 = nn.Sequential(
            nn.Conv1d(24, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU(), nn.Conv1d(24, 24, 5, padding=2)
        )
        self.b2 = nn.Sequential(
            nn.Conv1d(24, 48, 5, 2, 2), nn.BatchNorm1d(48), nn.ReLU(), nn.Conv1d(48, 48, 5, padding=2)
        )
        self.pool, self.proj = nn.MaxPool1d(2), nn.Conv1d(24, 48, 1)
        self.rhythm, self.rate = nn.Linear(96, 5), nn.Linear(96, 1)

    def forward(self, ecg: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn(self.conv(ecg)))
        x = F.relu(self.b1(x) + x)
        x = F.relu(self.b2(x) + self.proj(self.pool(x)))
        x = torch.cat([F.adaptive_avg_pool1d(x, 1), F.adaptive_max_pool1d(x, 1)], 1).squeeze(2)
        return self.rhythm(x), self.rate(x)


class ConvLstm(nn.Module):
    """A convolutional LSTM cell in a loop over the pictures of a film."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(3 + hidden, 4 * hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, 2, 1)

    def forward(self, film: Tensor) -> Tensor:
        b, steps, _, height, width = film.size()
        h = torch.zeros(b, self.hidden, height, width, device=film.device)
        c = torch.zeros(b, self.hidden, height, width, device=film.device)
        for t in range(steps):
            combined = self.gates(torch.cat([film[:, t], h], dim=1))
            i, f, o, g = torch.split(combined, self.hidden, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.out(h)


class Crnn(nn.Module):
    """Columns of a picture read by a two-way LSTM, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2, 2), nn.Conv2d(16, 32, 3, 1, 1),
            nn.BatchNorm2d(32), nn.ReLU(True), nn.MaxPool2d((4, 1), (4, 1)), nn.Conv2d(32, 32, (2, 1)), nn.ReLU(True),
        )  # fmt: skip
        self.rnn = nn.LSTM(32, 24, bidirectional=True)
        self.embedding = nn.Linear(48, 11)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x).squeeze(2).permute(2, 0, 1)
        recurrent, _ = self.rnn(conv)
        t, b, h = recurrent.size()
        return self.embedding(recurrent.view(t * b, h)).view(t, b, -1).log_softmax(2).transpose(0, 1)


class SentimentLstm(nn.Module):
    """Two layers, both directions, dropout between; the last states of the top layer are read."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 24, padding_idx=0)
        self.rnn = nn.LSTM(24, 32, num_layers=2, bidirectional=True, dropout=0.5, batch_first=True)
        self.fc, self.dropout = nn.Linear(64, 1), nn.Dropout(0.5)

    def forward(self, text: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(self.dropout(self.embedding(text)))
        hidden = self.dropout(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))
        return self.fc(hidden).squeeze(1)


class GruTagger(nn.Module):
    """A GRU with time first in two layers, initial state of zeros by hand, a tag for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.gru = nn.Embedding(80, 16), nn.GRU(16, 32, 2)
        self.tag = nn.Linear(32, 9)

    def forward(self, words: Tensor) -> Tensor:
        x = self.emb(words).permute(1, 0, 2)
        h0 = torch.zeros(2, x.size(1), 32)
        out, _ = self.gru(x, h0)
        return F.log_softmax(self.tag(out.permute(1, 0, 2)), dim=2)


class ElmanLoop(nn.Module):
    """nn.RNN with ReLU, then a GRU cell and an LSTM cell stepped by hand over what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(8, 24, nonlinearity="relu", batch_first=True)
        self.gru, self.lstm = nn.GRUCell(24, 24), nn.LSTMCell(24, 32)
        self.out = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        seq, _ = self.rnn(x)
        h = x.new_zeros(x.size(0), 24)
        hx, cx = x.new_zeros(x.size(0), 32), x.new_zeros(x.size(0), 32)
        outputs = []
        for step in seq.unbind(1):
            h = self.gru(step, h)
            hx, cx = self.lstm(h, (hx, cx))
            outputs.append(self.out(hx))
        return torch.stack(outputs, 1)


class ProjectedLstm(nn.Module):
    """An LSTM with a projection, whose initial states are inputs, and whose last states are outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(10, 48)
        self.lstm = nn.LSTM(48, 40, proj_size=16, batch_first=True)
        self.out = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 6))

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.lstm(torch.relu(self.inp(x)), (h0.transpose(0, 1), c0.transpose(0, 1)))
        return self.out(y), h.transpose(0, 1), c.transpose(0, 1)


class CharCnn(nn.Module):
    """Text by convolutions of three widths, maxima over time, and a highway."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(70, 12)
        self.convs = nn.ModuleList(nn.Conv2d(1, 20, (k, 12)) for k in (2, 3, 4))
        self.transform, self.gate = nn.Linear(60, 60), nn.Linear(60, 60)
        self.fc = nn.Linear(60, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).unsqueeze(1)
        found = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        y = torch.cat([F.max_pool1d(c, c.size(2)).squeeze(2) for c in found], 1)
        g = torch.sigmoid(self.gate(y))
        y = g * F.relu(self.transform(y)) + (1 - g) * y
        return self.fc(F.dropout(y, 0.5, self.training))
