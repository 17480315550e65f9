"""How many kinds of network can be pruned: ours and Torch-Pruning on the same architectures, with one judgement.

    python -m benchmarks.coverage [NAME ...] [-o benchmarks/results/coverage.json] [--resume]

Right is what keeps the shapes of all outputs, removes 25 to 80 % of the parameters at ratio 0.5, runs, is exported to
ONNX, runs there, and gives finite numbers. Nothing is trained. Each tool works in a process of its own, so that a crash
of one network costs that network alone. Needs `pip install compress-nn[peers]` for the second tool.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compress  # noqa: F401  binds our packages
from benchmarks.documents import write
from export.machine import machine, versions

if TYPE_CHECKING:
    from benchmarks.coverage_tools import Verdict

RESULT = Path(__file__).parent / "results" / "coverage.json"
MODULE = {"compress": "compress", "torch-pruning": "torch_pruning"}
SILENT_S = 300  # a network that says nothing for so long counts as hung
_MARK = "verdict: "


def measured(tool: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The verdict on each network, in order; where the process dies, the rest goes on in a new one."""
    left = list(names)
    while left:
        command = [sys.executable, "-m", "benchmarks.coverage", "--tool", tool, *left]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith(_MARK):
                    left.pop(0)
                    yield json.loads(line.removeprefix(_MARK))
            status = child.wait()
        hung = f"no answer in {SILENT_S} s" if status == -signal.SIGALRM else f"the process ended with status {status}"
        if left:
            yield {
                "tool": tool,
                "network": left.pop(0),
                "parameters": None,
                "removed": None,
                "reason": hung,
                "seconds": None,
            }


def _child(tool: str, names: Sequence[str]) -> None:
    from benchmarks.coverage_networks import ARCHITECTURES
    from benchmarks.coverage_tools import judged, quiet

    quiet()
    by_name = {architecture.name: architecture for architecture in ARCHITECTURES}
    for name in names:
        signal.alarm(SILENT_S)  # the default action ends this process, and the next one goes on
        verdict: Verdict = judged(tool, by_name[name])
        print(f"{_MARK}{json.dumps(asdict(verdict))}", flush=True)


def document(verdicts: Sequence[dict[str, Any]], command: str) -> dict[str, Any]:
    """Everything that was found, and how."""
    tools = dict.fromkeys(verdict["tool"] for verdict in verdicts)
    return {
        "schema": 1,
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {**versions(), **_peers()},
        "right": {tool: sum(v["tool"] == tool and not v["reason"] for v in verdicts) for tool in tools},
        "networks": len({verdict["network"] for verdict in verdicts}),
        "verdicts": list(verdicts),
    }


def _peers() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"torch-pruning": version("torch-pruning")}
    except PackageNotFoundError:
        return {}


def page(content: dict[str, Any]) -> str:
    """The same for a reader: a row a network, a column a tool."""
    tools = list(content["right"])
    found = {(v["network"], v["tool"]): v for v in content["verdicts"]}
    names = list(dict.fromkeys(v["network"] for v in content["verdicts"]))
    told = ", ".join(f"{tool} {content['right'][tool]}" for tool in tools)
    kinds = ", ".join(f"{k} {v}" for k, v in content["versions"].items() if k in ("torch", "torch-pruning"))
    lines = [
        "# Which networks can be pruned",
        "",
        f"Right of {len(names)}: {told}. A cell gives the share of the parameters that ratio 0.5 removes, or what",
        "went wrong. Right is: all output shapes kept, 25 to 80 % removed, runs, exports to ONNX, runs there, finite.",
        "Ours goes on from its written file alone. Torch-Pruning has magnitude importance and is told which layers",
        "make the outputs, as its README asks; it is told nothing else about a network. No training, random weights.",
        "",
        f"`{content['command']}`, {content['date']}; {kinds}.",
        "",
        f"| network | parameters | {' | '.join(tools)} |",
        f"|---|---:|{'---|' * len(tools)}",
    ]
    for name in names:
        cells = [_cell(found.get((name, tool))) for tool in tools]
        parameters = next((v["parameters"] for t in tools if (v := found.get((name, t))) and v["parameters"]), 0)
        lines.append(f"| {name} | {parameters:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return ""
    if verdict["reason"]:
        return f"**no**: {verdict['reason']}".replace("|", "\\|")
    return f"{verdict['removed']:.0%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures; all where none is named")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    parser.add_argument("--resume", action="store_true", help="keep the verdicts that the output file holds already")
    parser.add_argument("--tool", choices=tuple(MODULE), help="judge with this tool, here, and print the verdicts")
    asked = parser.parse_args(arguments)
    if asked.tool:
        _child(asked.tool, asked.names)
        return 0
    from benchmarks.coverage_networks import ARCHITECTURES

    known = [architecture.name for architecture in ARCHITECTURES]
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no architecture named {unknown[0]!r}; there are {', '.join(known)}")
    verdicts = json.loads(asked.output.read_text())["verdicts"] if asked.resume and asked.output.is_file() else []
    command = " ".join(["python -m benchmarks.coverage", *asked.names])
    for tool, module in MODULE.items():
        if importlib.util.find_spec(module) is None:
            print(f"{tool} is not installed and left out: pip install compress-nn[peers]", file=sys.stderr)
            continue
        there = {verdict["network"] for verdict in verdicts if verdict["tool"] == tool}
        for verdict in measured(tool, [name for name in asked.names or known if name not in there]):
            verdicts.append(verdict)
            print(f"{tool:14} {verdict['network']:22} {verdict['reason'] or format(verdict['removed'], '.0%')}")
            content = document(verdicts, command)
            write(content, asked.output, page(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
