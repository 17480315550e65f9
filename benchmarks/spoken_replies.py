"""Replies in words: a dialogue model driven as a device drives it, listening, drawing its code, and writing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.completions import without
from export.stream import initial_state
from models.decoding import Decoder
from models.dialogues import LONGEST, vocabulary
from models.records import Arrays
from models.tasks import Array, NextToken
from models.vocabulary import BOS, EOS, UNK, detokenized

DIALOGUE = (56, 3)  # the row of the test whose context is shown, and how many replies are drawn to it


@dataclass(frozen=True)
class Speaker:
    """A dialogue model that answers contexts of its task.

    Args:
        task: as its entry makes it.
        runner: a `FormedRunner` of its main form.
    """

    task: NextToken
    runner: Any

    @property
    def has_code(self) -> bool:
        """Whether a latent variable is drawn before the words."""
        return "latent" in self.runner.forms

    def replies(self, inputs: Arrays, rng: np.random.Generator, *, surest: bool = False) -> list[list[int]]:
        """One reply to each context: words drawn by their probability, or the surest word each time.

        A code is drawn from the prior in either case, and `<unk>` is never said.

        Args:
            inputs: of a batch of the task; only the contexts are looked at.
            rng: what is drawn from.
            surest: greedily.
        """
        decoder = Decoder(step=without(self.runner.forms["step"], UNK), begin=BOS, end=EOS, longest=LONGEST)
        given = self.listen(inputs["context"], rng)
        tokens = decoder.greedy(given) if surest else decoder.sampled(given, rng)
        return [row[: np.argmax(np.append(row, EOS) == EOS)].tolist() for row in tokens]

    def heard(self) -> dict[str, object]:
        """What was said before the reply that is shown, and what the system did say."""
        inputs, target = self._shown()
        heard = np.atleast_2d(inputs["context"][0])
        words = vocabulary()
        return {
            "context": [detokenized(words.decode(said)) for said in heard],
            "said": detokenized(words.decode(target[0])),
        }

    def say(self) -> dict[str, object]:
        """The surest reply to it, and some by chance, as text."""
        inputs, _ = self._shown()
        rng = np.random.default_rng(0)

        def text(surest: bool) -> str:
            return detokenized(vocabulary().decode(self.replies(inputs, rng, surest=surest)[0]))

        return {"surest": text(True), "by_chance": [text(False) for _ in range(DIALOGUE[1])]}

    def listen(self, context: Array, rng: np.random.Generator) -> dict[str, Array]:
        """What the step is given after a context, the code drawn from the prior where there is one."""
        forms = self.runner.forms
        if "encode" in forms:
            return dict(forms["encode"]({"context": context}))
        listen = forms["listen"]
        heard = listen({"context": context, **initial_state(listen.inputs, {"context": context})})
        if not self.has_code:
            return {name: heard[name] for name in ("h", "told")}
        code = next(spec.dims[-1] for spec in self.runner.inputs if spec.name == "noise")
        noise = rng.standard_normal((len(context), int(code)), np.float32)
        return dict(forms["latent"]({"thought": heard["thought"], "noise": noise}))

    def _shown(self) -> tuple[Arrays, Array]:
        """The row of the test that is shown, alone and without padding."""
        test: Any = self.task.test
        row = DIALOGUE[0]
        context = test.inputs["context"][row]
        return {"context": context[None]}, test.target[row][None]
