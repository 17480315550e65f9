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
    "gru-gesture": (
        "gru_gesture",
        "Names the gesture of a hand from the way a fingertip went; small, whole or point by point.",
    ),
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
    "resnet20": ("resnet20", "Names the thing on a small photograph; residual, nine blocks deep."),
    "vgg-small": ("vgg_small", "Names the thing on a small photograph; plain convolutions, one after another."),
    "lm-char": ("lm_char", "Predicts the next character of Shakespeare; an LSTM, on a whole text or step by step."),
    "lm-word": (
        "lm_word",
        "Predicts the next word of an utterance; an LSTM whose output shares the vectors of its input.",
    ),
    "seq2seq": ("seq2seq", "Translates English into Japanese through one vector; a GRU reads, a GRU writes."),
    "seq2seq-dialogue": (
        "seq2seq_dialogue",
        "Replies to what was said last, and to nothing before it; a GRU reads, a GRU writes.",
    ),
    "hred": (
        "hred",
        "Replies to a dialogue of several turns; one GRU over words, one over utterances, one that writes.",
    ),
    "vhred": (
        "vhred",
        "Replies to a dialogue in one of many ways; a random code of the reply is drawn before its words.",
    ),
    "seq2seq-attention": (
        "seq2seq_attention",
        "Translates English into Japanese with attention; it looks back at each word of the source.",
    ),
    "transformer": (
        "transformer",
        "Translates English into Japanese by attention alone; encoder and decoder.",
    ),
    "transformer-char": ("transformer_char", "Predicts the next character of Shakespeare; attention and embeddings."),
    "autoencoder": ("autoencoder", "Draws a handwritten digit again; what it draws badly is an anomaly."),
    "vae": ("vae", "Draws handwritten digits, old ones again and new ones from noise, through a normal code."),
    "word2vec-skipgram": ("word2vec_skipgram", "A vector for each word, learned from which words stand near it."),
    "word2vec-cbow": ("word2vec_cbow", "A vector for each word, learned by guessing a word from those around it."),
}

# name of a set of data -> "module:function" that makes its task from (batch_size=, inputs=), and a summary
DATA: dict[str, tuple[str, str]] = {
    "fsdd": ("fsdd:task", "Spoken digits as MFCC features, in the package."),
    "hand_gesture": ("gestures:task", "The way of a fingertip in 16 pictures on end, four gestures."),
    "cifar10_jpeg": ("cifar:task", "CIFAR-10 as strongly compressed JPEG."),
    "mnist": ("mnist:anomaly_task", "Handwritten digits to draw again; the digit 2 is the anomaly."),
    "mnist-digits": ("mnist:digits_task", "Handwritten digits, all ten, to draw again through a random code."),
    "addition": ("addition:task", "All sums of two 8-bit numbers, bit by bit."),
    "adding": ("adding_problem:task", "Sequences of values, two of them marked, to add; generated."),
    "enja": ("enja:task", "50,000 sentences in English and Japanese to translate."),
    "tinyshakespeare": ("shakespeare:task", "1.1 million characters of plays."),
    "sgd_utterances": ("utterances:task", "What users and systems say in dialogues, utterance by utterance."),
    "sgd_pairs": ("word_vectors:skipgram_task", "Words said in dialogues, each with one near it and some of noise."),
    "sgd_windows": ("word_vectors:cbow_task", "Words said in dialogues, each with those around it and some of noise."),
    "sgd_dialogues": ("replies:task", "What a system says next in a dialogue of several turns."),
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
