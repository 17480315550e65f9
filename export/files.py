"""Outputs appear whole or not at all: a hidden file beside the target, renamed when everything is in it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
        UsageError: the target is an input, a folder or no ordinary file, its folder does not exist, or its name is too
            long.
        CompressError: the folder is not writable, or the disk is full.
    """
    target = check_output(path, not_the_same_as=not_the_same_as)
    part = target.with_name(f"{_hidden(target.stem)}{target.suffix}")
    try:
        with _named_errors(target, target.parent):
            part.touch(exist_ok=False)
            mode = (target if target.exists() else part).stat().st_mode
            yield part
            _flush(part)
            os.chmod(part, stat.S_IMODE(mode))  # some writers make a file of their own, for its owner alone
            os.replace(part, target)
    finally:
        with suppress(OSError):  # on a read-only disk even this fails, and would hide why
            part.unlink()


@contextmanager
def whole_folder(path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> Iterator[Path]:
    """A hidden folder to fill; what is in it is moved into `path` when the block ends well.

    A file of the same name in an existing folder is replaced; the other files of that folder stay.

    Raises:
        UsageError: `path` is a file, an input would be replaced, the folder above it does not exist, or its name is too
            long.
        CompressError: not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    _check_name(target)
    if target.exists() and not target.is_dir():
        raise UsageError(f"output {str(path)!r} is a file, and a folder is written here. Name another with -o.")
    for folder in (target.parent, *([target] if target.is_dir() else [])):
        _check_folder(folder, path)
    part = target.with_name(_hidden(target.name))
    try:
        with _named_errors(target, target.parent):
            part.mkdir()
            yield part
            written = [p.relative_to(part) for p in sorted(part.rglob("*")) if p.is_file()]
            for name in written:
                _refuse_inputs(target / name, not_the_same_as)
                _flush(part / name)
            for name in written:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part / name, target / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_output(path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> Path:
    """The real place of an output file, after every check that can be made before it is written.

    Raises:
        UsageError, CompressError: as `whole`.
    """
    target = Path(os.path.realpath(path))
    _check_name(target)
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


def _check_name(target: Path) -> None:
    """Ask the disk itself: how long a name may be is another on each, and counts bytes."""
    with _named_errors(target, target.parent), suppress(FileNotFoundError, NotADirectoryError):
        target.lstat()


def _check_folder(folder: Path, path: str | Path) -> None:
    """Ask the folder itself, with a file that has no name: modes say nothing of disks that are mounted read-only."""
    if not folder.is_dir():
        raise UsageError(f"output {str(path)!r}: there is no folder {str(folder)!r}. Make it first: mkdir -p {folder}")
    with _named_errors(Path(path), folder), tempfile.TemporaryFile(dir=folder):
        pass


def _hidden(name: str) -> str:
    """A name beside it that nobody has; cut, since 50 letters may be 200 bytes, and most disks allow 255."""
    return f".{name[:50]}.{secrets.token_hex(4)}"


@contextmanager
def _named_errors(target: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except CompressError:
        raise
    except PermissionError as error:
        if error.filename is not None and Path(error.filename).parent != folder:
            raise
        raise CompressError(
            f"{str(target)!r} cannot be written: the folder {str(folder)!r} is not yours to write."
        ) from error
    except Exception as error:
        if (why := _why(error, target, folder)) is None:
            raise
        raise why from error


def _why(error: Exception, target: Path, folder: Path) -> CompressError | None:
    """What an error means for whoever named the target; None where it is no matter of the disk."""
    number = error.errno if isinstance(error, OSError) else None
    lost_errno = not isinstance(error, OSError) and shutil.disk_usage(folder).free < _NEARLY_FULL_BYTES
    if lost_errno or number in _FULL:
        return CompressError(
            f"{str(target)!r} could not be written: the disk is full (or a limit on file sizes was met). "
            "Nothing was left behind; free some space, or name another place with -o."
        )
    if number == errno.EROFS:
        return CompressError(f"{str(target)!r} cannot be written: its disk is read-only. Name another with -o.")
    if number == errno.ENAMETOOLONG:
        return UsageError(f"{str(target)!r} cannot be written: the name is too long. Name a shorter one with -o.")
    return None


def _flush(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
