"""What is said, and where: results to stdout, progress and errors to stderr, one document with `--json`."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SCHEMA = 1
_PLAIN_SECONDS = 5.0  # between two lines of progress where stderr is no terminal


@dataclass
class Console:
    """Says what a command found. Nothing here computes.

    Args:
        as_json: print one document and nothing else on stdout.
        quiet: no progress, and no words beside the result.
    """

    as_json: bool = False
    quiet: bool = False
    _bars: Bars | None = None
    _tasks: dict[str, TaskID] = field(default_factory=dict)
    _last: float = 0.0
    _begun: dict[str, tuple[float, int]] = field(default_factory=dict)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", texts: int = 1) -> None:
        """A table for people: the first `texts` columns are words, the others numbers, set to the right."""
        if self.as_json:
            return
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for position, head in enumerate(heads):
            table.add_column(head, justify="left" if position < texts else "right", overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self._print(table)

    def say(self, text: str) -> None:
        """A sentence beside the result; not with `-q` or `--json`."""
        if not self.as_json and not self.quiet:
            print(text)

    def warn(self, text: str) -> None:
        """A sentence that must be seen, on stderr."""
        self.close()
        print(f"warning: {text}", file=sys.stderr)

    def result(self, text: str) -> None:
        """A sentence that is the result; not with `--json`."""
        if not self.as_json:
            print(text)

    def wrote(self, files: Sequence[Path]) -> None:
        """The files that a command left, with their sizes."""
        self.result(f"wrote {' and '.join(f'{file} ({size(file.stat().st_size)})' for file in files)}")

    def document(self, **content: Any) -> None:
        """The one document of `--json`, with its schema version; nothing without it."""
        if self.as_json:
            print(json.dumps(plain({"schema": SCHEMA, **content}), indent=2, ensure_ascii=False))

    def progress(self, what: str, done: int, total: int, *, detail: str = "") -> None:
        """How far a long work is: a bar on a terminal, else a line now and then."""
        if self.quiet:
            return
        if sys.stderr.isatty():
            self._bar(what, done, total, detail)
        else:
            self._line(what, done, total, detail)

    def _line(self, what: str, done: int, total: int, detail: str) -> None:
        now = time.monotonic()
        self._last = self._last or now  # a short work says nothing
        since, before = self._begun.setdefault(what, (now, done))
        if now - self._last >= _PLAIN_SECONDS:
            self._last = now
            left = f", {time_left(now - since, done - before, total - done)} left" if done > before else ""
            print(f"{what}: {done}/{total}{f', {detail}' if detail else ''}{left}", file=sys.stderr)

    def close(self) -> None:
        """Take the bars off the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}

    def _bar(self, what: str, done: int, total: int, detail: str) -> None:
        from rich.console import Console as Rich
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
            )
            self._bars = Progress(*columns, console=Rich(stderr=True), transient=True)
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, detail=detail)
        self._bars.update(self._tasks[what], completed=done, total=total, detail=detail)

    @staticmethod
    def _print(table: Any) -> None:
        from rich.console import Console as Rich

        # not a terminal: a file or a pipe, whose lines must not be folded to 80 columns
        Rich(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)


def plain(value: Any) -> Any:
    """The value as JSON has it: records as objects, arrays as lists, what is no finite number as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [f for f in dataclasses.fields(value) if f.repr]
        return {f.name.rstrip("_"): plain(getattr(value, f.name)) for f in shown}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def time_left(seconds: float, done: int, left: int) -> str:
    """How long the rest takes, at the pace so far.

    >>> time_left(10.0, 20, 60), time_left(60.0, 1, 9)
    ('30 s', '9 min')
    """
    ahead = seconds / done * left
    return f"{ahead:.0f} s" if ahead < 120 else f"{ahead / 60:.0f} min"


def say_error(text: str, *, notes: Sequence[str] = ()) -> None:
    """One sentence on stderr, and where it happened."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    for note in notes:
        print(f"  {note}", file=sys.stderr)


def size(count: float) -> str:
    """Bytes for people.

    >>> size(1747000)
    '1,747.0 kB'
    """
    return f"{count:,.0f} B" if count < 1000 else f"{count / 1000:,.1f} kB"


def spec(of: Any) -> str:
    """An input or output as `--input` has it: x:float32[N,3,32,32]."""
    return f"{of.name}:{of.dtype}[{','.join(map(str, of.dims))}]"
