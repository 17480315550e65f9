import io
import os
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.cifar import CIFAR10_JPEG
from models.datasets import DataSet, content_sha256, locate, read_arrays, read_bytes, read_members
from models.enja import ENJA
from models.errors import DataError
from models.fsdd import FSDD
from models.mnist import MNIST
from models.shakespeare import TINYSHAKESPEARE

SETS = (CIFAR10_JPEG, ENJA, FSDD, MNIST, TINYSHAKESPEARE)
here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")


@contextmanager
def source(content=b"", *, announced=None, stalls=False, status=200):
    """An HTTP server on loopback: it may say nothing after the headers, stop early, or answer with an error."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(announced or len(content)))
            self.end_headers()
            if stalls:
                released.wait(30)
            else:
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing under $COMPRESS_DATA."""
    monkeypatch.delenv("COMPRESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "compress"


def left_in(cache):
    return sorted(p.name for p in cache.rglob("*")) if cache.exists() else []


def text(address, content=b"to be or not to be"):
    import hashlib

    return replace(TINYSHAKESPEARE, address=address, sha256={"input.txt": hashlib.sha256(content).hexdigest()})


def test_a_download_is_kept_and_used_again(cache):
    content = b"to be or not to be"
    with source(content) as address:
        assert read_bytes(text(address), "input.txt") == content
    assert read_bytes(text(address), "input.txt") == content  # the server is gone
    assert left_in(cache) == ["input.txt", "tinyshakespeare"]


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ({"content": b"to be", "stalls": True}, "no answer for 0.2 s"),
        ({"content": b"to be or", "announced": 18}, "it was cut off"),
        ({"content": b"to sleep, perchance"}, "input.txt has the checksum [0-9a-f]{12}..., not [0-9a-f]{12}..."),
        ({"content": b"gone", "status": 404}, "the source answered 404"),
        ({"content": b"later", "status": 503}, "the source answered 503"),
    ],
    ids=["stalls", "truncates", "lies", "has none", "is ill"],
)
def test_a_bad_source_leaves_one_sentence_and_no_file(cache, server, reason):
    with source(**server) as address, pytest.raises(DataError, match=reason) as raised:
        locate(replace(text(address), timeout_s=0.2))
    assert left_in(cache) == []
    said = str(raised.value)
    assert "\n" not in said
    for part in ("data 'tinyshakespeare'", "$COMPRESS_DATA is not set", str(cache), address, "export COMPRESS_DATA="):
        assert part in said


def test_without_a_connection(cache):
    with source() as address:
        pass
    with pytest.raises(DataError, match="failed: no connection"):
        locate(text(address))
    assert left_in(cache) == []


def test_the_folder_of_the_user_comes_first(cache, tmp_path, monkeypatch):
    mine = tmp_path / "data" / "tinyshakespeare"
    monkeypatch.setenv("COMPRESS_DATA", str(tmp_path / "data"))
    with source() as address:
        pass
    with pytest.raises(DataError, match=r"not in \$COMPRESS_DATA \(.*data.tinyshakespeare\), not in the cache"):
        locate(text(address))
    mine.mkdir(parents=True)
    (mine / "input.txt").write_bytes(b"mine")
    assert read_bytes(text(address), "input.txt") == b"mine"


def test_a_folder_that_lacks_a_file_is_fetched_again(cache):
    (cache / "tinyshakespeare").mkdir(parents=True)
    (cache / "tinyshakespeare" / "other.txt").write_text("stale")
    with source(b"to be or not to be") as address:
        locate(text(address))
    assert left_in(cache) == ["input.txt", "tinyshakespeare"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no zip at all"], ids=["empty", "cut off", "noise"])
def test_a_broken_file_names_itself(cache, content):
    for data, file, read in (
        (MNIST, "train.npz", read_arrays),
        (FSDD, "recordings.zip", lambda *which: list(read_members(*which))),
    ):
        (cache / data.name).mkdir(parents=True)
        for name in data.sha256:
            (cache / data.name / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{file} cannot be read .* Delete it, and it is fetched again from https"):
            read(data, file)


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"repository-d26bd33/{name}", content)
    return made.getvalue()


def encoded(pixels, kind):
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, kind)
    return made.getvalue()


def converted(data: DataSet, archive: bytes, tmp_path: Path) -> Path:
    (tmp_path / "fetched").write_bytes(archive)
    (tmp_path / "made").mkdir()
    data.convert(tmp_path / "fetched", tmp_path / "made")
    assert {p.name for p in (tmp_path / "made").iterdir()} == set(data.sha256)
    return tmp_path / "made"


