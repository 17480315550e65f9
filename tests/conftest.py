"""Imported first, so that `models`, `export` and `benchmarks` mean ours in every test."""

import compress

assert compress.PASSES
