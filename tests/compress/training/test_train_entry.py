from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, load_model

import models
from compress.training.train_entry import (
    find_entry,
    save_weights,
    split_settings,
    train_entry,
    train_network,
    with_code,
)
from export.checkpoint import load_checkpoint
from models.errors import UsageError
from tests.compress.small_tasks import convolutional, digits, same

SETTINGS = {"width": 4, "batch_size": 240}


def test_an_entry_is_trained_scored_saved_and_remembers_how(tmp_path):
    path = tmp_path / "gru.pt"
    model, score, log = train_entry("gru-fsdd", settings=SETTINGS, output=path, steps=2, seed=3)
    assert (log.steps, log.seed, score.n) == (2, 3, 600)
    assert [file.name for file in tmp_path.iterdir()] == ["gru.pt"]  # the checkpoint in between is gone
    loaded = load_checkpoint(path)
    assert same(loaded.network, model.network)
    (line,) = loaded.history
    assert line["pass"] == "train"
    assert {"width": 4, "batch_size": 240, "seed": 3, "steps": 2}.items() <= line["settings"].items()
    assert [spec.dims for spec in loaded.forms["step"].inputs] == [("N", "T", 10), ("N", 4)]


def test_bare_weights_are_those_of_the_entrys_own_module(tmp_path):
    path = tmp_path / "gru.safetensors"
    model, _, _ = train_entry("gru-fsdd", settings=SETTINGS, output=path, steps=2)
    module = models.find("gru-fsdd").build(width=4)
    module.load_state_dict(load_file(path))
    x = torch.randn(2, 7, 10)
    torch.testing.assert_close(module(x), model.network(x))


def test_a_table_that_two_layers_share_is_written_once(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)
            self.head.weight = self.table.weight

    first, second = Tied(), Tied()
    save_weights(first, tmp_path / "tied.safetensors")
    assert sorted(load_file(tmp_path / "tied.safetensors")) == ["head.bias", "head.weight"]
    load_model(second, tmp_path / "tied.safetensors")
    assert same(first, second) and second.head.weight is second.table.weight


def test_an_interrupted_training_is_taken_up_again(tmp_path):
    told = []

    def interrupt(what, done, total, *, detail=""):
        told.append(done)
        raise KeyboardInterrupt

    entry = replace(models.find("cnn-fsdd"), build=lambda: convolutional(), task=lambda batch_size: digits(batch_size))
    arguments = {"options": {}, "training": entry.training, "steps": 5, "checkpoint": tmp_path / "run.pt"}
    with pytest.raises(KeyboardInterrupt):
        train_network(entry, **arguments, progress=interrupt)
    assert told == [5] and (tmp_path / "run.pt").exists()
    network, _, log = train_network(entry, **arguments, resume=True)
    assert log.resumed_at == 5
    again, _, _ = train_network(entry, options={}, training=entry.training, steps=5)
    assert same(network, again)


def test_settings_go_to_the_builder_or_to_the_training():
    entry = models.find("resnet8")
    options, training = split_settings(entry, {"width": 8, "epochs": 3, "activation": "silu"})
    assert options == {"width": 8, "activation": "silu"}
    assert training == replace(entry.training, epochs=3)


def test_a_code_of_another_length_has_a_signature_and_noise_of_that_length():
    entry = with_code(models.find("vae"), {"code": 5, "width": 20})
    assert [spec.dims for spec in entry.inputs] == [("N", 784), ("N", 5)]
    assert [spec.dims for spec in entry.outputs] == [("N", 784), ("N", 5), ("N", 5)]
    assert [spec.dims for spec in (*entry.forms["encode"].outputs, *entry.forms["decode"].inputs)] == [("N", 5)] * 3
    assert entry.task.keywords == {"inputs": entry.inputs}
    assert with_code(models.find("vae"), {"code": 20}) is models.find("vae")
    assert with_code(models.find("autoencoder"), {"code": 4}).inputs == models.find("autoencoder").inputs


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"no reference model named 'resnet9'\. Did you mean 'resnet8'"):
        find_entry("resnet9")
    with pytest.raises(UsageError, match=r"train resnet8: no setting named 'epoch'\. Did you mean 'epochs'"):
        train_entry("resnet8", settings={"epoch": 3})
    with pytest.raises(UsageError, match=r"no setting named 'qqq'\. There are: width, .*learning_rate"):
        train_entry("resnet8", settings={"qqq": 3})


def test_a_value_that_cannot_be_built_is_refused():
    with pytest.raises(UsageError, match="train gru-fsdd: it cannot be built with width=-3: "):
        train_entry("gru-fsdd", settings={"width": -3})


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        train_entry("gru-fsdd", settings=SETTINGS, output=tmp_path / "missing" / "gru.pt", steps=1)
