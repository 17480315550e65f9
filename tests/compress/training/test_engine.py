import copy
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from compress.training.engine import train
from models.errors import CompressError, DataError, DeviceError, TrainingError, UsageError
from models.records import Training
from tests.compress.small_tasks import Attending, Plain, Recurrent, convolutional, digits, same
from tests.compress.training.killed_run import run

NAMES = {"inputs": ["x"], "outputs": ["logits"]}


def line(network=None, **options):
    """Fit y = 2 x by one weight, from a list of batches."""
    x = torch.linspace(-1, 1, 8).unsqueeze(1)
    network = network or nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    train(network, Plain([(x, 2 * x)]), Training(**options), inputs=["x"], outputs=["y"], steps=options.pop("n", 1))
    return network.weight.item()


def test_one_step_of_sgd_is_what_a_hand_computes():
    # d/dw mean (w x - 2 x)^2 at w = 0 is -4 mean x^2; Nesterov's first step is 1.9 times the plain one
    square = float(torch.linspace(-1, 1, 8).square().mean())
    options = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "warmup": 0.0, "clip_norm": 0.0}
    assert line(**options) == pytest.approx(0.1 * 1.9 * 4 * square, rel=1e-6)


def test_the_gradient_is_clipped_to_the_norm():
    options = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "warmup": 0.0, "clip_norm": 0.5}
    assert line(**options) == pytest.approx(0.1 * 1.9 * 0.5, rel=1e-5)


def test_digits_are_learned_and_the_log_says_how():
    network, task, told = convolutional(), digits(), []
    log = train(
        network,
        task,
        Training(learning_rate=1e-2),
        **NAMES,
        steps=90,
        progress=lambda what, done, total, *, detail="": told.append((what, done, total, detail)),
    )
    assert (log.steps, log.epochs, log.seed, log.device) == (90, 6, 0, "cpu")
    assert [step for step, _ in log.losses][-1] == 90 and len(log.losses) == 20
    assert log.losses[0][1] > 2.0 > 0.7 > log.losses[-1][1]
    assert told[-1][:3] == ("train", 90, 90) and "loss" in told[-1][3]
    assert not network.training and all(p.is_contiguous() for p in network.parameters())


@pytest.mark.parametrize("make", [convolutional, Recurrent, Attending])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(make):
    torch.manual_seed(0)
    start = make()
    task = digits(frames=not isinstance(start, nn.Sequential))
    trained = []
    for seed in (0, 0, 1):
        network = copy.deepcopy(start)
        torch.rand(7)  # where the caller's generator stands is no matter
        train(network, task, Training(average=0.9), **NAMES, steps=20, seed=seed)
        trained.append(network)
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2]) and not same(trained[0], start)


def test_the_callers_random_numbers_go_on_undisturbed():
    network = nn.Linear(1, 1)
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    train(network, Plain([(torch.ones(2, 1), torch.ones(2, 1))]), Training(), **NAMES, steps=2)
    assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(3) == expected[1]).all()


def test_averaging_changes_the_weights_and_a_decay_of_almost_nothing_keeps_the_last_ones():
    trained = {}
    for decay in (0.0, 1e-12, 0.99):
        trained[decay] = convolutional()
        train(trained[decay], digits(), Training(average=decay), **NAMES, steps=12)
    assert not same(trained[0.0], trained[0.99])
    for live, averaged in zip(trained[0.0].parameters(), trained[1e-12].parameters(), strict=True):
        torch.testing.assert_close(averaged, live, rtol=0, atol=1e-6)


class Killed(Exception):
    """Raised in the middle of a run, in place of a signal."""


