"""The pictures on the pages of the reference models, made from the committed weights.

python -m benchmarks.model_pictures NAME...
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

import compress  # noqa: F401  binds our packages

FOLDER = Path(__file__).parents[1] / "docs" / "models"

# model -> "module:function" that draws into the path it is given; several models may share one
PICTURES: dict[str, str] = {
    "rnn-add": "pictures_addition:states_while_adding",
    "lstm-add": "pictures_addition:states_while_adding",
    "gru-add": "pictures_addition:states_while_adding",
    "rnn-fsdd": "pictures_recurrent:digits_as_they_come",
    "lstm-fsdd": "pictures_recurrent:digits_as_they_come",
    "gru-fsdd": "pictures_recurrent:digits_as_they_come",
    "birnn-fsdd": "pictures_recurrent:digits_as_they_come",
    "gru-gesture": "pictures_recurrent:gestures_as_they_come",
    "cnn-fsdd": "pictures_convolution:spoken_digits",
    "dscnn-fsdd": "pictures_convolution:spoken_digits",
    "resnet8": "pictures_convolution:photographs",
    "resnet20": "pictures_convolution:block_responses",
    "vgg-small": "pictures_convolution:feature_maps",
    "transformer-char": "pictures_attention:reading_back",
    "autoencoder": "pictures_digits:anomalies",
    "vae": "pictures_digits:generated",
    "seq2seq": "pictures_translation:thoughts",
    "seq2seq-attention": "pictures_translation:attention_matrix",
    "transformer": "pictures_translation:attention_of_heads",
    "lm-char": "pictures_language:surprise",
    "lm-word": "pictures_language:surprise",
    "word2vec-skipgram": "pictures_words:plane",
    "word2vec-cbow": "pictures_words:plane",
    "rnn-adding": "pictures_memory:forgetting",
    "lstm-adding": "pictures_memory:forgetting",
    "lstm-peephole": "pictures_memory:gates",
    "seq2seq-dialogue": "pictures_dialogue:by_turn",
    "hred": "pictures_dialogue:by_turn",
    "vhred": "pictures_dialogue:code",
}


def draw(name: str, folder: Path = FOLDER) -> Path:
    """Draw one model's picture into the folder, as NAME.png; raises KeyError for a model that has none."""
    module, _, function = PICTURES[name].partition(":")
    path = folder / f"{name}.png"
    getattr(importlib.import_module(f"benchmarks.{module}"), function)(name, path)
    return path


def main(args: Sequence[str] | None = None) -> None:
    """Draw the models named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=PICTURES, metavar="NAME", help=", ".join(PICTURES))
    for name in parser.parse_args(args).models:
        print(draw(name))


if __name__ == "__main__":
    main()
