"""A variational autoencoder: an image becomes a normal distribution over a short code, and any code an image."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from models.mnist import CODE, digits_task
from models.records import Entry, Form, InputSpec, OutputSpec, Score, Training
from models.variations import ACTIVATIONS, Activation, Initialization, initialize


class VariationalAutoencoder(nn.Module):
    """Images (N, pixels) and noise (N, code) -> logits of pixels (N, pixels), mean and log variance (N, code)."""

    def __init__(self, *, pixels: int, width: int, code: int, activation: Activation) -> None:
        super().__init__()
        self.encoder = _layers((pixels, width, width), activation)
        self.mean = nn.Linear(width, code)
        self.log_variance = nn.Linear(width, code)
        self.decoder = _layers((code, width, width), activation)
        self.head = nn.Linear(width, pixels)

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The image drawn again from one draw of its code: z = mean + sigma * noise."""
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * noise
        return self.decode(z), mean, log_variance

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The normal distribution of an image's code: mean and log variance, (N, code) each."""
        hidden = self.encoder(x)
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Logits of white, (N, pixels), for any code (N, code); one from N(0, 1) draws a new digit."""
        drawn: torch.Tensor = self.head(self.decoder(z))
        return drawn


def _layers(sizes: tuple[int, ...], activation: Activation) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def build(
    *,
    width: int = 400,
    code: int = CODE,
    pixels: int = 784,
    activation: Activation = "relu",
    initialization: Initialization = "torch",
) -> nn.Module:
    """The network with random weights; `width` is that of the two layers on either side of the code."""
    network = VariationalAutoencoder(pixels=pixels, width=width, code=code, activation=activation)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=14)


IMAGE = InputSpec(name="x", dtype="float32", dims=("N", 784))
DRAWN = OutputSpec(name="drawn", dtype="float32", dims=("N", 784))
NORMAL = tuple(OutputSpec(name=name, dtype="float32", dims=("N", CODE)) for name in ("mean", "log_variance"))

ENTRY = Entry(
    name="vae",
    summary="Draws handwritten digits, old ones again and new ones from noise, through a normal code.",
    section="Autoencoders and generation",
    build=build,
    tiny=tiny,
    inputs=(IMAGE, InputSpec(name="noise", dtype="float32", dims=("N", CODE))),
    outputs=(DRAWN, *NORMAL),
    forms={
        "encode": Form(method="encode", inputs=(IMAGE,), outputs=NORMAL),
        "decode": Form(
            method="decode", inputs=(InputSpec(name="z", dtype="float32", dims=("N", CODE)),), outputs=(DRAWN,)
        ),
    },
    task=digits_task,
    data="mnist-digits",
    golden=Score(value=96.79, low=96.27, high=97.30, n=10_000, unit="nats per image", higher_is_better=False),
    params=973_624,
    macs=971_200,
    paper="Kingma & Welling 2014 (arXiv:1312.6114) app. C.1; here two layers of ReLU for one of tanh on either side",
    licence="MIT (MNIST as packaged by S. Raschka; images by Y. LeCun, C. Cortes and C. Burges)",
    training=Training(learning_rate=1e-3, batch_size=128, epochs=50),
    typical={"N": 1},
)
