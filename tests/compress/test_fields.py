from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress import PASSES
from compress.fields import Setting, build, settings, table
from compress.recipe import fields_of, find_pass
from models import ZOO, find
from models.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A pass with a field of every kind."""

    name: ClassVar[str] = "sample"
    count: int = field(default=3, metadata={"help": "how many"})
    share: float = 0.5
    fast: bool = False
    title: str = ""
    mode: Literal["static", "dynamic"] = "static"
    skip: tuple[str, ...] = ()
    budget: float | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        if self.count < 0:
            raise UsageError(f"count is {self.count} and must not be below 0")


def function(*, width: int = 4, activation: Literal["relu", "gelu"] = "relu") -> None: ...


def test_a_field_becomes_a_setting_with_all_it_says():
    found = {setting.name: setting for setting in settings(Sample)}
    assert list(found) == ["count", "share", "fast", "title", "mode", "skip", "budget"]  # not `name`, a ClassVar
    assert found["count"] == Setting(name="count", kind="whole number", default=3, help="how many")
    assert found["mode"].words == ("static", "dynamic")
    assert found["skip"].many and found["skip"].kind == "text"
    assert found["budget"].optional and found["budget"].kind == "number"
    assert [setting.option for setting in settings(function)] == ["--width", "--activation"]


def test_what_is_no_scalar_is_its_authors_mistake():
    @dataclass
    class Wrong:
        steps: dict[str, Any]

    with pytest.raises(TypeError, match="'steps'"):
        settings(Wrong)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cuont": 3}, r"at: there is no field 'cuont'\. Did you mean 'count'\?"),
        ({"zebra": 3}, r"There are: count, share"),
        ({"count": 1.5}, r"at: count takes a whole number, not 1\.5"),
        ({"count": True}, r"count takes a whole number, not True"),
        ({"share": "half"}, r"share takes a number, not 'half'"),
        ({"fast": 1}, r"fast takes a yes or no, not 1"),
        ({"mode": "statik"}, r"mode takes one of static, dynamic, not 'statik'\. Did you mean 'static'\?"),
        ({"skip": "conv"}, r"skip takes a list, and 'conv' is none"),
        ({"skip": [3]}, r"skip takes a text, not 3"),
        ({"count": -1}, r"at: count is -1 and must not be below 0"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(values, said):
    with pytest.raises(UsageError, match=said):
        build(Sample, values, where="at")


def test_whole_numbers_are_numbers_and_lists_are_tuples():
    made = build(Sample, {"share": 1, "skip": ["a", "b"]}, where="at")
    assert made.share == 1.0 and isinstance(made.share, float)
    assert made.skip == ("a", "b")


@given(
    st.builds(
        Sample,
        count=st.integers(0, 99),
        share=st.floats(0, 1),
        fast=st.booleans(),
        title=st.text(),
        mode=st.sampled_from(["static", "dynamic"]),
        skip=st.lists(st.text()).map(tuple),
        budget=st.none() | st.floats(0, 9),
    )
)
def test_what_is_written_is_read_back(made):
    assert build(Sample, fields_of(made), where="at") == made


def test_the_table_has_a_line_a_setting():
    lines = table(Sample).splitlines()
    assert lines[2] == "| `--count` | `3` | how many |"
    assert len(lines) == 2 + len(asdict(Sample()))


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_of_ours_says_what_each_field_is_for(name):
    found = settings(find_pass(name))
    assert found
    for setting in found:
        assert setting.help and "\n" not in setting.help, f"{name}.{setting.name}"


@pytest.mark.parametrize("name", ZOO)
def test_every_builder_of_ours_has_settings(name):
    assert settings(find(name).build)
