import gzip
import json
import os
import zipfile

import pytest

from models.datasets import content_sha256, locate
from models.dialogues import FILES, LONGEST, SGD_DIALOGUES, count_words, dialogues, parse, vocabulary
from models.errors import DataError
from models.vocabulary import UNK

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


def line(*turns):
    return json.dumps({"id": "1_0", "services": [], "turns": turns})


@here
def test_the_package_holds_the_words_that_the_training_split_gives():
    assert vocabulary() == count_words() and len(vocabulary()) == 3000


@here
def test_the_dialogues_are_those_that_were_published_and_speak_by_turns():
    for file, expected in SGD_DIALOGUES.sha256.items():
        assert content_sha256(locate(SGD_DIALOGUES) / file) == expected
    assert {split: len(dialogues(split)) for split in FILES} == {"train": 12_174, "validation": 2_098, "test": 2_921}
    for dialogue in dialogues("validation"):
        assert [who for who, _ in dialogue] == ["USER", "SYSTEM"] * (len(dialogue) // 2)
    assert dialogues("train")[0][2] == ("USER", "i would like for it to be in san jose .".split())


def test_an_empty_utterance_is_kept_and_a_very_long_one_is_cut():
    (dialogue,) = parse([line(["USER", ""], ["SYSTEM", "la " * 1000])], "x.jsonl.gz")
    assert dialogue == [("USER", []), ("SYSTEM", ["la"] * LONGEST)]
    assert parse(["", " \n"], "x.jsonl.gz") == []


def test_a_word_that_is_not_known_has_the_number_of_unknown_words():
    ids = vocabulary().encode(["hello", "schadenfreude", "</s>"])
    assert ids[0] > UNK and ids.tolist()[1:] == [UNK, UNK]


@pytest.mark.parametrize("broken", ["{", '{"id": 1}', '{"turns": ["USER"]}', '{"turns": [["USER", null]]}', "3"])
def test_a_line_that_is_no_dialogue_is_named(broken):
    with pytest.raises(DataError, match=r"line 2 of dev.jsonl.gz is no dialogue .*speaker, utterance"):
        parse([line(["USER", "hi"]), broken], "dev.jsonl.gz")


def test_the_source_is_reduced_to_what_is_said(tmp_path):
    turns = [{"speaker": "USER", "utterance": "Hi, é", "frames": [{"service": "Hotels_1"}]}]
    one = json.dumps([{"dialogue_id": "1_0", "services": ["Hotels_1"], "turns": turns}])
    with zipfile.ZipFile(tmp_path / "source.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "dev", "test"):
            archive.writestr(f"source-e85298/{split}/dialogues_002.json", one.replace("1_0", "2_0"))
            archive.writestr(f"source-e85298/{split}/dialogues_001.json", one)
            archive.writestr(f"source-e85298/{split}/dialogues_003.json", one + " " * (4 << 20))  # too large
            archive.writestr(f"source-e85298/{split}/schema.txt", "no dialogue")
    SGD_DIALOGUES.convert(tmp_path / "source.zip", tmp_path)
    for file in FILES.values():
        kept = [json.loads(text) for text in gzip.decompress((tmp_path / file).read_bytes()).splitlines()]
        wanted = {"services": ["Hotels_1"], "turns": [["USER", "Hi, é"]]}
        assert kept == [{"id": "1_0", **wanted}, {"id": "2_0", **wanted}]


def test_a_broken_file_names_itself(tmp_path, monkeypatch):
    (tmp_path / "sgd_dialogues").mkdir()
    for file in FILES.values():
        (tmp_path / "sgd_dialogues" / file).write_bytes(b"no gzip")
    monkeypatch.setenv("COMPRESS_DATA", str(tmp_path))
    dialogues.cache_clear()
    with pytest.raises(DataError, match=r"test.jsonl.gz cannot be unpacked"):
        dialogues("test")
