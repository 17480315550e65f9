"""What a command line says about the model, its data and its target, made into a Model, a Task and a Context."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compress.console import Console
from models.errors import CompressError, UsageError

if TYPE_CHECKING:
    from compress.base import Context
    from models.records import Arrays, Model, Task


@dataclass(frozen=True, kw_only=True)
class Call:
    """The options that mean the same in every command; each method reads only those it needs."""

    arch: str | None = None
    arch_arg: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    trust_pickle: bool = False
    preprocess: str | None = None
    data: str | None = None
    task: str | None = None
    metric: str | None = None
    device: str = "any"
    threads: int = 1
    train_on: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    json: bool = False
    quiet: bool = False
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "console", Console(as_json=self.json, quiet=self.quiet))

    def load(self, given: str) -> Model:
        """The model that a MODEL argument names, with the name of its data where that is a named set.

        Raises:
            CompressError: as `export.load.load`.
        """
        from compress.data_argument import is_named, parse_preprocess
        from export.foreign import parse_arguments
        from export.load import load
        from export.states import with_states

        if self.arch_arg and self.arch is None:
            raise UsageError("--arch-arg is for the callable that --arch names, and there is no --arch.")
        shown = self._task_for(None) if self._tells_inputs() else None
        model = load(
            given,
            arch=self.arch,
            arch_args=parse_arguments(self.arch_arg),
            inputs=self.input,
            data=shown,
            preprocess=parse_preprocess(self.preprocess) if self.preprocess else None,
            trust_pickle=self.trust_pickle,
        )
        if self.state:
            model = with_states(model, self.state)
        if self.data and is_named(self.data) and not model.data:
            return replace(model, data=self.data)
        return self._at_own_sizes(model)

    def _at_own_sizes(self, model: Model) -> Model:
        """The model with lengths for free dimensions where it knows no usual ones: of the data, or that it runs at."""
        letters = {d for spec in model.inputs for d in spec.dims if isinstance(d, str)} - set(model.typical)
        rows = {spec.dims[0] for spec in model.inputs if spec.dims}
        beside = any(spec.is_one_number and spec.usual is None for spec in model.inputs)
        if not (letters or beside) or not (self.data or self.task):
            return self._at_some_sizes(model, bool(letters - rows))
        from export.trials import with_usual
        from export.whole_samples import are_whole, each_sample

        task = self.find_task(model)
        for batch, _ in () if task is None else task.train:
            whole = are_whole(batch, model.inputs)
            inputs, wanted = (next(each_sample(batch, model.inputs)), letters) if whole else (batch, letters - rows)
            found = {
                letter: size
                for spec in model.inputs
                if spec.name in inputs and spec.state_of is None
                for letter, size in zip(spec.dims, inputs[spec.name].shape, strict=False)
                if letter in wanted
            }
            model = with_usual(replace(model, typical={**model.typical, **found}), inputs)  # type: ignore[dict-item]
            return self._settled(model, inputs)
        return model

    def _settled(self, model: Model, inputs: Arrays | None = None) -> Model:
        """The model with those lengths of told states that do not grow as they are, seen on inputs or made-up ones."""
        if not self.state:
            return model
        from export.settled import settled
        from models.records import example, sizes_of

        plain = [spec for spec in model.inputs if spec.state_of is None]
        return settled(model, example(plain, sizes_of(model)) if inputs is None else inputs)

    def _at_some_sizes(self, model: Model, unknown: bool) -> Model:
        """An ONNX file says no usual length, and not each network takes the one that is tried first."""
        if not unknown or not model.is_onnx or model.sample is not None:
            return self._settled(model)
        from export.trials import runnable

        try:
            model = runnable(model)
        except CompressError:
            return model  # whoever has to run it says what is wrong
        return self._settled(model)

    def find_task(self, model: Model) -> Task | None:
        """The task of `--task` or `--data`, else of the data that the model names; None where there is none.

        Raises:
            DataError: the data is missing, broken, or does not fit the model.
        """
        if self.data or self.task:
            return self._task_for(model)
        return replace(self, data=model.data)._task_for(model) if model.data else None

    def context(self, model: Model) -> Context:
        """All that a pass may read besides the model.

        Raises:
            DataError: as `find_task`.
            UsageError: there is no such device.
        """
        from compress.base import Context
        from compress.data_argument import calibration_from
        from export.device import find_device
        from export.stopwatch import Stopwatch

        device = find_device(self.device)
        task = self.find_task(model)
        sample: Iterable[Arrays] = () if model.sample is None else (model.sample,)
        return Context(
            task=task,
            calibration=sample if task is None else calibration_from(task),
            device=device.name,
            measure=Stopwatch(threads=self.threads, seed=self.seed) if device.is_timed_here else None,
            seed=self.seed,
            train_on=self.train_on,
            progress=self.console.progress,
        )

    def batches(self, model: Model, most: int = 8) -> list[Arrays]:
        """The first inputs of `--data` or `--task`; none where none is named.

        Raises:
            DataError: as `find_task`.
        """
        from export.stepped import fixed_rows, in_rows
        from export.whole_samples import are_whole

        if not (self.data or self.task):
            return []
        rows = fixed_rows(model)
        given = self.context(model).calibration
        cut = (in_rows(b, rows) if rows and not are_whole(b, model.inputs) else (b,) for b in given)
        return list(itertools.islice(itertools.chain.from_iterable(cut), most))

    def target(self, given: str, output: str | None, done: str, *, suffix: str) -> Path:
        """Where the result goes: as `-o` says, else beside the source, named for what was done."""
        if output is not None:
            return Path(output)
        source = Path(given.removeprefix("zoo:"))
        folder, stem = (source.parent, source.stem) if source.is_file() else (Path(), source.name)
        return folder / f"{stem}.{done}{suffix}" if done else folder / f"{stem}{suffix}"

    def _tells_inputs(self) -> bool:
        return bool((self.arch or self.trust_pickle) and not self.input and (self.data or self.task))

    def _task_for(self, model: Model | None) -> Task:
        from compress.data_argument import parse_preprocess, task_for, task_from_factory

        if self.task and self.data:
            raise UsageError("--task and --data are both given; a task brings its own data. Leave one out.")
        if self.task:
            return task_from_factory(self.task)
        how = parse_preprocess(self.preprocess) if self.preprocess else None
        return task_for(self.data or "", model, seed=self.seed, metric=self.metric, preprocess=how)
