"""Dialogues of a user and a system over several turns, as words: 12,174 to learn from, all about some service."""

from __future__ import annotations

import functools
import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from models.datasets import DataSet, archive_members, read_bytes
from models.errors import DataError
from models.records import Split
from models.vocabulary import MARKS, Vocabulary, most_frequent, tokenized

Dialogue = list[tuple[str, list[str]]]  # (speaker, words) of each turn; they speak by turns, USER first

FILES = {"train": "train.jsonl.gz", "validation": "dev.jsonl.gz", "test": "test.jsonl.gz"}
LONGEST = 50  # words of an utterance that are kept; one in a thousand is longer
WORDS = Path(__file__).parent / "features" / "dialogue_words.txt"
LICENCE = (
    "CC BY-SA 4.0, from the Schema-Guided Dialogue dataset of Google Research "
    "(https://github.com/google-research-datasets/dstc8-schema-guided-dialogue)"
)
_SIZE = 3000  # words of the vocabulary, marks included: 98.5 % of all words spoken
_LARGEST = 4 << 20  # bytes of a file at the source; those above are no part of this set


def _convert(archive: Path, folder: Path) -> None:
    """Who says what, without the annotations, one dialogue a line, of the source's files of at most 4 MiB."""
    for file in FILES.values():
        lines = []
        for _, content in sorted(archive_members(archive, file.split(".")[0], ".json")):
            if len(content) > _LARGEST:
                continue
            for dialogue in json.loads(content):
                turns = [[turn["speaker"], turn["utterance"]] for turn in dialogue["turns"]]
                kept = {"id": dialogue["dialogue_id"], "services": dialogue["services"], "turns": turns}
                lines.append(json.dumps(kept, ensure_ascii=False) + "\n")
        (folder / file).write_bytes(gzip.compress("".join(lines).encode()))


SGD_DIALOGUES = DataSet(
    name="sgd_dialogues",
    sha256={
        "train.jsonl.gz": "554bcf15422345f01c2c73edc3447fe685583f13ea21ff6a110b0f7b3e0af8d4",
        "dev.jsonl.gz": "00e6d123a99a101529b6fd6b8d2299cbc65345baef10616f9db561ae88157179",
        "test.jsonl.gz": "2a5acc7274ff5ebfef36e5b804f1e374fd3957bded547ad09dc106affc667172",
    },
    address="https://github.com/google-research-datasets/dstc8-schema-guided-dialogue/archive/e852981ae34990f4358979625854259302feaa78.zip",
    convert=_convert,
    licence=LICENCE,
)


@functools.cache
def dialogues(split: Split) -> list[Dialogue]:
    """All dialogues of a split, in lower case; an utterance may be empty, and one of more than LONGEST words is cut.

    Raises:
        DataError: the data are not here and cannot be fetched, or a line is no dialogue.
    """
    file = FILES[split]
    try:
        text = gzip.decompress(read_bytes(SGD_DIALOGUES, file)).decode()
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"data 'sgd_dialogues': {file} cannot be unpacked: {error}. Delete it, and it is fetched again."
        ) from error
    return parse(text.splitlines(), file)


def parse(lines: Iterable[str], file: str) -> list[Dialogue]:
    """Dialogues from lines of JSON, {"turns": [[speaker, utterance], ...]} each; empty lines are passed over.

    Raises:
        DataError: a line is something else; it names file and line.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            turns = json.loads(line)["turns"]
            # a word is kept once, however often it is said
            found.append([(sys.intern(who), [sys.intern(w) for w in tokenized(said)[:LONGEST]]) for who, said in turns])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"data 'sgd_dialogues': line {number} of {file} is no dialogue ({error}); "
                'a line is {"turns": [[speaker, utterance], ...]}.'
            ) from error
    return found


@functools.cache
def vocabulary() -> Vocabulary:
    """The 3,000 numbers of words that all dialogue models share, as kept in the package."""
    return Vocabulary((*MARKS, *WORDS.read_text(encoding="utf-8").splitlines()))


def count_words() -> Vocabulary:
    """The same from the training split: the package's list is its words after the marks, one a line."""
    said = (words for dialogue in dialogues("train") for _, words in dialogue)
    return most_frequent(said, _SIZE)
