"""Networks of the coverage test beside vision and language: generators, recommenders, games, graphs, sets."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DcganGenerator(nn.Module):
    """Noise to picture by transposed convolutions with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(16, 48, 4, 1, 0, bias=False), nn.BatchNorm2d(48), nn.ReLU(True),
            nn.ConvTranspose2d(48, 24, 4, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(True),
            nn.ConvTranspose2d(24, 12, 4, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(True),
            nn.ConvTranspose2d(12, 3, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z.view(z.size(0), -1, 1, 1))


class Lambda(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Autoencoder(nn.Module):
    """To a narrow code and back, with functions among the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Lambda(lambda x: x * 2 - 1), nn.Conv2d(1, 16, 3, 2, 1), nn.ELU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ELU(),
            nn.Flatten(), nn.Linear(24 * 16, 20),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(20, 24 * 16), nn.ELU(), nn.Unflatten(1, (24, 4, 4)),
            nn.ConvTranspose2d(24, 16, 3, 2, 1, output_padding=1), nn.ELU(),
            nn.ConvTranspose2d(16, 1, 3, 2, 1, output_padding=1), Lambda(torch.sigmoid),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


class Vae(nn.Module):
    """Mean and variance, the noise given as an input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(64, 96), nn.Linear(96, 12), nn.Linear(96, 12)
        self.fc3, self.fc4 = nn.Linear(12, 96), nn.Linear(96, 64)

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.fc1(x.view(-1, 64)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + eps * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


class C3d(nn.Module):
    """Convolutions over time and space."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(3, 12, 3, padding=1), nn.Conv3d(12, 24, 3, padding=1)
        self.pool1, self.pool2 = nn.MaxPool3d((1, 2, 2), (1, 2, 2)), nn.MaxPool3d(2, 2)
        self.fc6, self.fc7 = nn.Linear(24 * 2 * 4 * 4, 64), nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool1(F.relu(self.conv1(x)))
        h = self.pool2(F.relu(self.conv2(h)))
        h = h.view(-1, 24 * 2 * 4 * 4)
        return self.fc7(F.dropout(F.relu(self.fc6(h)), training=self.training))


class Siamese(nn.Module):
    """Two pictures through one network; the distance of what it gives is scored."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 9, 48)
        )
        self.score = nn.Linear(48, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.sigmoid(self.score(torch.abs(self.net(left) - self.net(right))))


class DeepSets(nn.Module):
    """Elements one by one, summed under a mask that is an input, then read."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(6, 64), nn.ELU(), nn.Linear(64, 64), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(128, 64), nn.ELU(), nn.Linear(64, 3))

    def forward(self, points: Tensor, mask: Tensor) -> Tensor:
        x = self.phi(points) * mask.unsqueeze(-1)
        return self.rho(torch.cat([x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1), x.max(dim=1).values], -1))


class GraphNet(nn.Module):
    """Graph convolution over a dense adjacency, then attention over neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 64) / 4), nn.Parameter(torch.zeros(64))
        self.w = nn.Linear(64, 72, bias=False)
        self.a1, self.a2 = nn.Linear(72, 1), nn.Linear(72, 1)
        self.out = nn.Linear(72, 4)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        degree = adj.sum(-1, keepdim=True).abs() + 1
        h = F.relu(torch.matmul(adj, x @ self.weight) / degree + self.bias)
        h = self.w(h)
        e = F.leaky_relu(self.a1(h) + self.a2(h).transpose(1, 2), 0.2)
        e = torch.where(adj > 0, e, torch.full_like(e, -1e9))
        return self.out(F.elu(torch.bmm(F.softmax(e, dim=-1), h)))


class NeuralCollaborative(nn.Module):
    """Two pairs of tables: their product, and a tower over their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.user_gmf, self.item_gmf = nn.Embedding(100, 16), nn.Embedding(80, 16)
        self.user_mlp, self.item_mlp = nn.Embedding(100, 24), nn.Embedding(80, 24)
        self.mlp = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.predict = nn.Linear(32, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        gmf = self.user_gmf(user) * self.item_gmf(item)
        mlp = self.mlp(torch.cat([self.user_mlp(user), self.item_mlp(item)], dim=-1))
        return torch.sigmoid(self.predict(torch.cat([gmf, mlp], dim=-1))).view(-1)


class WideDeep(nn.Module):
    """One column a category, each with a table of its own width, beside numbers."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (12, 30, 7)
        self.tables = nn.ModuleDict({f"c{i}": nn.Embedding(n, 8 + 4 * i) for i, n in enumerate(sizes)})
        self.wide, self.bn = nn.Linear(5, 1), nn.BatchNorm1d(5)
        self.deep = nn.Sequential(
            nn.Linear(36 + 5, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU()
        )
        self.last = nn.Linear(32, 1)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        embedded = [table(categories[:, i]) for i, table in enumerate(self.tables.values())]
        x = torch.cat([*embedded, self.bn(numbers)], 1)
        return self.last(self.deep(x)) + self.wide(numbers)


class Dlrm(nn.Module):
    """All dot products between embedded categories and numbers, of which one triangle is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.ModuleList(nn.Embedding(40, 24) for _ in range(3))
        self.bot = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(24 + 6, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        x = self.bot(dense)
        feats = torch.cat([x] + [e(sparse[:, i]) for i, e in enumerate(self.emb)], dim=1).view(x.size(0), -1, 24)
        z = torch.bmm(feats, feats.transpose(1, 2))
        li = torch.tensor([i for i in range(4) for _ in range(i)])
        lj = torch.tensor([j for i in range(4) for j in range(i)])
        return torch.sigmoid(self.top(torch.cat([x, z[:, li, lj]], dim=1)))


class DuelingDqn(nn.Module):
    """Flattened pictures, a value and advantages with their mean taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU())
        size = self.features(torch.zeros(1, 4, 32, 32)).view(1, -1).size(1)
        self.advantage = nn.Sequential(nn.Linear(size, 48), nn.ReLU(), nn.Linear(48, 6))
        self.value = nn.Sequential(nn.Linear(size, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, state: Tensor) -> Tensor:
        x = self.features(state / 255.0).view(state.size(0), -1)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=1, keepdim=True)


class AlphaZero(nn.Module):
    """A residual tower with a head for the policy and one for the value."""

    def __init__(self, c: int = 24) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, c, 3, padding=1), nn.BatchNorm2d(c)
        self.c1 = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(2))
        self.c2 = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1, bias=False) for _ in range(2))
        self.n1, self.n2 = (nn.ModuleList(nn.BatchNorm2d(c) for _ in range(2)) for _ in range(2))
        self.pc, self.pf = nn.Conv2d(c, 2, 1), nn.Linear(2 * 64, 65)
        self.vc, self.vf1, self.vf2 = nn.Conv2d(c, 1, 1), nn.Linear(64, 32), nn.Linear(32, 1)

    def forward(self, board: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn(self.conv(board)))
        for c1, n1, c2, n2 in zip(self.c1, self.n1, self.c2, self.n2, strict=True):
            x = F.relu(n2(c2(F.relu(n1(c1(x))))) + x)
        p, v = F.relu(self.pc(x)).view(-1, 128), F.relu(self.vc(x)).view(-1, 64)
        return F.log_softmax(self.pf(p), dim=1), torch.tanh(self.vf2(F.relu(self.vf1(v))))


