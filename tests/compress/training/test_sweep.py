import json
import math
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

import models
from cli import status
from compress.training.sweep import read_sweep, sweep
from compress.training.train_entry import train_network
from models.errors import UsageError
from tests.compress.small_tasks import same

SMALL = {"width": 4, "batch_size": 256}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_variation_is_the_very_training_that_one_gets_alone(monkeypatch):
    made = []

    def keep(*arguments, **named):
        made.append(train_network(*arguments, **named))
        return made[-1]

    monkeypatch.setattr("compress.training.sweep.train_network", keep)
    found = sweep("rnn-add", "learning_rate", [0.01, 0.1], settings=SMALL, steps=3, seed=5)
    entry = models.find("rnn-add")
    training = replace(entry.training, batch_size=256, learning_rate=0.1)
    network, _, log = train_network(entry, options={"width": 4}, training=training, steps=3, seed=5)
    assert same(made[1][0], network)
    assert [v.value for v in found.variations] == [0.01, 0.1]
    first, second = found.variations
    assert second.losses == log.losses and second.final_loss == log.losses[-1][1] != first.final_loss
    assert second.score.n == 8_192 and not second.stopped
    assert first.gradient_before == second.gradient_before and first.gradient_after != second.gradient_after
    assert len(first.gradient_before) == len(first.gradient_after) == 9


def test_without_steps_there_are_as_many_as_the_entrys_epochs_have():
    found = sweep("rnn-add", "width", [2, 3], settings={"epochs": 1, "batch_size": 8_192})
    assert found.steps == 3
    assert [v.losses[-1][0] for v in found.variations] == [3, 3]


def test_a_training_that_diverges_is_a_row_and_not_the_end():
    found = sweep("rnn-add", "learning_rate", [1e38, 0.01], settings={**SMALL, "warmup": 0.0}, steps=4)
    wild, tame = found.variations
    assert re.match(r"diverged at step \d of 4, loss", wild.stopped) and "learning rate" in wild.stopped
    assert wild.score is None and math.isnan(wild.final_loss) and len(wild.gradient_before) == 9
    assert not tame.stopped and math.isfinite(tame.final_loss)


def test_a_value_that_cannot_be_built_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("compress.training.sweep.train_network", lambda *a, **n: pytest.fail("it was trained"))
    with pytest.raises(UsageError, match="train rnn-add: it cannot be built with width=-3: "):
        sweep("rnn-add", "width", [8, -3], steps=1)


def test_values_are_read_as_their_field_has_them():
    entry = models.find("rnn-add")
    assert read_sweep("width=4, 8,4", entry) == ("width", [4, 8])
    assert read_sweep("--learning-rate=1e-3,1", entry) == ("learning_rate", [0.001, 1.0])
    assert read_sweep("activation=tanh,relu", entry) == ("activation", ["tanh", "relu"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width", "a field and its values are needed: --sweep width=A,B,C"),
        ("width=", "a field and its values are needed"),
        ("widht=1,2", "there is no field 'widht'. Did you mean 'width'?"),
        ("qqq=1", "there is no field 'qqq'. There are: width, activation, "),
        ("width=4,wide", "width takes a whole number, not 'wide'"),
        ("width=4,,8", "width takes a whole number, not ''"),
        ("activation=tnah", "activation takes one of tanh, relu, sigmoid, not 'tnah'. Did you mean 'tanh'?"),
        ("learning_rate=-1", "learning_rate takes 0 or more, not -1"),
        ("learning_rate=nan", "learning_rate takes 0 or more, not nan"),
        ("batch_size=0", "batch_size takes 1 or more, not 0"),
        ("epochs=1,2", "all are trained for as many steps, so that they can be compared. Give --steps."),
    ],
)
def test_a_wrong_sweep_is_one_sentence_and_status_2(text, said, capsys):
    assert status(["train", "rnn-add", "--sweep", text]) == 2
    assert f"error: train rnn-add: --sweep {text}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--minutes", "1"], ["--resume"]])
def test_what_belongs_to_one_training_alone_is_refused(option, capsys):
    assert status(["train", "rnn-add", "--sweep", "width=2,4", *option]) == 2
    assert f"train rnn-add: {option[0]} is not for a sweep" in capsys.readouterr().err


def test_the_command_says_a_table_and_leaves_a_picture_and_a_document(tmp_path, capsys):
    call = ["train", "rnn-add", "--sweep", "learning_rate=1e38,0.01", "--width", "3", "--warmup", "0", "--steps", "4"]
    assert status([*call, "--seed", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("rnn-add, 4 steps each") and "sums right on validation" in said[1]
    assert "diverged at step" in said[2] and re.match(r"0\.01 +0\.\d+ +0\.\d{4} \(", said[3])
    assert said[4].startswith("wrote rnn-add.sweep.png") and "rnn-add.sweep.json" in said[4]
    document = json.loads((tmp_path / "rnn-add.sweep.json").read_text())
    assert (document["schema"], document["field"], document["steps"], document["seed"]) == (1, "learning_rate", 4, 1)
    assert document["settings"]["width"] == 3 and "learning_rate" not in document["settings"]
    wild, tame = document["variations"]
    assert wild["final_loss"] is None and wild["stopped"] and wild["score"] is None
    assert tame["score"]["n"] == 8_192 and len(tame["gradient_after"]) == 9
    with Image.open(tmp_path / "rnn-add.sweep.png") as picture:
        assert picture.format == "PNG" and picture.width > 2 * picture.height
    assert (tmp_path / "rnn-add.sweep.png").stat().st_size < 80_000


def test_the_document_can_be_printed_and_the_files_named(tmp_path, capsys):
    (tmp_path / "there").mkdir()
    call = ["train", "dscnn-fsdd", "--sweep", "width=2,4", "--batch-size", "240", "--steps", "1", "--json"]
    assert status([*call, "-o", "there"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [v["value"] for v in printed["variations"]] == [2, 4] and printed["variations"][0]["gradient_before"] == []
    assert {file.name for file in (tmp_path / "there").iterdir()} == {"dscnn-fsdd.sweep.png", "dscnn-fsdd.sweep.json"}
    with Image.open(tmp_path / "there" / "dscnn-fsdd.sweep.png") as picture:
        assert picture.width < 2 * picture.height  # the losses alone
    assert status([*call[:6], "--batch-size", "240", "--steps", "1", "-q", "-o", "width.png"]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"there", "width.png", "width.json"}


def test_an_output_that_cannot_be_written_is_refused_before_training(capsys):
    assert status(["train", "rnn-add", "--sweep", "width=2", "-o", "missing/width"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_random_numbers_of_the_caller_are_left_alone():
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    sweep("rnn-add", "width", [2], settings={"batch_size": 256}, steps=1)
    assert torch.equal(torch.rand(1), wanted)