@pytest.mark.parametrize("make", [convolutional, Recurrent])
@pytest.mark.parametrize("stop", [1, 15, 22])  # the first step, the end of an epoch of 15 batches, the middle of one
def test_a_run_that_was_stopped_resumes_to_the_same_bits(tmp_path, make, stop):
    torch.manual_seed(0)
    start = make()
    task = digits(frames=not isinstance(start, nn.Sequential))
    settings = {**NAMES, "steps": 34, "checkpoint_seconds": 0.0}
    undisturbed, resumed = copy.deepcopy(start), copy.deepcopy(start)
    whole = train(undisturbed, task, Training(average=0.9), **settings)

    def kill(outputs, target, inputs, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] > stop:
            raise Killed
        return task.loss(outputs, target)

    with pytest.raises(Killed):
        train(copy.deepcopy(start), task, Training(average=0.9), **settings, loss=kill, checkpoint=tmp_path / "run.pt")
    log = train(resumed, task, Training(average=0.9), **settings, checkpoint=tmp_path / "run.pt", resume=True)
    assert log.resumed_at == stop
    assert same(resumed, undisturbed)
    assert log.losses == whole.losses and log.epochs == whole.epochs
    finished = copy.deepcopy(start)  # a finished run gives its result again
    train(finished, task, Training(average=0.9), **settings, checkpoint=tmp_path / "run.pt", resume=True)
    assert same(finished, undisturbed)