class Film(nn.Module):
    """A question that scales and shifts the channels of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(30, 16), nn.GRU(16, 24, batch_first=True)
        self.film = nn.Linear(24, 2 * 2 * 24)
        self.stem = nn.Conv2d(3, 24, 3, 2, 1)
        self.convs = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(24, affine=False) for _ in range(2))
        self.head = nn.Linear(24, 5)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        _, q = self.rnn(self.words(question))
        gammas, betas = self.film(q.squeeze(0)).view(-1, 2, 2, 24).unbind(2)
        x = F.relu(self.stem(image))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(x)) * (1 + gammas[:, i, :, None, None]) + betas[:, i, :, None, None]
            x = x + F.relu(y)
        return self.head(x.flatten(2).max(-1)[0])


class Kan(nn.Module):
    """Splines in place of weights: each edge is a sum of Gaussian bumps, beside a plain linear part."""

    def __init__(self, widths: tuple[int, ...] = (8, 24, 24, 3), bumps: int = 5) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, bumps))
        pairs = list(itertools.pairwise(widths))
        self.spline = nn.ParameterList(nn.Parameter(torch.randn(o, i, bumps) / 5) for i, o in pairs)
        self.base = nn.ModuleList(nn.Linear(i, o) for i, o in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for spline, base in zip(self.spline, self.base, strict=True):
            basis = torch.exp(-((x.unsqueeze(-1) - self.grid) ** 2))
            x = torch.einsum("big,oig->bo", basis, spline) + base(F.silu(x))
        return x


class HighwayMlp(nn.Module):
    """Highway layers, dropout and self-normalizing activations everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(10, 40), nn.Linear(40, 3)
        self.h, self.t = (nn.ModuleList(nn.Linear(40, 40) for _ in range(2)) for _ in range(2))
        self.drop = nn.AlphaDropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(F.selu(self.inp(x)))
        for h, t in zip(self.h, self.t, strict=True):
            gate = torch.sigmoid(t(x))
            x = F.selu(h(x)).mul(gate).add(x.mul(1 - gate))
        return self.out(self.drop(x))
