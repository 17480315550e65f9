import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from compress.console import Console, plain, say_error, size, spec
from models.records import InputSpec, Score


@dataclass
class Record:
    pass_: str = "prune"
    hidden: int = field(default=3, repr=False)


def test_results_go_to_stdout_and_all_else_to_stderr(capsys):
    console = Console()
    console.result("done")
    console.say("next")
    console.warn("careful")
    say_error("two\n  lines", notes=["where"])
    said = capsys.readouterr()
    assert said.out == "done\nnext\n"
    assert said.err == "warning: careful\nerror: two lines\n  where\n"


def test_quiet_says_the_result_alone(capsys):
    console = Console(quiet=True)
    console.say("next")
    console.result("done")
    console.progress("train", 1, 2)
    assert capsys.readouterr() == ("done\n", "")


def test_json_prints_one_document_and_nothing_else(capsys):
    console = Console(as_json=True)
    console.say("next")
    console.result("done")
    console.table(("a",), [("b",)])
    console.document(record=Record(), array=np.arange(2), nothing=math.nan, pair=(1, "x"))
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "record": {"pass": "prune"}, "array": [0, 1], "nothing": None, "pair": [1, "x"],
    }  # fmt: skip


def test_a_table_outside_of_a_terminal_is_not_folded(capsys):
    Console().table(("name", "value"), [("x" * 100, 1), ("y", None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("x" * 100) and len(lines) == 3


def test_a_short_work_says_nothing_of_its_progress(capsys):
    console = Console()
    for done in range(100):
        console.progress("train", done, 100)
    assert capsys.readouterr().err == ""


def test_what_a_score_was_computed_from_stays_out_of_a_document():
    score = Score(value=1.0, low=0.9, high=1.0, n=3, unit="accuracy", samples=np.ones(3))
    assert "samples" not in plain(score) and plain(score)["unit"] == "accuracy"


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (1000, "1.0 kB"), (1_747_000, "1,747.0 kB")])
def test_sizes_are_in_kilobytes_of_a_thousand(count, text):
    assert size(count) == text


def test_a_spec_reads_as_it_is_typed():
    assert spec(InputSpec(name="x", dtype="float32", dims=("N", 3))) == "x:float32[N,3]"
