"""ONNX Runtime behind one door: sessions on a chosen provider, runners, streams. Imports no torch.

A provider that is asked for is used or the call fails: ONNX Runtime itself would fall back to the CPU with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from export.called import called
from export.draws import drawing, seeded
from export.onnx_file import to_bytes
from export.stream import check_arrays, initial_state, stream
from export.whole_samples import are_whole, run_each
from models.errors import CompressError, DeviceError, first_line
from models.records import Arrays, InputSpec, Model, Runner

__all__ = [
    "PROVIDERS",
    "Provider",
    "check_arrays",
    "in_form",
    "initial_state",
    "onnx_runner",
    "repeats",
    "runner_for",
    "session",
    "stream",
    "torch_runner",
]

Provider = Literal["cpu", "cuda", "tensorrt"]
Optimizations = Literal["all", "portable", "none"]
_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "portable": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def session(
    model: Model,
    *,
    provider: Provider = "cpu",
    threads: int = 1,
    form: str | None = None,
    optimize: Optimizations = "all",
    spin: bool = False,
    profile_to: str | None = None,
    optimized_to: str | None = None,
) -> ort.InferenceSession:
    """An inference session over the model's bytes.

    Args:
        model: an ONNX model.
        provider: where it runs; with "tensorrt", CUDA takes what TensorRT does not, and the CPU what neither does.
        threads: within an operator; operators run one after another.
        form: a further form's name; None is the main one.
        optimize: the runtime's graph optimizations: all, as a deployed model has them; those that are not bound to
            this processor's memory layout; or none.
        spin: let idle threads of the pool wait busily. Off, because it makes the turns of two models on the same
            cores disturb each other; with one thread there is no pool and it changes nothing.
        profile_to: write the runtime's profile to a file that begins with this.
        optimized_to: write the graph as the runtime optimized it to this file.

    Raises:
        DeviceError: the provider is not installed or finds no device.
        CompressError: the runtime does not take the graph.
    """
    model = in_form(model, form)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the rest is not for the user's terminal
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.graph_optimization_level = _LEVELS[optimize]
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_to
    if optimized_to is not None:
        options.optimized_model_filepath = optimized_to
    wanted = _wanted(provider)
    try:
        left_out = crashing_fusions(model) if provider == "cpu" else []
        made = ort.InferenceSession(to_bytes(model), options, providers=wanted, disabled_optimizers=left_out)
    except CompressError:
        raise
    except Exception as error:
        raise CompressError(f"ONNX Runtime does not take model {model.name!r}: {_sentence(error)}") from error
    if made.get_providers()[0] != wanted[0]:
        raise DeviceError(
            f"device {provider!r}: ONNX Runtime has the provider but found no such device, or not the libraries "
            "it needs (nvidia-smi shows what is there). Nothing was run on the CPU instead: --device cpu does that."
        )
    return made


def crashing_fusions(model: Model) -> list[str]:
    """Those that end the process: in onnxruntime 1.32 that of a Transpose (1, 0, 2) before a MatMul in float16."""
    network: Any = model.network
    return ["MatmulTransposeFusion"] if any(map(_computes_in_half, network.graphs())) else []


def _computes_in_half(graph: ir.Graph) -> bool:
    """Whether something but a Cast reads a number in half, be it given, constant or computed by a Cast."""
    halves = [v for v in (*graph.inputs, *graph.initializers.values()) if v.dtype == ir.DataType.FLOAT16]
    halves += [v for node in graph for v in node.outputs if v.dtype == ir.DataType.FLOAT16 or _makes_half(node)]
    return any(use.node.op_type != "Cast" for value in halves for use in value.uses())


def _makes_half(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        return node.attributes["to"].as_int() == ir.DataType.FLOAT16
    value = node.attributes.get("value") if node.op_type == "Constant" else None
    if value is None or value.type != ir.AttributeType.TENSOR:
        return False
    return value.as_tensor().dtype == ir.DataType.FLOAT16


def in_form(model: Model, form: str | None) -> Model:
    """The model with a further form's graph and signature as its main one; None gives the model itself.

    Raises:
        CompressError: there is no such form.
    """
    if form is None or form == "main":
        return model
    if form not in model.forms:
        raise CompressError(f"model {model.name!r} has no form {form!r}; it has {', '.join(['main', *model.forms])}.")
    part = model.forms[form]
    return replace(model, network=part.network, inputs=part.inputs, outputs=part.outputs, forms={})


class Opened(Mapping[str, Runner]):
    """Runners by form, each made when it is first asked for."""

    def __init__(self, forms: Iterable[str], opening: Callable[[str], Runner]) -> None:
        self._opening = opening
        self._runners: dict[str, Runner | None] = dict.fromkeys(forms)

    def __getitem__(self, form: str) -> Runner:
        runner = self._runners[form]
        if runner is None:
            runner = self._runners[form] = self._opening(form)
        return runner

    def __iter__(self) -> Iterator[str]:
        return iter(self._runners)

    def __len__(self) -> int:
        return len(self._runners)


@dataclass(frozen=True)
class Formed:
    """A runner of one form that knows what it takes, and the runners of the others: `records.FormedRunner`."""

    run: Runner
    forms: Mapping[str, Runner]
    inputs: tuple[InputSpec, ...] = ()

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run the form it is of; on samples that are whole inputs, one after the other."""
        return run_each(self.run, arrays, self.inputs) if are_whole(arrays, self.inputs) else self.run(arrays)


