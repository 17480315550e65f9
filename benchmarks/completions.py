"""What the language models make of a beginning: greedily, by beam search, and by chance.

python -m benchmarks.completions lm-word "I would like to" "Is there a"
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import compress
from export.session import runner_for
from models.decoding import Array, Arrays, Decoder, Runner
from models.dialogues import vocabulary
from models.records import Model
from models.shakespeare import decode, encode
from models.vocabulary import EOS, UNK, detokenized, tokenized

BEGINNINGS = {
    "lm-word": ("I would like to", "Is there a", "Can you find me", "The restaurant is"),
    "lm-char": ("ROMEO:\n", "What say you to "),
}
_LONGEST_WORDS, _LONGEST_CHARACTERS = 30, 120


def completions(model: Model, beginning: str, *, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Each way to go on and the whole text. One of words ends where the model ends it, or after 30 more.

    Args:
        model: lm-char or lm-word, torch or ONNX, compressed or not.
        beginning: what it goes on from.
        seed: of what is drawn.
    """
    step, read, go_on = _reader(model, beginning)
    states = {spec.name: np.zeros(spec.shape({"N": 1}), np.float32) for spec in model.forms["step"].inputs[1:]}
    if len(read) > 1:
        after = step({"ids": read[None, :-1], **states})
        states = {name: after[f"{name}_out"] for name in states}

    def whole(added: Array) -> str:
        return _text(model, np.concatenate([read, added]))

    yield "greedy", whole(go_on.greedy(states)[0])
    yield "beam of 4", whole(go_on.beam(states, width=4)[0])
    for temperature in (0.7, 1.0):
        rng = np.random.default_rng(seed)
        yield f"drawn, temperature {temperature:g}", whole(go_on.sampled(states, rng, temperature=temperature)[0])


def without(step: Runner, token: int) -> Runner:
    """The same step, but that token is never foretold."""

    def run(arrays: Arrays) -> Arrays:
        found = step(arrays)
        logits = found["logits"].copy()
        logits[..., token] = -np.inf
        return {**found, "logits": logits}

    return run


def _reader(model: Model, beginning: str) -> tuple[Runner, Array, Decoder]:
    """The step, what it reads first, and the loops that go on from the last token of that."""
    run: Any = runner_for(model)
    step: Runner = run.forms["step"]
    if model.name == "lm-word":
        step = without(step, UNK)
        read, end, longest = vocabulary().encode(tokenized(beginning), begin=True), EOS, _LONGEST_WORDS
    else:
        read, end, longest = encode(beginning), -1, _LONGEST_CHARACTERS  # no character ends a text
    return step, read, Decoder(step=step, begin=int(read[-1]), end=end, longest=longest, token="ids")


def _text(model: Model, ids: Array) -> str:
    return detokenized(vocabulary().decode(ids)) if model.name == "lm-word" else decode(ids)


def main(args: Sequence[str] | None = None) -> None:
    """Complete what is given, or some usual beginnings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=BEGINNINGS)
    parser.add_argument("beginnings", nargs="*", help="what is to be gone on from")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(args)
    model = compress.load(asked.model)
    for beginning in asked.beginnings or BEGINNINGS[asked.model]:
        print(f"{beginning!r}")
        for way, text in completions(model, beginning, seed=asked.seed):
            print(f"  {way}: {text}")


if __name__ == "__main__":
    main()
