"""Every reference model has its page of one screen, and the list of them is what the tool prints."""

import re
from pathlib import Path

import pytest

from benchmarks.model_pictures import PICTURES
from models import ZOO, find
from models.catalogue import catalogue
from models.records import SECTIONS

PAGES = Path(__file__).parents[1] / "docs" / "models"


@pytest.mark.parametrize("name", ZOO)
def test_a_page_tells_what_a_newcomer_asks(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    entry = find(name)
    assert page.startswith(f"# {name}\n")
    assert f"`compress train {name}" in page, "the command"
    assert re.search(r"\$[^$]+\$", page), "an equation"
    assert any(place in page for place in ("arxiv.org", "doi.org", "doi:", "jmlr.org")), "the source"
    value = entry.golden.value
    said = {f"{value:.{digits}f}" for digits in (1, 2, 3, 4)} | {f"{100 * value:.{digits}f}" for digits in (0, 1, 2)}
    assert any(re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", page) for number in said), f"the score, {value:.4f}"
    assert len(page.splitlines()) <= 130, "one screen, or two"


@pytest.mark.parametrize("name", ZOO)
def test_the_pictures_of_a_page_are_there_and_small(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page)
    assert pictures
    for alternative, file in pictures:
        assert len(alternative) > 15, "said in words, for who cannot see it"
        assert (PAGES / file).stat().st_size < 150_000
    assert name in PICTURES and f"python -m benchmarks.model_pictures {name}" in page


def test_the_list_is_what_the_tool_prints():
    listed = catalogue(map(find, ZOO))
    assert (PAGES / "README.md").read_text(encoding="utf-8").strip() == listed.strip(), (
        "compress models --markdown > docs/models/README.md"
    )
    assert [line[3:] for line in listed.splitlines() if line.startswith("## ")] == [
        section for section in SECTIONS if any(find(name).section == section for name in ZOO)
    ]
    assert all(f"[{name}]({name}.md)" in listed for name in ZOO)


def test_a_section_that_there_is_none_of_is_refused():
    import dataclasses

    with pytest.raises(ValueError, match="no section 'Magic'; there are Recurrent networks"):
        catalogue([dataclasses.replace(find("gru-fsdd"), section="Magic")])
