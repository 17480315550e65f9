"""A pass on the command line that is killed and goes on to the weights of an undisturbed run."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from cli import status
from export.checkpoint import load_checkpoint, save
from tests.compress.small_tasks import convolutional, lifted, same

STEPS = 400
START = "from compress.start import main; main()"


@pytest.fixture
def folder(tmp_path):
    save(lifted(convolutional(), name="net"), tmp_path / "net.pt")
    return tmp_path


def command(folder, output, *more):
    fields = ["--data", "digits", "--ratio", "0.25", "--recover", str(STEPS), "-q"]
    return ["prune", str(folder / "net.pt"), *fields, "-o", str(folder / output), *more]


def test_killed_twice_it_resumes_to_the_same_weights(folder):
    checkpoint = folder / "killed.training.pt"
    reached = 0
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", START, *command(folder, "killed.pt", "--resume")])
        while not checkpoint.exists() or _step(checkpoint) <= reached:
            assert child.poll() is None, "the child ended before it was killed"
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        reached = _step(checkpoint)
    assert 0 < reached < STEPS and not (folder / "killed.pt").exists()
    assert status(command(folder, "killed.pt", "--resume")) == 0
    assert status(command(folder, "undisturbed.pt")) == 0
    killed, undisturbed = (load_checkpoint(folder / name).network for name in ("killed.pt", "undisturbed.pt"))
    assert same(killed, undisturbed)
    assert not list(folder.glob("*.training*.pt"))


def _step(checkpoint):
    return torch.load(checkpoint, weights_only=True)["step"]


def test_what_is_no_checkpoint_is_not_resumed(folder, capsys):
    (folder / "out.training.pt").write_bytes(b"of something else")
    assert status(command(folder, "out.pt", "--resume")) == 1
    assert "out.training.pt: not a checkpoint of a training" in capsys.readouterr().err
