"""How a network is brought back to its score: every setting of a recovery, each of them in the ledger.

The defaults were measured on reference models cut by half, by short recoveries, on validation. Rates of 1e-3 (the
teacher at 0.5 and temperature 2), 3e-3, 6e-3 and 1.2e-2 (the teacher at 0.9 and temperature 1): resnet8 59.5, 66.7,
71.3 and 72.1 % after 600 steps; lm-word a perplexity of 14.4, 12.2, 11.6 and 11.4 after 500; seq2seq-attention 10.6,
16.6, 18.0 and 19.7 BLEU and transformer -, 22.9, 24.3 and 23.5 after 300; transformer-char 3.04, 2.84, 2.81 and 2.90
bits after 150; vae 103.7, 101.7, 101.4 and 102.3 nats after 600. So it is 6e-3: less suits none of them, more only
some. Averaged weights alone changed nothing beside a rate that falls to zero: validation loss 0.0734 for 0.0728
(gru-fsdd), 0.0473 for 0.0486 (cnn-fsdd), 2.287 for 2.284 (transformer-char). Features helped recurrent networks
(lstm-fsdd 0.055 for 0.086, gru-fsdd 0.071 for 0.073), convolutional ones a little (resnet8 1.412 for 1.437, cnn-fsdd
0.040 for 0.049 with seeds 0.026 apart), and harmed attention (transformer-char 2.69 for 2.28); so both are off. A
quarter of the network's own dropout in place of all of it: lm-word a perplexity of 11.25 and 11.29 for 11.59 and 11.64
after 500, seq2seq-attention 1.9 % more bits than before it was cut for 6.1 after 3,000, gru-fsdd the same. In bfloat16
the same loss is reached as in float32: 1.437 for 1.437 (resnet8), 0.0486 for 0.0489 (cnn-fsdd).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, get_args

from models.errors import UsageError
from models.records import Training

from .own_loss import find_loss
from .precision import Precision


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What a recovery trains with; a pass shows those few of them that its user needs.

    Args:
        learning_rate: AdamW's, at the height of a cosine with warm-up.
        average: decay of averaged weights, 0 <= average < 1; 0 keeps the last ones.
        teacher_weight: share of the loss on the teacher's answers, 0 to 1; the labels have the rest.
        temperature: of the teacher's and the student's soft classes.
        loss: in place of the task's own (`.own_loss`): a plug-in's, or pkg.module:function; "" for the task's.
        features: weight of the loss on the teacher's intermediate layers, beside the rest (`.features`); 0 for none.
        dropout: share of the network's own dropout that stays while a teacher teaches, 0 to 1 (`.dropout`).
        batch_size: 0 for the data's own; another one needs data that can be cut anew.
        precision: in which numbers the network computes while it trains (`.precision`).
        patience: stop after as many looks at the validation split without a better score, and keep the best weights;
            there are twenty looks in a full run. 0 trains to the end and keeps the last weights.

    Raises:
        UsageError: a value is out of its range.
    """

    learning_rate: float = 6e-3
    average: float = 0.0
    teacher_weight: float = 0.9
    temperature: float = 1.0
    loss: str = ""
    features: float = 0.0
    dropout: float = 0.25
    batch_size: int = 0
    precision: Precision = "auto"
    patience: int = 0

    def __post_init__(self) -> None:
        for text in self._out_of_range():
            raise UsageError(f"recovery: {text}.")
        if self.loss:
            find_loss(self.loss)

    def _out_of_range(self) -> Iterator[str]:
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                yield f"{name}={getattr(self, name):g}, and it must be more than 0"
        if not 0 <= self.teacher_weight <= 1:
            yield f"teacher_weight={self.teacher_weight:g}, and it must lie from 0 to 1"
        if not 0 <= self.dropout <= 1:
            yield f"dropout={self.dropout:g}, and it must lie from 0 to 1"
        if not 0 <= self.average < 1:
            yield f"average={self.average:g}, and it must be 0 or more, and less than 1"
        if self.precision not in get_args(Precision):
            yield f"precision={self.precision!r}, and it is one of {', '.join(get_args(Precision))}"
        for name in ("features", "batch_size", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                yield f"{name}={getattr(self, name):g}, and it must be 0 or more"

    def training(self) -> Training:
        """The engine's own settings among them."""
        return Training(learning_rate=self.learning_rate, average=self.average)

    def unlike_the_engine(self) -> dict[str, Any]:
        """Those that the engine does not see; they must be the same when a training is resumed."""
        names = ("teacher_weight", "temperature", "loss", "features", "dropout", "batch_size", "patience")
        return {name: getattr(self, name) for name in names}

    def facts(self) -> dict[str, Any]:
        """Every setting, for the ledger."""
        return asdict(self)


DEFAULTS = Recovery()
