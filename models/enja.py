"""small_parallel_enja: 50,000 short sentences in English and Japanese, as words, with the 4,096 words of each language.

What may be wrong in such files is settled here: a word that is not among the 4,096 becomes UNK; a pair with an empty
line is left out; a line of more than LONGEST words is cut to its first ones, so that no sentence needs more memory than
that; files whose lines do not belong together, or that are not UTF-8, are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from models.datasets import DataSet, read_bytes
from models.errors import DataError
from models.records import InputSpec, OutputSpec, Split
from models.sequence_batches import SequenceBatches
from models.translation import Translation
from models.vocabulary import MARKS, Vocabulary

WORDS = 4097  # of each vocabulary: the set's 4,096, of which three are marks, and our padding
SOURCE = InputSpec(name="source", dtype="int64", dims=("N", "S"), high=WORDS)
TARGET = InputSpec(name="target", dtype="int64", dims=("N", "T"), high=WORDS)
LOGITS = OutputSpec(name="logits", dtype="float32", dims=("N", "T", WORDS))
Language = Literal["en", "ja"]
Pairs = list[tuple[list[str], list[str]]]
LONGEST = 64  # words; the set's own longest sentence has 16
LICENCE = (
    "CC BY 2.0 FR (sentences of the Tanaka Corpus and Tatoeba, tatoeba.org, by way of small_parallel_enja, Y. Oda, "
    "github.com/odashi/small_parallel_enja)"
)
_COMMIT = "312408a11c5fbcbc09443bebb18121f7efdcd61e"
_FILES: dict[Split, str] = {"train": "train", "validation": "dev", "test": "test"}
_THEIR_MARKS = ("<unk>", "<s>", "</s>")


def _convert(fetched: Path, folder: Path) -> None:
    with zipfile.ZipFile(fetched) as archive:
        inside = {name.rpartition("/")[2]: name for name in archive.namelist()}
        for file in ENJA.sha256:
            if file not in inside:
                raise ValueError(f"the archive lacks {file}")
            (folder / file).write_bytes(archive.read(inside[file]))


ENJA = DataSet(
    name="enja",
    sha256={
        "dev.en": "04a2673449770657fd5e3b963cb856be3130923212b6db8ac7eaeef18f06c041",
        "dev.ja": "cd534f56b8639dc130f86a365e5ec0aa70042000bdd740a622fbbf8b6be4acca",
        "test.en": "45edb380749ec2b49cca7618fc5a7595fc9f791180672ba466b90c873a4aa8bf",
        "test.ja": "d37dc460a81b064e4106c8913eb11fa300da05cf3f58a7a5bbfec7e20947ddef",
        "train.en": "148b05dcd28638fe20ee84f2b1127001c80982be352007dda241fb759adadc76",
        "train.en.vocab.4k": "afaf88e38434392981dbc2f0be1d7b9ab91caf5199e13f759b72ab5f423c8548",
        "train.ja": "fc81a1434349ec98a449d7ae9cd2530057f689637684ecfed3501ea6a8a07ecc",
        "train.ja.vocab.4k": "07222c9b4682b90c674554556183cc8d8eb61897f4f62c0bedd6c26c665a947e",
    },
    address=f"https://github.com/odashi/small_parallel_enja/archive/{_COMMIT}.zip",
    convert=_convert,
    licence=LICENCE,
)


def vocabulary(language: Language) -> Vocabulary:
    """The set's vocabulary of a language, from the most frequent word on, with our four marks in place of its three.

    Raises:
        DataError: the file does not begin with the set's marks.
    """
    file = f"train.{language}.vocab.4k"
    words = _lines(read_bytes(ENJA, file), file)
    if tuple(words[:3]) != _THEIR_MARKS:
        raise DataError(f"data 'enja': {file} begins with {words[:3]}; {list(_THEIR_MARKS)} are needed.")
    return Vocabulary((*MARKS, *words[3:]))


def read_pairs(source: bytes, target: bytes, *, file: str) -> Pairs:
    """The sentences of two files whose lines belong together, as words.

    Args:
        source: UTF-8, a sentence a line, its words with spaces between them.
        target: the same in the other language.
        file: their name without the language, for messages.

    Raises:
        DataError: they are not UTF-8, have different numbers of lines, or no pair.
    """
    both = [_lines(content, f"{file}.{language}") for content, language in ((source, "en"), (target, "ja"))]
    if len(both[0]) != len(both[1]):
        raise DataError(
            f"data 'enja': {file}.en has {len(both[0])} lines and {file}.ja has {len(both[1])}; line by line they must "
            "say the same. Copy both again, from one source."
        )
    words = [(english.split()[:LONGEST], japanese.split()[:LONGEST]) for english, japanese in zip(*both, strict=True)]
    pairs = [pair for pair in words if all(pair)]
    if not pairs:
        raise DataError(f"data 'enja': {file}.en and {file}.ja hold no pair of sentences.")
    return pairs


def _lines(content: bytes, file: str) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"data 'enja': {file} is not UTF-8 (byte {error.start}). Convert it, or copy it again."
        ) from None
    return text.removesuffix("\n").split("\n")  # not splitlines: it also cuts where only a space is meant


def batches(
    pairs: Pairs, source: Vocabulary, target: Vocabulary, *, batch_size: int, names: Sequence[str]
) -> SequenceBatches:
    """Pairs as numbers: the source, the target from its begin on, and as what shall come out the target to its end."""
    numbers = [source.encode(english) for english, _ in pairs]
    marked = [target.encode(japanese, begin=True, end=True) for _, japanese in pairs]
    return SequenceBatches(
        inputs={names[0]: numbers, names[1]: [row[:-1] for row in marked]},
        target=[row[1:] for row in marked],
        batch_size=batch_size,
        alike=(names[0],),
    )


def task(*, batch_size: int = 64, inputs: Sequence[InputSpec] = ()) -> Translation:
    """Translate English into Japanese; a batch holds sources of one length, so nothing in them is padding."""
    names = [spec.name for spec in inputs][:2] or ["source", "target"]
    english, japanese = vocabulary("en"), vocabulary("ja")
    read = {
        split: read_pairs(read_bytes(ENJA, f"{file}.en"), read_bytes(ENJA, f"{file}.ja"), file=file)
        for split, file in _FILES.items()
    }
    made = {
        split: batches(pairs, english, japanese, batch_size=batch_size, names=names) for split, pairs in read.items()
    }
    return Translation(
        name="enja",
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        references={split: [" ".join(words) for _, words in read[split]] for split in ("validation", "test")},
        words=japanese,
    )
