"""The console script: binds our floors first, so that a user's `cli.py` on the path is never mistaken for ours."""

import importlib

from compress.floors import PRIVATE, bind


def main() -> None:
    """Run the command line."""
    bind()
    importlib.import_module(f"{PRIVATE}.cli").main()
