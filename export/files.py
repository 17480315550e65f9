"""Outputs appear whole or not at all: a hidden file beside the target, renamed when everything is in it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import CompressError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NEARLY_FULL_BYTES = 1 << 16  # libraries that lose the errno (torch's zip writer) are judged by what is left


@contextmanager
def whole(path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> Iterator[Path]:
    """An empty hidden file to write; it becomes `path` when the block ends well and vanishes when it does not.

    Entering checks the target, so that nobody computes for minutes what cannot be written. The hidden file lies in
    the same folder (a rename is atomic there) and has the same suffix. Blocks may be nested: a writer that uses
    `whole` itself can be handed the hidden file.

    Args:
        path: what shall appear; an existing file is replaced, through a symbolic link too.
        not_the_same_as: the inputs, which are never overwritten.

    Raises:
        UsageError: the target is an input, a folder or no ordinary file, or its folder does not exist.
        CompressError: the folder is not writable, or the disk is full.
    """
    target = check_output(path, not_the_same_as=not_the_same_as)
    part = target.with_name(f".{target.stem[:100]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        with _named_errors(target):
            part.touch(exist_ok=False)
            mode = (target if target.exists() else part).stat().st_mode
            yield part
            _flush(part)
            os.chmod(part, stat.S_IMODE(mode))  # some writers make a file of their own, for its owner alone
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> Iterator[Path]:
    """A hidden folder to fill; what is in it is moved into `path` when the block ends well.

    A file of the same name in an existing folder is replaced; the other files of that folder stay.

    Raises:
        UsageError: `path` is a file, an input would be replaced, or the folder above it does not exist.
        CompressError: not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise UsageError(f"output {str(path)!r} is a file, and a folder is written here. Name another with -o.")
    _check_folder(target.parent, path)
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    try:
        with _named_errors(target):
            part.mkdir()
            yield part
            written = [p.relative_to(part) for p in sorted(part.rglob("*")) if p.is_file()]
            for name in written:
                _refuse_inputs(target / name, not_the_same_as)
            for name in written:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _flush(part / name)
                os.replace(part / name, target / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_output(path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> Path:
    """The real place of an output file, after every check that can be made before it is written."""
    target = Path(os.path.realpath(path))
    _refuse_inputs(target, not_the_same_as)
    if target.is_dir():
        raise UsageError(
            f"output {str(path)!r} is a folder. Name the file, for example {str(target / 'model.onnx')!r}."
        )
    if target.exists() and not target.is_file():
        raise UsageError(f"output {str(path)!r} is no ordinary file, so it is not replaced. Name another with -o.")
    _check_folder(target.parent, path)
    return target


def _refuse_inputs(target: Path, inputs: Sequence[str | Path]) -> None:
    for source in inputs:
        if target.exists() and Path(source).exists() and os.path.samefile(target, source):
            raise UsageError(f"output {str(target)!r} is the input {str(source)!r}. Name another file with -o.")


def _check_folder(folder: Path, path: str | Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"output {str(path)!r}: there is no folder {str(folder)!r}. Make it first: mkdir -p {folder}")


@contextmanager
def _named_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except CompressError:
        raise
    except PermissionError as error:
        if error.filename is not None and Path(error.filename).parent != target.parent:
            raise
        raise CompressError(
            f"{str(target)!r} cannot be written: the folder {str(target.parent)!r} is not yours to write."
        ) from error
    except Exception as error:
        lost_errno = not isinstance(error, OSError) and shutil.disk_usage(target.parent).free < _NEARLY_FULL_BYTES
        if lost_errno or getattr(error, "errno", None) in _FULL:
            raise CompressError(
                f"{str(target)!r} could not be written: the disk is full (or a limit on file sizes was met). "
                "Nothing was left behind; free some space, or name another place with -o."
            ) from error
        if getattr(error, "errno", None) == errno.EROFS:
            raise CompressError(
                f"{str(target)!r} cannot be written: its disk is read-only. Name another with -o."
            ) from error
        raise


def _flush(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
