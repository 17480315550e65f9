"""How a committed result is written: JSON that says how it was made, and the page of it for a reader beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compress
from compress.console import plain
from export.files import whole
from export.machine import machine, versions


def now() -> str:
    """The time as the documents write it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def made_by(command: str) -> dict[str, Any]:
    """What typed it, when, on which machine, with which versions."""
    return {
        "command": command,
        "made": now(),
        "machine": machine(),
        "versions": versions() | {"compress": compress.__version__},
    }


def said(content: Mapping[str, Any]) -> list[str]:
    """The first lines of a page: what typed it, when, on which machine, with which runtime."""
    machine = content["machine"]
    return [
        f"`{content['command']}`, {content['made']}, {machine['processor']} ({machine['instruction_set']}),",
        f"ONNX Runtime {content['versions']['onnxruntime']}, one thread",
    ]


def write(document: Mapping[str, Any], output: Path, page: str | None = None) -> None:
    """The document, and its page of the same name as .md, each whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    texts = {output: json.dumps(plain(document), indent=1, allow_nan=False) + "\n"}
    if page is not None:
        texts[output.with_suffix(".md")] = page
    for path, text in texts.items():
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")
