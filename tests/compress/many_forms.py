"""Small networks of several forms: what one gives another takes, and states that keep their width or grow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from export.form_widths import at_own_widths
from export.forms import MAIN
from export.lift import all_sizes, lift
from models.records import Form, InputSpec, Model, OutputSpec


def spec(name, *dims, high=None, state_of=None):
    return InputSpec(name=name, dtype="int64" if high else "float32", dims=dims, high=high, state_of=state_of)


def gives(name, *dims):
    return OutputSpec(name=name, dtype="float32", dims=dims)


def states(**widths):
    return tuple(spec(name, "N", width, state_of=f"{name}_out") for name, width in widths.items())


SOURCE, TARGET = spec("source", "N", "S", high=20), spec("target", "N", "T", high=20)
LOGITS = gives("logits", "N", "T", 20)


@dataclass(frozen=True)
class Formed:
    """One network; `typical` are its usual sizes."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    forms: dict[str, Form]
    typical: dict[str, int] = field(default_factory=lambda: {"N": 1, "S": 5, "T": 4, "P": 3})

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        module = self.build().eval()
        with torch.no_grad():
            for name, value in module.named_parameters():
                if "bias" in name:  # 0 in torch's attention: nothing would be shown
                    value.normal_(0, 0.2)
        return module

    def lifted(self, module: nn.Module | None = None) -> Model:
        module = self.module() if module is None else module
        forms = {MAIN: Form(inputs=self.inputs, outputs=self.outputs), **self.forms}
        forms = at_own_widths(module, forms, all_sizes(forms.values(), self.typical))
        main = forms.pop(MAIN)
        found = lift(
            module, main.inputs, sizes=self.typical, forms=forms, outputs=[output.name for output in self.outputs]
        )
        return Model(found.network, main.inputs, found.outputs, forms=found.forms, typical=self.typical, name=self.name)


class Translator(nn.Module):
    """A GRU reads from both ends, one writes and looks back; its last layer shares the table of the target."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, width), nn.Embedding(20, width)
        self.encoder = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.bridge, self.score, self.mix = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(2 * width, width),
        )
        self.head = nn.Linear(width, 20)
        self.head.weight = self.target.weight

    def forward(self, source, target):
        return self.step(target, *self.encode(source))[0]

    def encode(self, source):
        memory, ends = self.encoder(self.source(source))
        return memory, self.bridge(ends.transpose(0, 1).flatten(1)).tanh()

    def step(self, target, memory, h):
        said, h = self.decoder(self.target(target), h.unsqueeze(0))
        weights = (self.score(said) @ memory.transpose(1, 2)).softmax(-1)
        return self.head(self.mix(torch.cat([weights @ memory, said], -1)).tanh()), h.squeeze(0)


class Cached(nn.Module):
    """Causal attention whose keys and values, (N, heads, P, size), grow; each step reads those before it."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.token, self.place = nn.Embedding(20, width), nn.Embedding(64, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.wide, self.narrow = nn.Linear(width, width), nn.Linear(width, 24), nn.Linear(24, width)
        self.head = nn.Linear(width, 20)

    def forward(self, target):
        return self._read(target, None)[0]

    def step(self, target, keys, values):
        return self._read(target, (keys, values))

    def _read(self, target, past):
        before = 0 if past is None else past[0].shape[2]
        places = torch.arange(before + target.shape[1])
        x = self.token(target) + self.place(places[before:])
        query, keys, values = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        read = F.scaled_dot_product_attention(query, keys, values, attn_mask=places <= places[before:, None])
        x = x + self.out(read.transpose(1, 2).flatten(2))
        return self.head(x + self.narrow(self.wide(x).relu())), keys, values

    def _split(self, x):
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)


class CachedTranslator(nn.Module):
    """A decoder with a cache, (N, P, width), that looks at the keys and values of a source read without recurrence."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, width), nn.Embedding(20, width)
        self.read, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.asks, self.memory_key, self.memory_value = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, 20)

    def forward(self, source, target):
        return self._write(target, self.encode(source), None)[0]

    def encode(self, source):
        memory = self.read(self.source(source)).relu()
        return self.memory_key(memory), self.memory_value(memory)

    def step(self, target, memory_key, memory_value, key, value):
        return self._write(target, (memory_key, memory_value), (key, value))

    def _write(self, target, memory, past):
        x = self.target(target)
        y = self.norm(x)
        key, value = self.key(y), self.value(y)
        before = 0 if past is None else past[0].shape[1]
        if past is not None:
            key, value = torch.cat([past[0], key], 1), torch.cat([past[1], value], 1)
        places = torch.arange(before + target.shape[1])
        x = x + self._look(self.query(y), key, value, places <= places[before:, None])
        return self.head(x + self._look(self.asks(x), *memory)), key, value

    def _look(self, query, key, value, mask=None):
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


class Dialogue(nn.Module):
    """One GRU reads an utterance, one goes from one to the next, one writes a reply; each hands its vector on."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.word = nn.Embedding(20, 8)
        self.reader = nn.GRU(8, width, batch_first=True)
        self.context = nn.GRUCell(width, width)
        self.start, self.tell = nn.Linear(width, width), nn.Linear(width, 8)
        self.writer = nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, 20)

    def forward(self, first, second, target):
        h = torch.zeros(first.shape[0], self.context.hidden_size)
        for utterance in (first, second):
            h, started, told = self.listen(self.read(utterance), h)
        return self.step(target, started, told)[0]

    def read(self, source):
        return self.reader(self.word(source))[1].squeeze(0)

    def listen(self, utterance, heard):
        heard = self.context(utterance, heard)
        return heard, self.start(heard).tanh(), self.tell(heard)

    def step(self, target, h, told):
        said, h = self.writer(self.word(target) + told.unsqueeze(1), h.unsqueeze(0))
        return self.head(said), h.squeeze(0)