def test_an_archive_that_is_cut_off(cache):
    with (
        source(zipped({"train/1/0.png": b"x" * 999})[:500]) as address,
        pytest.raises(DataError, match="what came is no archive, or was cut off"),
    ):
        locate(replace(MNIST, address=address))
    assert left_in(cache) == []


@here
def test_mnist_made_from_its_pngs_is_the_mnist_at_hand(tmp_path):
    wanted = {split: read_arrays(MNIST, f"{split}.npz") for split in ("train", "test")}
    files = {"README.md": b"not data"}
    for split, arrays in wanted.items():
        for i in reversed(range(30)):
            name = f"{split}/{arrays['labels'][i]}/{arrays['source_index'][i]}.png"
            files[name] = encoded(arrays["images"][i], "PNG")
    made = converted(MNIST, zipped(files), tmp_path)
    for split, arrays in wanted.items():
        with np.load(made / f"{split}.npz") as found:
            assert set(found) == set(arrays)
            for name in found:
                assert found[name].dtype == arrays[name].dtype
                np.testing.assert_array_equal(found[name], arrays[name][:30])


@here
def test_cifar_made_from_its_jpegs_is_the_cifar_at_hand(tmp_path):
    wanted = {split: read_arrays(CIFAR10_JPEG, f"{split}.npz") for split in ("train", "test")}
    files = {"get_pic.sh": b"not data"}
    for split, arrays in wanted.items():
        for i in reversed(range(30)):
            jpeg = arrays["jpeg"][arrays["offsets"][i] : arrays["offsets"][i + 1]].tobytes()
            files[f"{split}/{arrays['names'][arrays['labels'][i]]}/{i // 10 + 1:04}.jpg"] = jpeg
    made = converted(CIFAR10_JPEG, zipped(files), tmp_path)
    for split, arrays in wanted.items():
        with np.load(made / f"{split}.npz") as found:
            assert {name: found[name].dtype for name in found} == {name: arrays[name].dtype for name in arrays}
            np.testing.assert_array_equal(found["offsets"], arrays["offsets"][:31])
            np.testing.assert_array_equal(found["labels"], arrays["labels"][:30])
            np.testing.assert_array_equal(found["jpeg"], arrays["jpeg"][: arrays["offsets"][30]])
            np.testing.assert_array_equal(found["names"], arrays["names"])


@here
def test_recordings_made_from_the_archive_are_those_at_hand(tmp_path):
    wanted = dict(read_members(FSDD, "recordings.zip"))
    made = converted(FSDD, zipped({**wanted, "README.md": b"not data"}), tmp_path)
    assert content_sha256(made / "recordings.zip") == FSDD.sha256["recordings.zip"]


@here
def test_sentences_made_from_the_archive_are_those_at_hand(tmp_path):
    files = {name: read_bytes(ENJA, name) for name in ENJA.sha256}
    made = converted(ENJA, zipped({**files, "README.md": b"not data"}), tmp_path)
    assert {name: content_sha256(made / name) for name in files} == dict(ENJA.sha256)


@pytest.mark.parametrize("gone", ["dev.ja", "train.en.vocab.4k"])
def test_an_archive_without_one_of_the_files_is_not_used(cache, gone):
    files = {name: b"a b\n" for name in ENJA.sha256 if name != gone}
    with source(zipped(files)) as address, pytest.raises(DataError, match=f"the archive lacks {gone}"):
        locate(replace(ENJA, address=address))
    assert left_in(cache) == []


def test_a_wrong_sentence_is_refused(cache):
    files = {name: b"a b\n" for name in ENJA.sha256}
    with (
        source(zipped(files)) as address,
        pytest.raises(DataError, match=r"dev.en has the checksum .* not what was pub"),
    ):
        locate(replace(ENJA, address=address))
    assert left_in(cache) == []


@here
@pytest.mark.parametrize("data", SETS, ids=lambda data: data.name)
def test_the_checksums_are_those_of_the_data_at_hand(data):
    for file, expected in data.sha256.items():
        assert content_sha256(locate(data) / file) == expected
        assert len(expected) == 64 and data.licence and data.address.startswith("https://")


def test_packing_does_not_change_the_checksum_and_every_value_does(tmp_path):
    a, b = np.arange(6).reshape(2, 3), np.ones(2, np.uint8)
    np.savez(tmp_path / "plain.npz", a=a, b=b)
    np.savez_compressed(tmp_path / "packed.npz", b=b, a=a)
    sums = {content_sha256(tmp_path / "plain.npz"), content_sha256(tmp_path / "packed.npz")}
    assert len(sums) == 1
    for changed in ({"a": a.T, "b": b}, {"a": a + 1, "b": b}, {"a": a, "c": b}, {"a": a.astype(np.int32), "b": b}):
        np.savez(tmp_path / "other.npz", **changed)
        assert content_sha256(tmp_path / "other.npz") not in sums