def test_killed_by_a_signal_it_resumes_to_the_same_bits(tmp_path):
    steps, checkpoint = 600, tmp_path / "run.pt"
    script = Path(__file__).with_name("killed_run.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    child = subprocess.Popen([sys.executable, str(script), str(checkpoint), str(steps)], env=environment)
    while not checkpoint.exists():
        assert child.poll() is None, "the child ended before its first checkpoint"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert 1 <= torch.load(checkpoint, weights_only=True)["step"] < steps
    checkpoint.rename(checked := tmp_path / "killed.pt")
    resumed, log = run(steps, checkpoint=checked)
    undisturbed, _ = run(steps)
    assert log.resumed_at >= 1
    assert same(resumed, undisturbed)


def test_ctrl_c_leaves_the_last_checkpoint_whole(tmp_path):
    def interrupted(outputs, target, inputs, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return digits_task.loss(outputs, target)

    digits_task, path = digits(), tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(
            convolutional(),
            digits_task,
            Training(),
            **NAMES,
            steps=9,
            loss=interrupted,
            checkpoint=path,
            checkpoint_seconds=0.0,
        )
    assert torch.load(path, weights_only=True)["step"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_on_a_full_disk_the_last_checkpoint_stays_and_can_be_resumed(tmp_path):
    path, start, task = tmp_path / "run.pt", convolutional(), digits()
    settings = {**NAMES, "steps": 7, "checkpoint": path, "checkpoint_seconds": 0.0}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(network, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    try:
        with pytest.raises(CompressError, match=r"run\.pt' could not be written: the disk is full"):
            train(copy.deepcopy(start), task, Training(), **settings, after_step=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path, weights_only=True)["step"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    resumed, undisturbed = copy.deepcopy(start), copy.deepcopy(start)
    train(resumed, task, Training(), **settings, resume=True)
    train(undisturbed, task, Training(), **NAMES, steps=7)
    assert same(resumed, undisturbed)


def test_minutes_become_steps_that_repeat_the_run():
    timed, repeated = convolutional(), convolutional()
    log = train(timed, digits(), Training(), **NAMES, minutes=0.005)
    assert log.steps >= 1
    train(repeated, digits(), Training(), **NAMES, steps=log.steps)
    assert same(timed, repeated)


def test_epochs_count_where_no_budget_is_given():
    assert train(convolutional(), digits(320), Training(epochs=2), **NAMES).steps == 6


def test_a_loader_with_a_shuffle_of_its_own_repeats_and_resumes(tmp_path):
    x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, torch.arange(40) % 10), batch_size=8, shuffle=True)
    undisturbed, resumed, stopped = convolutional(), convolutional(), convolutional()
    train(undisturbed, Plain(data), Training(), **NAMES, steps=14)

    def kill(outputs, target, inputs, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] > 8:
            raise Killed
        return Plain(data).loss(outputs, target)

    path = tmp_path / "run.pt"
    with pytest.raises(Killed):
        train(stopped, Plain(data), Training(), **NAMES, steps=14, loss=kill, checkpoint=path, checkpoint_seconds=0.0)
    train(resumed, Plain(data), Training(), **NAMES, steps=14, checkpoint=path, resume=True)
    assert same(resumed, undisturbed)


def test_a_frozen_layer_stays_as_it_is_with_its_statistics():
    network = convolutional()
    for parameter in network[:3].parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(network)
    train(network, digits(), Training(), **NAMES, steps=3)
    assert same(network[:3], before[:3]) and not same(network[3:], before[3:])


def test_a_network_that_views_what_a_convolution_gives_trains_too():
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 6 * 6, 10)

        def forward(self, x):
            return self.head(self.conv(x).view(x.shape[0], -1))

    assert train(Viewing(), digits(), Training(), **NAMES, steps=2).steps == 2


def test_label_smoothing_is_torchs_own():
    task, losses = digits(), []
    for loss in (None, lambda outputs, target, inputs: F.cross_entropy(outputs["logits"], target, label_smoothing=0.3)):
        training = Training(label_smoothing=0.0 if loss else 0.3)
        log = train(convolutional(), task, training, **NAMES, steps=3, loss=loss)
        losses.append([value for _, value in log.losses])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_divergence_says_step_rate_and_what_to_try(tmp_path):
    x = torch.full((4, 1), 1e20)
    with pytest.raises(TrainingError, match=r"diverged at step 1 of 9, loss inf, learning rate 0\.5\. Try .* 0\.05"):
        train(
            nn.Linear(1, 1),
            Plain([(x, -x)]),
            Training(learning_rate=0.5, warmup=0.0),
            inputs=["x"],
            outputs=["y"],
            steps=9,
            checkpoint=tmp_path / "run.pt",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 0}, UsageError, "0 steps, and at least 1 is needed"),
        ({"steps": 3, "minutes": 1.0}, UsageError, "both steps=3 and minutes=1 are given"),
        ({"steps": None, "minutes": -1.0}, UsageError, "minutes=-1, and it must be more than 0"),
        ({"outputs": ["a", "b"]}, TrainingError, r"step 1, batch x float32\[64, 1, 8, 8\]: zip.*ValueError"),
        ({"inputs": ["image"]}, DataError, r"no array 'image' in a batch that has \['x'\]; the network takes"),
        ({"task": Plain([])}, DataError, "no batch in epoch 1. It is empty"),
        (
            {"task": Plain(iter([(torch.ones(2, 1, 8, 8), torch.ones(2).long())]))},
            DataError,
            "can be iterated only once",
        ),
        ({"network": nn.Flatten()}, TrainingError, "no parameter that can be trained"),
        (
            {"task": Plain([(torch.ones(2, 1, 8, 8), torch.tensor([0, 10]))])},
            TrainingError,
            "Target 10 is out of bounds",
        ),
        ({"task": Plain([(torch.ones(2, 8, 8), torch.tensor([0, 1]))])}, TrainingError, r"batch x float32\[2, 8, 8\]"),
        (
            {
                "training": Training(label_smoothing=0.1),
                "task": Plain([(torch.ones(2, 1, 8, 8), torch.ones(2, 10))]),
            },
            UsageError,
            r"label_smoothing=0\.1 needs class numbers .* \[2, 10\]",
        ),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(change, error, message):
    arguments = {"network": convolutional(), "task": digits(), "training": Training(), **NAMES, "steps": 2, **change}
    with pytest.raises(error, match=message):
        train(arguments.pop("network"), arguments.pop("task"), arguments.pop("training"), **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none_is_refused():
    with pytest.raises(DeviceError, match="--train-on cuda: torch finds no CUDA device here"):
        train(convolutional(), digits(), Training(), **NAMES, steps=1, train_on="cuda")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path, task = tmp_path / "run.pt", digits()
    arguments = {**NAMES, "checkpoint": path, "resume": True}
    train(convolutional(), task, Training(), **arguments, steps=2)
    with pytest.raises(UsageError, match=r"with learning_rate=0\.001, and learning_rate=0\.5 is asked"):
        train(convolutional(), task, Training(learning_rate=0.5), **arguments, steps=2)
    with pytest.raises(UsageError, match="a run of 2 steps cannot be resumed as one of 3"):
        train(convolutional(), task, Training(), **arguments, steps=3)
    with pytest.raises(UsageError, match=r"weights of another network: .*size mismatch"):
        train(convolutional(width=4), task, Training(), **arguments, steps=2)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match=r"run\.pt: not a checkpoint of a training .* without --resume"):
        train(convolutional(), task, Training(), **arguments, steps=2)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CompressError, match="not a checkpoint of a training"):
        train(convolutional(), task, Training(), **arguments, steps=2)
