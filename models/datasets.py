"""Named sets of data: where the user keeps them, else in a cache, else fetched from their source and checked.

Archives made by GitHub are not the same bytes twice, and ours are repacked, so the checksum is that of the content.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import requests

from models.errors import DataError

VARIABLE = "COMPRESS_DATA"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One set, where it comes from, and how to know that it is whole.

    Args:
        name: as the user types it, and the name of its folder.
        sha256: file -> checksum of its content, `content_sha256`; the files the folder holds.
        address: of the archive or file at its source.
        convert: makes the files in a folder from what the address gave.
        licence: with whom to name.
        timeout_s: how long the source may say nothing.
    """

    name: str
    sha256: Mapping[str, str]
    address: str
    convert: Callable[[Path, Path], None]
    licence: str
    timeout_s: float = 30.0


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(pooch.os_cache("compress"))


def locate(data: DataSet) -> Path:
    """The folder that holds the set's files; downloads them where they are not on this machine.

    Raises:
        DataError: they are nowhere; the text says where was looked, why the download failed, and what to do.
    """
    places = [cache_folder() / data.name]
    if root := os.environ.get(VARIABLE):
        places.insert(0, Path(root) / data.name)
    for place in places:
        if all((place / file).is_file() for file in data.sha256):
            return place
    try:
        _download(data, places[-1])
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        files = ", ".join(data.sha256)
        kept = f"${VARIABLE} is not set" if len(places) == 1 else f"not in ${VARIABLE} ({places[0]})"
        raise DataError(
            f"data '{data.name}': {kept}, not in the cache ({places[-1]}), and the download from {data.address} "
            f"failed: {_reason(error, data)}. Put {files} into a folder named {data.name} and run: "
            f"export {VARIABLE}=<the folder around it>; or try again with a connection."
        ) from error
    return places[-1]


def read_arrays(data: DataSet, file: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of one of the set's .npz files."""
    path = locate(data) / file
    with _sound(data, path), path.open("rb") as opened, np.load(opened) as arrays:
        return dict(arrays)


def read_bytes(data: DataSet, file: str) -> bytes:
    """One of the set's files as it is."""
    path = locate(data) / file
    with _sound(data, path):
        return path.read_bytes()


def read_members(data: DataSet, file: str) -> Iterator[tuple[str, bytes]]:
    """The files in one of the set's .zip files, by name in order."""
    path = locate(data) / file
    with _sound(data, path), zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if not n.endswith("/")):
            yield name, archive.read(name)


def content_sha256(path: Path) -> str:
    """Checksum of what a file says, not of how it is packed.

    Of an .npz: name, type, shape and bytes of each array; of a .zip: name and bytes of each file, both by name in
    order; of a .gz: the bytes it unpacks to; of any other file: its bytes.
    """
    digest = hashlib.sha256()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            for name in sorted(arrays):
                array = arrays[name]
                digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(n for n in archive.namelist() if not n.endswith("/")):
                content = archive.read(name)
                digest.update(f"{name} {len(content)}\n".encode())
                digest.update(content)
    elif path.suffix == ".gz":
        digest.update(gzip.decompress(path.read_bytes()))
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def archive_members(archive: Path, folder: str, suffix: str) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Files under a folder of a source archive, whose own top folder is named for the commit: (path below, bytes)."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            parts = tuple(name.split("/")[1:])
            if parts[:1] == (folder,) and name.endswith(suffix):
                yield parts[1:], opened.read(name)


def _download(data: DataSet, place: Path) -> None:
    """Fetch, convert and check beside the cache; only what is whole and right is moved into it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{data.name}-") as scratch:
        fetched, made = Path(scratch) / "fetched", Path(scratch) / data.name
        _fetch(data, fetched)
        made.mkdir()
        data.convert(fetched, made)
        for file, expected in data.sha256.items():
            if (found := content_sha256(made / file)) != expected:
                raise ValueError(
                    f"{file} has the checksum {found[:12]}..., not {expected[:12]}...: not what was published"
                )
        if place.exists():  # a folder that lacks some of its files
            shutil.rmtree(place)
        made.rename(place)


def _fetch(data: DataSet, path: Path) -> None:
    # not by pooch.retrieve: it leaves the connection open when the source fails, and checks bytes that differ each time
    with requests.get(data.address, stream=True, timeout=data.timeout_s) as response, path.open("wb") as file:
        response.raise_for_status()
        for part in response.iter_content(1 << 20):
            file.write(part)


def _reason(error: Exception, data: DataSet) -> str:
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
        return f"no answer for {data.timeout_s:g} s"
    if isinstance(error, zipfile.BadZipFile):
        return "what came is no archive, or was cut off"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"the source answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "it was cut off"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "it was cut off" if "IncompleteRead" in str(error) else "no connection"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _sound(data: DataSet, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"data '{data.name}': {path} cannot be read ({type(error).__name__}). Delete it, and it is fetched "
            f"again from {data.address}."
        ) from error
