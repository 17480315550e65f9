"""A pass on the command line that is killed and goes on to the weights of an undisturbed run."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from cli import status
from compress import checkpoints
from compress.base import Context
from compress.pruning.prune import Prune
from compress.recipe import run
from export.checkpoint import load_checkpoint, save
from tests.compress.small_tasks import convolutional, digits, lifted, same

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


class Stopped(Exception):
    """Somebody pulled the plug."""


def test_a_chain_goes_on_in_the_pass_where_it_was_stopped(tmp_path):
    model, task = lifted(convolutional()), digits()
    passes = (Prune(ratio=0.25, recover=30), Prune(ratio=0.25, recover=40, importance="l1"))
    context = Context(task=task, checkpoint=tmp_path / "small.training.pt", resume=True)
    seen = []

    def stop(what, done, total, detail=""):
        seen.append((total, done))
        if total == 40 and done >= 20:
            raise Stopped

    undisturbed = run(passes, model, replace(context, checkpoint=None))[-1].model.network
    with pytest.raises(Stopped):
        run(passes, model, replace(context, progress=stop))
    first, _ = checkpoints.of_passes(context.checkpoint, passes)
    assert first.name == "small.1-prune.training.pt" and _step(first) == 30
    resumed = run(passes, model, context)
    assert same(resumed[-1].model.network, undisturbed)
    (tmp_path / "small.2-prune.training.3.pt").touch()
    (tmp_path / "others.training.pt").touch()
    checkpoints.remove(context.checkpoint, passes)
    assert [path.name for path in tmp_path.iterdir()] == ["others.training.pt"]
    assert checkpoints.of_passes(context.checkpoint, passes[:1]) == [context.checkpoint]
