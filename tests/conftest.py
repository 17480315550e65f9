"""Imported first, so that `models`, `export` and `benchmarks` mean ours in every test."""

import os

# Two workers share two cores; a tiny network gains nothing from a second thread and loses much to waiting for it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import compress

assert compress.PASSES

# files of a few long tests that share nothing: handed out test by test, last, so that no worker waits for another
APART = ("test_matrix_quick.py", "test_docs.py", "test_zoo.py", "test_bad_input.py", "test_readme.py", "test_demo.py")


def pytest_xdist_make_scheduler(config, log):
    """A file goes to one worker, since its tests share what they made; but for those that share nothing."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith(APART) else file

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None
