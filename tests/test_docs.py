"""Each page of docs/ is run as it stands: its files are written to an empty folder, its commands typed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: Path) -> list[tuple[str, str]]:
    """The page's files and commands, in order, as (file name or "", text)."""
    found = []
    for language, title, text in FENCE.findall(page.read_text()):
        if title:
            found.append((title, text))
        elif language == "console":
            found += [("", line[2:]) for line in text.splitlines() if line.startswith("$ ")]
    return found


NEEDS_DATA = ("only-onnx",)  # its file names a set of pictures that it was trained on


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_what_a_page_tells_the_reader_to_type_works(page: Path, tmp_path: Path) -> None:
    if page.stem in NEEDS_DATA and "COMPRESS_DATA" not in os.environ:
        pytest.skip("the data are not on this machine")
    found = steps(page)
    assert any(not title for title, _ in found), "a page without a command tests nothing"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for title, text in found:
        if title:
            (tmp_path / title).write_text(text)
            continue
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(text, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_there_are_pages() -> None:
    assert {page.stem for page in DOCS} >= {"trained-pytorch-model", "only-onnx", "board"}
