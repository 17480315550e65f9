"""Reference models, their tasks and trained weights; the records; the errors. The lowest floor: it knows nobody."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import Entry, InputSpec, Task

__all__ = ["DATA", "WEIGHTS", "ZOO", "find", "find_task"]

WEIGHTS = Path(__file__).parent / "weights"

# name -> module of this package that holds ENTRY, and a summary; strings, so that a listing imports no torch
ZOO: dict[str, tuple[str, str]] = {
    "cnn-fsdd": ("cnn_fsdd", "Names the digit spoken in one second of sound; dense convolutions."),
    "dscnn-fsdd": ("dscnn_fsdd", "Names the digit spoken in one second of sound; depthwise-separable by design."),
    "gru-fsdd": (
        "gru_fsdd",
        "Names the digit spoken from as many frames as there are; recurrent, whole or step by step.",
    ),
    "rnn-fsdd": ("rnn_fsdd", "Names the digit spoken from as many frames as there are; the simplest recurrent cell."),
    "lstm-fsdd": (
        "lstm_fsdd",
        "Names the digit spoken from as many frames as there are; two states, one to say and one to keep.",
    ),
    "birnn-fsdd": ("birnn_fsdd", "Names the digit spoken once it has ended; read from both ends."),
    "rnn-add": (
        "rnn_add",
        "Adds two binary numbers bit by bit; the simplest recurrent cell, the carry is its memory.",
    ),
    "lstm-add": ("lstm_add", "Adds two binary numbers bit by bit; two states, one to say and one to keep."),
    "gru-add": ("gru_add", "Adds two binary numbers bit by bit; one state that two gates look after."),
    "rnn-adding": (
        "rnn_adding",
        "Shall add two marked numbers of 200 and cannot; the simplest recurrent cell forgets.",
    ),
    "lstm-adding": ("lstm_adding", "Adds two marked numbers of 200; its cell remembers."),
    "lstm-peephole": ("lstm_peephole", "Adds two marked numbers of 200; its gates see what the cell remembers."),
    "resnet8": ("resnet8", "Names the thing on a small photograph; residual, MLPerf Tiny's own."),
    "lm-char": ("lm_char", "Predicts the next character of Shakespeare; an LSTM, on a whole text or step by step."),
    "transformer-char": ("transformer_char", "Predicts the next character of Shakespeare; attention and embeddings."),
    "autoencoder": ("autoencoder", "Draws a handwritten digit again; what it draws badly is an anomaly."),
    "vae": ("vae", "Draws handwritten digits, old ones again and new ones from noise, through a normal code."),
}

# name of a set of data -> "module:function" that makes its task from (batch_size=, inputs=), and a summary
DATA: dict[str, tuple[str, str]] = {
    "fsdd": ("fsdd:task", "Spoken digits as MFCC features, in the package."),
    "cifar10_jpeg": ("cifar:task", "CIFAR-10 as strongly compressed JPEG."),
    "mnist": ("mnist:anomaly_task", "Handwritten digits to draw again; the digit 2 is the anomaly."),
    "mnist-digits": ("mnist:digits_task", "Handwritten digits, all ten, to draw again through a random code."),
    "addition": ("addition:task", "All sums of two 8-bit numbers, bit by bit."),
    "adding": ("adding_problem:task", "Sequences of values, two of them marked, to add; generated."),
    "tinyshakespeare": ("shakespeare:task", "1.1 million characters of plays."),
}


def find(name: str) -> Entry:
    """The entry of that name; raises KeyError when there is none."""
    module, _ = ZOO[name]
    entry: Entry = importlib.import_module(f".{module}", __package__).ENTRY
    return entry


def find_task(name: str, *, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> Task:
    """The task of a named set, its arrays named as the model's inputs; raises KeyError when there is none."""
    module, _, function = DATA[name][0].partition(":")
    made: Task = getattr(importlib.import_module(f".{module}", __package__), function)(
        batch_size=batch_size, inputs=inputs
    )
    return made
