"""The floors: an import goes down, never up, never in a circle, and none hides inside a function to go up."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = ("models", "export", "compress", "benchmarks", "cli")  # from the ground up


def sources() -> Iterator[tuple[str, Path]]:
    for floor in FLOORS[:-1]:
        for path in sorted((ROOT / floor).rglob("*.py")):
            yield floor, path
    yield "cli", ROOT / "cli.py"


def imports(path: Path, package: str) -> Iterator[tuple[str, int, bool]]:
    """(what is imported, line, whether at the top of the file) of every import, relative ones made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield (
                    f"{package}.{node.module or alias.name}" if node.level else str(node.module),
                    node.lineno,
                    id(node) in top,
                )


def test_every_import_goes_down() -> None:
    found, wrong = 0, []
    for floor, path in sources():
        for name, line, _ in imports(path, floor):
            target = name.partition(".")[0]
            if target not in FLOORS:
                continue
            found += 1
            if FLOORS.index(target) > FLOORS.index(floor):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert found > 200  # else the parsing is broken, and not the code clean
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    wrong = [str(path) for _, path in sources() for name, _, _ in imports(path, "") if name.partition(".")[0] == "cli"]
    assert wrong == []


def test_no_circle_among_the_files() -> None:
    at_top = {
        f"{floor}.{path.stem}": {
            name for name, _, top in imports(path, floor) if top and name.partition(".")[0] in FLOORS
        }
        for floor, path in sources()
        if path.stem != "__init__"
    }
    assert len(at_top) > 50
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in finished:
            for other in at_top.get(name, ()):
                visit(other, (*trail, name))
            finished.add(name)

    for name in at_top:
        visit(name, ())


def test_no_source_holds_a_sign_that_something_was_left_undone() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    left = [f"{path.relative_to(ROOT)}: {mark}" for _, path in sources() for mark in marks if mark in path.read_text()]
    assert left == []
