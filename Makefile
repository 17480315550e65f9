# The two commands of the README. Each makes .venv itself when it is missing.
PYTHON ?= python3
BIN := .venv/bin
ifneq ($(wildcard ../shared/data),)
export COMPRESS_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test lint

demo: .venv/ready
	$(BIN)/compress demo -o demo

test: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@
