"""The next reply of a dialogue with a latent variable: a normal code says what kind of reply, the words follow it."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from models.dialogues import LICENCE, vocabulary
from models.hred import CONTEXT, LOGITS, TARGET, WORDS, Hred, state, step, vectors
from models.latent_text import OUTPUTS
from models.records import Entry, Form, InputSpec, Score, Training
from models.replies import task
from models.variations import Initialization, initialize

CODE = 24  # numbers of the latent variable


class Vhred(Hred):
    """Utterances before (N, U, L), the reply (N, T) and noise (N, code) -> logits (N, T, words), prior and posterior.

    Mean and log variance, (N, code) each, of the code z: the prior's know the context, the posterior's the reply too.
    In `forward` z is drawn from the posterior, in `latent`, when the reply is still to be found, from the prior.

    Source: Serban et al. 2017 (arXiv:1605.06069) sec. 3.
    """

    def __init__(self, *, words: int, embedding: int, width: int, code: int, dropout: float) -> None:
        super().__init__(words=words, embedding=embedding, width=width, dropout=dropout)
        self.think = nn.Linear(width, width)
        self.compare = nn.Linear(width, width)
        self.compare_reply = nn.Linear(width, width, bias=False)
        self.prior_mean, self.prior_log_variance = nn.Linear(width, code), nn.Linear(width, code)
        self.posterior_mean, self.posterior_log_variance = nn.Linear(width, code), nn.Linear(width, code)
        self.start_code = nn.Linear(code, width, bias=False)
        self.tell_code = nn.Linear(code, embedding, bias=False)

    def forward(self, context: torch.Tensor, target: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """Logits after each word of the reply, and both distributions of its code."""
        thought = self.ponder(self.hear(context))
        both = (self.compare(thought) + self.compare_reply(self.read(target))).tanh()
        posterior = self.posterior_mean(both), self.posterior_log_variance(both)
        h, told = self.begin_with(thought, draw(*posterior, noise))
        return self.step(target, h, told)[0], *self.prior(thought), *posterior

    def listen(self, context: torch.Tensor, h_context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The utterances that came now: the state to hand on, and the thought that a reply is drawn from."""
        heard = self.hear(context, h_context.unsqueeze(0))
        return heard, self.ponder(heard)

    def latent(self, thought: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One draw of the code from the prior: the decoder's first state and what it is told."""
        return self.begin_with(thought, draw(*self.prior(thought), noise))

    def ponder(self, heard: torch.Tensor) -> torch.Tensor:
        """(N, width) -> (N, width)."""
        thought: torch.Tensor = self.think(heard)
        return thought.tanh()

    def prior(self, thought: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the code before the reply is known."""
        return self.prior_mean(thought), self.prior_log_variance(thought)

    def begin_with(self, thought: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The decoder's first state and what it is told, of the thought and the code."""
        return (self.start(thought) + self.start_code(z)).tanh(), self.tell(thought) + self.tell_code(z)


def draw(mean: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """A draw from a normal distribution that gradients pass through.

    Source: Kingma & Welling 2014 (arXiv:1312.6114) sec. 2.4.
    """
    return mean + (0.5 * log_variance).exp() * noise


def build(
    *,
    width: int = 192,
    embedding: int = 128,
    code: int = CODE,
    words: int = WORDS,
    initialization: Initialization = "torch",
    dropout: float = 0.1,
) -> nn.Module:
    """The network with random weights; `width` is that of the states, `code` that of the latent variable."""
    network = Vhred(words=words, embedding=embedding, width=width, code=code, dropout=dropout)
    initialize(network, initialization)
    return network.eval()


def tiny() -> nn.Module:
    """The same network, narrow enough for a test."""
    return build(width=8, embedding=6)


NOISE = InputSpec(name="noise", dtype="float32", dims=("N", CODE))
INPUTS = (CONTEXT, TARGET, NOISE)

ENTRY = Entry(
    name="vhred",
    summary="Replies to a dialogue in one of many ways; a random code of the reply is drawn before its words.",
    section="Dialogue",
    build=build,
    tiny=tiny,
    inputs=INPUTS,
    outputs=(LOGITS, *vectors(**dict.fromkeys(OUTPUTS[1:], CODE))),
    forms={
        "listen": Form(
            method="listen", inputs=(CONTEXT, state("h_context", 192)), outputs=vectors(h_context_out=192, thought=192)
        ),
        "latent": Form(
            method="latent",
            inputs=(InputSpec(name="thought", dtype="float32", dims=("N", 192)), NOISE),
            outputs=vectors(h=192, told=128),
        ),
        "step": step(192, 128),
    },
    labels=vocabulary().words,
    task=partial(task, inputs=INPUTS),
    data="sgd_dialogues",
    golden=Score(value=11.5702, low=11.0633, high=12.1348, n=30_891, unit="perplexity", higher_is_better=False),
    params=1_203_928,
    macs=34_825_728,
    paper="Serban et al. 2017 (arXiv:1605.06069); the changes to HRED as in hred; the posterior's network is one layer "
    "that the thought and the reply's encoding enter side by side; free bits and words left out against collapse",
    licence=LICENCE,
    training=Training(learning_rate=3e-3, weight_decay=0.01, batch_size=64, epochs=2, average=0.99),
    typical={"N": 1, "U": 7, "L": 16, "T": 16},
)
