"""What the runtime makes of a graph: the nodes it is left with, where they run and for how long. Imports no torch."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx_ir as ir

from export.called import called
from export.session import PROVIDERS, Provider, session
from models.records import Arrays, Model

_MOST_RUNS = 400  # a network of many nodes writes megabytes of events


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """One node of the optimized graph: its operator, where it ran, and its time in microseconds."""

    node: str
    op: str
    microseconds: float
    provider: str


def profile(
    model: Model, inputs: Arrays, *, provider: Provider = "cpu", threads: int = 1, runs: int = 20, seconds: float = 0.0
) -> list[NodeTime]:
    """Each node of the optimized graph with its time, in the order they ran: the mean of the middle half of the runs.

    The runtime counts whole microseconds, so of a small network a median would tell 1 from 2 and nothing between.

    Nodes inside the body of a Loop, If or Scan are counted in that node. Times hold the profiler's own share, about a
    microsecond a node, so they compare nodes and do not add up to a latency.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = session(model, provider=provider, threads=threads, profile_to=str(Path(folder) / "profile"))
        done, end = 0, perf_counter() + seconds
        while done < runs or (done < _MOST_RUNS and perf_counter() < end):
            called(made, inputs, model.name)
            done += 1
        events = json.loads(Path(made.end_profiling()).read_text(encoding="utf-8"))
    named = _node_names(model)
    times: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        name, facts = event.get("name", ""), event.get("args", {})
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            op = facts.get("op_name", "")
            node = named(name.removesuffix("_kernel_time"), op)
            times.setdefault(node, []).append(float(event["dur"]))
            kinds[node] = (op, facts.get("provider", ""))
    return [
        NodeTime(node=node, op=kinds[node][0], microseconds=_middle(spent), provider=kinds[node][1])
        for node, spent in times.items()
    ]


def _middle(spent: list[float]) -> float:
    cut = len(spent) // 4
    return float(np.mean(sorted(spent)[cut : len(spent) - cut]))


def _node_names(model: Model) -> Callable[[str, str], str]:
    """From the runtime's name of a fused node, which may be that of a value, to the name of the node it began as."""
    network: Any = model.network
    known = {node.name for node in network.graph.all_nodes()}
    made = {value.name: node for node in network.graph.all_nodes() for value in node.outputs if value.name}

    def named(name: str, op: str) -> str:
        if name in known:
            return name
        node = made.get(name.removesuffix("_nchwc"))
        start = node
        while node is not None and node.op_type != op:  # a Conv that took its Relu in is named by the Relu's value
            before = [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
            node = before[0] if before else None
        found = node or start
        return found.name if found is not None and found.name else name

    return named


def fallen_back(model: Model, inputs: Arrays, *, provider: Provider) -> int:
    """How many nodes ran on the CPU though another provider was asked for."""
    if provider == "cpu":
        return 0
    return sum(node.provider == PROVIDERS["cpu"] for node in profile(model, inputs, provider=provider, runs=2))


def optimized_graph(model: Model, *, provider: Provider = "cpu") -> dict[str, int]:
    """How many nodes of each operator the runtime has left after its own optimizations, most frequent first."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        session(model, provider=provider, optimized_to=str(file))
        nodes = ir.load(file).graph.all_nodes()
        return dict(Counter(node.op_type for node in nodes).most_common())
