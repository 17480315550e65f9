from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
import torch

import compress
from compress.base import Context, Note, Outcome
from compress.pruning.prune import Prune
from compress.quantization.quantize import Quantize
from compress.recipe import check_order, fields_of, find_pass, read_recipe, run, steps
from export.lifted import Lifted
from export.to_onnx import to_onnx
from export.wrap import Model
from models.errors import UsageError

SEEN: list[tuple[str, Context, type]] = []


@dataclass(frozen=True, kw_only=True)
class Renames:
    """Gives the model another name, and notes what it was given."""

    name: ClassVar[str] = "renames"
    to: str = "renamed"
    fails: bool = False
    takes: str = "torch"

    def __call__(self, model, context):
        SEEN.append((model.name, context, type(model.network)))
        if self.fails:
            raise ValueError("no")
        return Outcome(replace(model, name=self.to), (Note("", "renamed"),))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model(torch.nn.Sequential(torch.nn.Linear(4, 3)), inputs=["x:float32[N,4]"], name="first")


@pytest.fixture(autouse=True)
def forget():
    SEEN.clear()


def test_passes_run_left_to_right_and_the_first_model_teaches(model):
    outcomes = run([Renames(to="a"), Renames(to="b")], model, Context())
    assert [o.model.name for o in outcomes] == ["a", "b"]
    assert [name for name, _, _ in SEEN] == ["first", "a"]
    assert all(context.teacher is model for _, context, _ in SEEN)


def test_a_teacher_that_was_named_stays(model):
    teacher = replace(model, name="other")
    run([Renames()], model, Context(teacher=teacher))
    assert SEEN[0][1].teacher is teacher


def test_every_step_is_remembered_with_its_settings(model):
    history = run([Renames(to="a"), Renames(to="b")], model, Context())[-1].model.history
    assert [(step["pass"], step["settings"]["to"]) for step in history] == [("renames", "a"), ("renames", "b")]
    assert all(step["version"] == compress.__version__ for step in history)
    assert model.history == ()


def test_a_failure_says_in_which_pass_and_after_which(model):
    with pytest.raises(ValueError, match="no") as caught:
        run([Renames(to="a"), Renames(fails=True)], model, Context())
    assert caught.value.__notes__ == [f"in pass {Renames(fails=True)!r}, after ['renames']"]


def test_torch_crosses_to_onnx_where_a_pass_takes_it(model):
    run([Renames(), Renames(takes="onnx")], model, Context())
    assert [kind for _, _, kind in SEEN] == [Lifted, ir.Model]


def test_onnx_is_lifted_where_the_first_pass_takes_torch(model):
    outcome = run([Renames()], to_onnx(model), Context())[-1]
    assert SEEN[0][2] is Lifted and not SEEN[0][1].teacher.is_onnx
    assert outcome.model.inputs == model.inputs and outcome.model.outputs == model.outputs


def test_onnx_stays_onnx_where_no_pass_takes_torch(model):
    run([Renames(takes="onnx")], to_onnx(model), Context())
    assert SEEN[0][2] is ir.Model


def test_torch_after_onnx_is_refused_before_anything_runs(model):
    with pytest.raises(UsageError, match=r"'renames' works on torch networks and cannot follow 'renames'"):
        run([Renames(), Renames(takes="onnx"), Renames()], model, Context())
    assert SEEN == []
    with pytest.raises(UsageError, match="no passes"):
        check_order([])


def test_steps_give_each_outcome_before_the_next_pass_runs(model):
    walk = steps([Renames(to="a"), Renames(to="b")], model, Context())
    assert next(walk).model.name == "a" and len(SEEN) == 1


def test_a_torch_model_without_a_named_set_carries_a_small_sample_on(model):
    batches = [{"x": np.ones((100, 4), np.float32), "unused": np.ones(3)}]
    carried = run([Renames()], model, Context(calibration=batches))[-1].model.sample
    assert list(carried) == ["x"] and carried["x"].shape == (64, 4)
    assert run([Renames()], replace(model, data="digits"), Context(calibration=batches))[-1].model.sample is None
    assert run([Renames(takes="onnx")], model, Context(calibration=batches))[-1].model.sample is None


def test_a_recipe_is_read_back(tmp_path: Path):
    (tmp_path / "net.pt").write_bytes(b"")
    (tmp_path / "small.toml").write_text(
        'model = "net.pt"\ndata = "digits"\ndevice = "arm64"\nseed = 3\n\n'
        '[[pass]]\nname = "prune"\nratio = 0.25\nskip = ["head", "stem.*"]\n\n'
        '[[pass]]\nname = "quantize"\nmode = "static"\n'
    )
    recipe = read_recipe(tmp_path / "small.toml")
    assert recipe.passes == (Prune(ratio=0.25, skip=("head", "stem.*")), Quantize(mode="static"))
    assert (recipe.model, recipe.data, recipe.device, recipe.seed) == (str(tmp_path / "net.pt"), "digits", "arm64", 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 'one'", r"seed takes a whole number, not 'one'"),
        ("pass = 3", r"pass takes a \[\[pass\]\] table"),
        ("pass = [3]", r"pass 1: write each pass as a table of its own"),
        ('data = "mine.data:load"\n[[pass]]\nname = "prune"', r"--plugin mine\.data:load"),
        ('[[pass]]\nname = "distill"\nstudent = "mine:net"', r"pass 1: student = 'mine:net' is code"),
        ("a = \xff", "is not TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_place(tmp_path: Path, text: str, said: str):
    (tmp_path / "r.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=said):
        read_recipe(tmp_path / "r.toml")


def test_code_that_the_command_line_named_is_allowed(tmp_path: Path):
    (tmp_path / "r.toml").write_text('[[pass]]\nname = "distill"\nstudent = "mine:net"\n')
    (step,) = read_recipe(tmp_path / "r.toml", allowed=["mine:net"]).passes
    assert fields_of(step)["student"] == "mine:net"
    (tmp_path / "zoo.toml").write_text('model = "zoo:resnet8"\n[[pass]]\nname = "prune"\n')
    assert read_recipe(tmp_path / "zoo.toml").model == "zoo:resnet8"


def test_a_pass_is_found_by_its_name():
    assert find_pass("prune") is Prune
    with pytest.raises(UsageError, match=r"here: no pass named 'prun'\. Did you mean 'prune'"):
        find_pass("prun", where="here")
