import hashlib
import io
import os
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from models import gestures
from models.datasets import locate, read_bytes
from models.errors import DataError

here = pytest.mark.skipif("COMPRESS_DATA" not in os.environ, reason="the data are not on this machine")
ROW = ",".join(["3"] + ["0.125"] * 32)


def archive(table):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        for name, content in {
            "model/point_history_classifier/point_history.csv": table,
            "model/keypoint_classifier/keypoint.csv": "0,1,2",
            "README.md": "not data",
        }.items():
            packed.writestr(f"repository-19311a6/{name}", content)
    return made.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing under $COMPRESS_DATA."""
    monkeypatch.delenv("COMPRESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gestures.histories.cache_clear()
    yield tmp_path / "compress"
    gestures.histories.cache_clear()


@pytest.fixture
def address():
    """Of a server on loopback that gives an archive of one row."""
    content = archive(ROW + "\n")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/archive.zip"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_table_is_taken_out_of_the_archive(cache, address):
    right = hashlib.sha256(f"{ROW}\n".encode()).hexdigest()
    data = replace(gestures.HAND_GESTURE, address=address, sha256={"point_history.csv": right})
    assert read_bytes(data, "point_history.csv").decode() == ROW + "\n"


def test_another_table_than_the_published_one_is_refused(cache, address):
    with pytest.raises(DataError, match=r"hand_gesture.*point_history.csv has the checksum .* not 13a9881cd5e0"):
        locate(replace(gestures.HAND_GESTURE, address=address))
    assert not list(cache.rglob("*.csv"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("\n", r"table of shape \(0, 0\)"),
        ("0,1,2\n", r"table of shape \(1, 3\).*33 numbers"),
        ("a,b\n", "no table of numbers: .*'a'"),
    ],
)
def test_a_table_of_another_shape_is_refused(cache, table, said):
    (cache / "hand_gesture").mkdir(parents=True)
    (cache / "hand_gesture" / "point_history.csv").write_text(table)
    with pytest.raises(DataError, match=said):
        gestures.histories()


def test_blocks_are_the_ends_of_each_gesture_and_their_neighbours_are_left_out():
    gesture = np.repeat([0, 1], [400, 1000])
    rows = gestures.blocks(gesture)
    for kind, start, size in ((0, 0, 400), (1, 400, 1000)):
        of = {split: chosen[gesture[chosen] == kind] - start for split, chosen in rows.items()}
        np.testing.assert_array_equal(of["test"], np.arange(size * 8 // 10, size))
        np.testing.assert_array_equal(of["validation"], np.arange(size * 7 // 10, size * 8 // 10 - 15))
        np.testing.assert_array_equal(of["train"], np.arange(size * 7 // 10 - 15))


@here
def test_no_point_of_a_held_out_window_is_trained_on():
    points, gesture = gestures.histories()
    rows = gestures.blocks(gesture)
    split = np.full(len(gesture), "", dtype="<U10")
    for name, chosen in rows.items():
        split[chosen] = name
    assert len(rows["test"]) == 1061 and np.bincount(gesture[rows["test"]]).min() > 240
    # a window that begins `late` pictures after another holds its later points, seen from another first one
    seen = 0
    for first in range(len(points) - 1):
        for second in range(first + 1, min(first + 16, len(points))):
            if split[first] and split[second] and split[first] != split[second]:
                for late in range(1, 10):
                    shifted = points[first, late:] - points[first, late]
                    seen += bool(np.abs(shifted - points[second, : 16 - late]).max() < 1e-4)
    assert seen == 0
    # the same look does find the neighbours within one split
    assert np.abs(points[1, 1:] - points[1, 1] - points[2, :15]).max() < 1e-4


def test_a_varied_gesture_begins_at_the_same_point_and_goes_the_same_way_round():
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = np.stack([np.cos(turns) - 1, np.sin(turns)], axis=-1).astype(np.float32)
    varied = gestures.vary(np.stack([circle] * 50), np.random.default_rng(0))
    assert varied.dtype == np.float32 and not varied[:, 0].any()
    x, y = varied[..., 0], varied[..., 1]
    area = (x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(1) / 2
    # pi times the square of the size, which is e^-0.4 to e^0.4; noise and the polygon change some percent
    assert (area > 0.9 * np.pi * np.exp(-0.8)).all() and (area < 1.1 * np.pi * np.exp(0.8)).all()
