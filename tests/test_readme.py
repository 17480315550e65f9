"""What the README shows is there: its commands exist, its links lead somewhere, its table is what the tool prints."""

import re
import shlex
from pathlib import Path

import click
import pytest

from cli import commands, status

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PICTURE = "docs/demo.png"


def test_the_table_of_what_works_on_what_is_what_the_tool_prints(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"^```console\n\$ compress (.+?)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert status(block[1].split()) == 0
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in printed.splitlines()] == [line.rstrip() for line in block[2].splitlines()]


def test_the_five_commands_take_what_the_readme_gives_them() -> None:
    lines = re.findall(r"^\| `compress (.+?)` \|", README, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        name, *rest = shlex.split(line)
        command = commands.get_command(click.Context(commands), name)
        assert command is not None, name
        command.make_context(name, rest, resilient_parsing=False)


def test_both_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(targets) and re.findall(r"^    make (\w+)", README, re.MULTILINE) == ["demo", "test"]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_leads_to_a_file(link: str) -> None:
    if link == PICTURE and not (ROOT / link).exists():
        pytest.skip("the picture of the demo's page is made after the demo has run")
    assert (ROOT / link).is_file()


def test_the_changelog_knows_this_version() -> None:
    from compress import __version__

    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
