import os

import numpy as np
import pytest

from models import enja, find_task
from models.errors import DataError
from models.tasks import IGNORED
from models.vocabulary import BOS, EOS, MARKS, UNK, Vocabulary

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")
ENGLISH = Vocabulary((*MARKS, "i", "see", "you"))
JAPANESE = Vocabulary((*MARKS, "見る", "。"))


def read(english, japanese):
    return enja.read_pairs(english.encode(), japanese.encode(), file="made")


def test_a_line_is_a_sentence_and_its_words_are_between_spaces():
    assert read("i  see you\r\ni\tsee\n", "見る\u3000。\n。\n") == [
        (["i", "see", "you"], ["見る", "。"]),
        (["i", "see"], ["。"]),
    ]
    # what str.splitlines takes for a line's end is none, or the lines after it would belong to others
    assert len(read("i\u2028see\x0cyou\nsee", "見る\x1c。\n。")) == 2


def test_a_pair_with_an_empty_line_is_left_out_and_the_others_stay_together():
    assert read("i\n\nyou\nsee\n", "見る\n。\n  \n見る 。\n") == [(["i"], ["見る"]), (["see"], ["見る", "。"])]


def test_a_very_long_line_is_cut_to_its_first_words():
    ((english, japanese),) = read("see " * 100_000 + "you", "見る " * 70)
    assert len(english) == enja.LONGEST == len(japanese) and "you" not in english


@pytest.mark.parametrize(
    ("english", "japanese", "said"),
    [
        (b"i\nyou\n", "。\n".encode(), "made.en has 2 lines and made.ja has 1; line by line they must say the same"),
        (b"i\xff\n", "。\n".encode(), r"made.en is not UTF-8 \(byte 1\). Convert it, or copy it again"),
        (b"i\n", "。\n".encode("shift-jis"), "made.ja is not UTF-8"),
        (b"", b"", "made.en and made.ja hold no pair of sentences"),
    ],
    ids=["not alike", "not UTF-8", "another code", "empty"],
)
def test_files_that_cannot_be_pairs_are_refused(english, japanese, said):
    with pytest.raises(DataError, match=f"data 'enja': {said}"):
        enja.read_pairs(english, japanese, file="made")


def test_an_unknown_word_is_a_number_of_its_own_and_marks_in_the_text_are_unknown():
    made = enja.batches(
        read("i see <s> kings\n", "見る 王 </s> 。\n"), ENGLISH, JAPANESE, batch_size=1, names=("source", "target")
    )
    ((inputs, target),) = list(made)
    assert inputs["source"].tolist() == [[4, 5, UNK, UNK]]
    assert inputs["target"].tolist() == [[BOS, 4, UNK, UNK, 5]]
    assert target.tolist() == [[4, UNK, UNK, 5, EOS]]


def test_sources_are_never_padded_and_targets_at_their_end_only():
    pairs = read("i\nyou see\nsee\nsee you\n", "。\n見る 。\n見る 見る 。\n。\n")
    made = enja.batches(pairs, ENGLISH, JAPANESE, batch_size=4, names=("source", "target"))
    seen = 0
    for inputs, target in made:
        assert (inputs["source"] > 0).all()
        for row, wanted in zip(inputs["target"], target, strict=True):
            n = int((row > 0).sum())
            assert (row[:n] > 0).all() and wanted[n - 1] == EOS and (wanted[n:] == IGNORED).all()
            np.testing.assert_array_equal(row[1:n], wanted[: n - 1])
            seen += 1
    assert seen == 4 and len(made) == 2


@here
def test_the_set_is_as_large_as_its_source_says():
    made = find_task("enja", batch_size=64)
    assert (made.train.rows, made.validation.rows, made.test.rows) == (50_000, 500, 500)
    assert max(len(row) for row in made.train.inputs["source"]) == 16
    assert {split: len(rows) for split, rows in made.references.items()} == {"validation": 500, "test": 500}
    row = next(i for i, text in enumerate(made.references["test"]) if text)
    known = made.words.decode(made.test.target[row])
    assert [w for w in known if w != "<unk>"] == [
        w for w, k in zip(made.references["test"][row].split(), known, strict=True) if k != "<unk>"
    ]


@here
@pytest.mark.parametrize(("language", "most_frequent"), [("en", [".", "the"]), ("ja", ["。", "は"])])
def test_the_sets_marks_become_ours(language, most_frequent):
    found = enja.vocabulary(language)
    assert len(found) == enja.WORDS and list(found.words[:6]) == [*MARKS, *most_frequent]


def test_a_vocabulary_without_the_marks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESS_DATA", str(tmp_path))
    (tmp_path / "enja").mkdir()
    for name in enja.ENJA.sha256:
        (tmp_path / "enja" / name).write_text("the\na\n")
    with pytest.raises(
        DataError, match=r"train.en.vocab.4k begins with \['the', 'a'\]; \['<unk>', '<s>', '</s>'\] are"
    ):
        enja.vocabulary("en")
