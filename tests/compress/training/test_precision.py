import copy

import pytest
import torch
from torch import nn

from compress.training.engine import train
from compress.training.precision import dtype_for
from models.records import Training
from tests.compress.small_tasks import Attending, Recurrent, convolutional, digits, same

NAMES = {"inputs": ["x"], "outputs": ["logits"]}


def test_on_a_cpu_auto_is_for_convolutions_where_the_processor_computes_bf16():
    found = getattr(torch.cpu, "get_capabilities", dict)()
    here = torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else None
    assert dtype_for("auto", nn.Sequential(nn.Conv2d(8, 8, 3), nn.Linear(8, 8)), "cpu") is here
    for network in (Recurrent(), Attending(), nn.Conv2d(8, 8, 3, groups=8)):
        assert dtype_for("auto", network, "cpu") is None
    words = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    assert {word: dtype_for(word, Recurrent(), "cpu") for word in words} == words


@pytest.mark.parametrize("make", [convolutional, Recurrent, Attending])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_stay_float32_and_the_loss_is_near_that_of_float32(make, precision):
    torch.manual_seed(0)
    start = make()
    task = digits(frames=make is not convolutional)
    losses = {}
    for chosen in (precision, "off"):
        network = copy.deepcopy(start)
        log = train(network, task, Training(), **NAMES, steps=4, precision=chosen)
        losses[chosen] = [loss for _, loss in log.losses]
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses[precision] == pytest.approx(losses["off"], rel=0.02)  # 8 bits of mantissa: 2**-8 an operation
    assert losses[precision] != losses["off"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_resumes_to_the_same_bits_with_the_scale_of_its_loss(tmp_path, precision):
    settings = {**NAMES, "steps": 9, "precision": precision, "checkpoint_seconds": 0.0}
    start, task, path = convolutional(), digits(), tmp_path / "run.pt"
    undisturbed, stopped = copy.deepcopy(start), copy.deepcopy(start)
    log = train(undisturbed, task, Training(), **settings)

    def stop(network, calls=[0]):  # noqa: B006 counts its own calls
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, task, Training(), **settings, checkpoint=path, after_step=stop)
    resumed = copy.deepcopy(start)
    train(resumed, task, Training(), **settings, checkpoint=path, resume=True)
    assert same(resumed, undisturbed)
    assert log.precision == {"bf16": "bfloat16", "fp16": "float16"}[precision]
