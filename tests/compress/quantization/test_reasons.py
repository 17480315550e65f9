"""Why auto returned what it did, in words that agree with the numbers beside them. No clock runs here."""

from dataclasses import replace

from compress.quantization.auto import _none
from compress.quantization.by_turns import overall
from compress.quantization.choose import Judged
from compress.quantization.loss import Loss
from export.stopwatch import Comparison, Timings

FLOAT = Judged(name="float", model=None, bytes=9, loss=Loss(points=0.0, text="", keeps=True), integer_nodes=0)


def int8(**forms):
    """A candidate by what the clock says in each form: (speedup, verdict)."""
    found = {
        form: Comparison(a="float", b="int8", speedup=speed, low=speed, high=speed, verdict=verdict, turns=9)
        for form, (speed, verdict) in forms.items()
    }
    timings = {form: Timings(timings={}, comparisons=(one,), cores=(), note="") for form, one in found.items()}
    return replace(FLOAT, name="int8", integer_nodes=1, comparison=overall(timings, "int8"), forms=found)


def test_of_several_forms_the_one_that_decides_is_named():
    """Their mean, 1.20, beside the worst one's verdict said that 1.20 times float's speed is slower."""
    said = _none([FLOAT, int8(main=(1.80, "faster"), step=(0.80, "slower"))])
    assert said.endswith("the best is int8 (main 1.80, step 0.80 times float's speed, slower in step)")
    said = _none([FLOAT, int8(encode=(1.02, "cannot tell"), main=(1.80, "faster"), step=(1.01, "cannot tell"))])
    assert said.endswith("cannot tell in encode, step)")


def test_of_one_form_there_is_nothing_to_name():
    said = _none([FLOAT, int8(main=(0.80, "slower"))])
    assert said == "no int8 candidate is faster than float; the best is int8 (0.80 times float's speed, slower)"
    assert _none([FLOAT, replace(int8(main=(1, "slower")), comparison=None, forms={})]).endswith("the best is int8")


def test_what_loses_too_much_is_told_by_form_too():
    ruined = replace(
        int8(main=(2.0, "faster"), step=(1.5, "faster")), loss=Loss(points=9.0, text="9 points", keeps=False)
    )
    assert _none([FLOAT, ruined]) == "the fastest, int8 (main 2.00, step 1.50 times), loses too much: 9 points"
