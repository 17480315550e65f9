"""Imported first, so that `models`, `export` and `benchmarks` mean ours in every test."""

import os

# Two workers share two cores; a tiny network gains nothing from a second thread and loses much to waiting for it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import compress

assert compress.PASSES