class Variational(nn.Module):
    """An image to a normal code and back; the noise is an input, and there are three outputs."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder, self.mean, self.spread = nn.Linear(30, width), nn.Linear(width, 4), nn.Linear(width, 4)
        self.decoder, self.head = nn.Linear(4, width), nn.Linear(width, 30)

    def forward(self, x, noise):
        mean, spread = self.encode(x)
        return self.decode(mean + (spread / 2).exp() * noise), mean, spread

    def encode(self, x):
        hidden = self.encoder(x).relu()
        return self.mean(hidden), self.spread(hidden)

    def decode(self, z):
        return self.head(self.decoder(z).relu())


WORDS = tuple(spec(name, "N", length, high=20) for name, length in (("first", "L"), ("second", "M")))
NORMAL = (gives("mean", "N", 4), gives("spread", "N", 4))
MEMORY = (spec("memory", "N", "S", 12), *states(h=12))
KEYS = tuple(spec(name, "N", 4, "P", 4, state_of=f"{name}_out") for name in ("keys", "values"))
PAIR = tuple(spec(name, "N", "P", 12, state_of=f"{name}_out") for name in ("key", "value"))
READ = tuple((f"memory_{name}", "N", "S", 12) for name in ("key", "value"))

FORMED = [
    Formed(
        "translator",
        Translator,
        (SOURCE, TARGET),
        (LOGITS,),
        {
            "encode": Form(
                inputs=(SOURCE,), outputs=(gives("memory", "N", "S", 12), gives("h", "N", 12)), method="encode"
            ),
            "step": Form(inputs=(TARGET, *MEMORY), outputs=(LOGITS, gives("h_out", "N", 12)), method="step"),
        },
    ),
    Formed(
        "cached",
        Cached,
        (TARGET,),
        (LOGITS,),
        {
            "step": Form(
                inputs=(TARGET, *KEYS),
                outputs=(LOGITS, *(gives(f"{s.name}_out", "N", 4, "P+T", 4) for s in KEYS)),
                method="step",
            )
        },
    ),
    Formed(
        "cached-translator",
        CachedTranslator,
        (SOURCE, TARGET),
        (LOGITS,),
        {
            "encode": Form(inputs=(SOURCE,), outputs=tuple(gives(*read) for read in READ), method="encode"),
            "step": Form(
                inputs=(TARGET, *(spec(*read) for read in READ), *PAIR),
                outputs=(LOGITS, *(gives(f"{s.name}_out", "N", "P+T", 12) for s in PAIR)),
                method="step",
            ),
        },
    ),
    Formed(
        "dialogue",
        Dialogue,
        (*WORDS, TARGET),
        (LOGITS,),
        {
            "read": Form(inputs=(SOURCE,), outputs=(gives("utterance", "N", 12),), method="read"),
            "listen": Form(
                inputs=(spec("utterance", "N", 12), *states(heard=12)),
                outputs=(gives("heard_out", "N", 12), gives("h", "N", 12), gives("told", "N", 8)),
                method="listen",
            ),
            "step": Form(
                inputs=(TARGET, *states(h=12), spec("told", "N", 8)),
                outputs=(LOGITS, gives("h_out", "N", 12)),
                method="step",
            ),
        },
        {"N": 1, "L": 3, "M": 5, "T": 4, "S": 6},
    ),
    Formed(
        "variational",
        Variational,
        (spec("x", "N", 30), spec("noise", "N", 4)),
        (gives("drawn", "N", 30), *NORMAL),
        {
            "encode": Form(inputs=(spec("x", "N", 30),), outputs=NORMAL, method="encode"),
            "decode": Form(inputs=(spec("z", "N", 4),), outputs=(gives("drawn", "N", 30),), method="decode"),
        },
    ),
]
BY_NAME = {network.name: network for network in FORMED}


@functools.cache
def lifted(name: str) -> Model:
    return BY_NAME[name].lifted()