def onnx_runner(
    model: Model,
    *,
    provider: Provider = "cpu",
    threads: int = 1,
    form: str | None = None,
    optimize: Optimizations = "all",
) -> Runner:
    """A runner on ONNX Runtime: named arrays in, named arrays out; further forms are opened when they are first run.

    Raises:
        DeviceError, CompressError: as `session`; when it is called, DataError for arrays that do not fit the inputs.
    """
    made = session(model, provider=provider, threads=threads, form=form, optimize=optimize)
    inputs = in_form(model, form).inputs
    names = [value.name for value in made.get_outputs()]

    def run(arrays: Arrays) -> Arrays:
        check_arrays(inputs, arrays, model.name)
        return dict(zip(names, called(made, arrays, model.name), strict=True))

    def open_form(name: str) -> Runner:
        return onnx_runner(model, provider=provider, threads=threads, form=name, optimize=optimize)

    return Formed(run, Opened(model.forms if form in (None, "main") else (), open_form), inputs)


def torch_runner(model: Model, *, form: str | None = None) -> Runner:
    """A runner on torch, where the network lies; in eval mode and without gradients, whatever mode it is in.

    Raises:
        DataError: when it is called, for arrays that do not fit the inputs.
    """
    import torch

    from export.lifted import device_of, evaluating

    part = model.forms[form] if form not in (None, "main") else model
    names = [spec.name for spec in part.outputs]
    network: Any = model.network

    def run(arrays: Arrays) -> Arrays:
        check_arrays(part.inputs, arrays, model.name)
        device = device_of(network)
        given = [torch.from_numpy(np.asarray(arrays[spec.name], order="C")).to(device) for spec in part.inputs]
        with evaluating(network):
            outputs = network(*given) if part is model else network.run(form, *given)
        outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return {name: value.detach().cpu().numpy() for name, value in zip(names, outputs, strict=True)}

    forms = Opened(model.forms if part is model else (), lambda name: torch_runner(model, form=name))
    return Formed(run, forms, part.inputs)


def runner_for(model: Model, *, provider: Provider = "cpu", threads: int = 1, form: str | None = None) -> Runner:
    """A runner on whatever the model's network is: ONNX Runtime, or torch where the network lies.

    An ONNX graph that draws random numbers draws the same ones at each call, and so does what a pass made of it: two
    networks that are held against each other differ by what was done to them alone.
    """
    if not model.is_onnx:
        return torch_runner(model, form=form)
    part = replace(in_form(model, form), forms={})
    run = (_drawing_again if drawing(part) else onnx_runner)(part, provider=provider, threads=threads)

    def open_form(name: str) -> Runner:
        return runner_for(model, provider=provider, threads=threads, form=name)

    return Formed(run, Opened(model.forms if form in (None, "main") else (), open_form), part.inputs)


def _drawing_again(model: Model, *, provider: Provider, threads: int) -> Runner:
    """A runner with a session for each call: the runtime's random numbers begin anew in no other way."""
    fixed = seeded(model)
    onnx_runner(fixed, provider=provider, threads=threads)  # what cannot be run is said at once
    return lambda arrays: onnx_runner(fixed, provider=provider, threads=threads)(arrays)


def repeats(model: Model, arrays: Arrays) -> bool:
    """Whether two runs of an ONNX graph give the same: one that draws may, where the runtime leaves out what draws."""
    run, given = onnx_runner(model), {**initial_state(model.inputs, arrays, model.outputs), **arrays}
    first, second = run(given), run(given)
    return all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def _wanted(provider: str) -> list[str]:
    if provider not in PROVIDERS:
        raise DeviceError(f"there is no provider {provider!r}; there are {', '.join(PROVIDERS)}.")
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        raise DeviceError(
            f"device {provider!r}: this onnxruntime has no {wanted}. Install the one that has: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
        )
    if provider == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
    order = list(PROVIDERS.values())
    return [wanted, *[name for name in reversed(order[: order.index(wanted)])]]


def _sentence(error: BaseException) -> str:
    text = first_line(error)
    return text.partition(" : ")[2] or text
