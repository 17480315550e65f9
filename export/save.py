"""A Model becomes a file: ours where it shall go through further passes, ONNX where it shall run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.files import check_output, whole
from models import decoding
from models.errors import UsageError
from models.records import Model

CHECKPOINT_SUFFIXES = (".pt", ".pth")


def save(model: Model, path: str | Path, *, not_the_same_as: Sequence[str | Path] = ()) -> tuple[Path, ...]:
    """Write the model as the suffix says: `.pt` ours, for a torch network; `.onnx` for either, exported where needed.

    The calibration sample stays out of an ONNX file: it is what is shipped.

    Args:
        model: either form.
        path: replaced whole; further forms of an ONNX model lie beside it, and where one of them writes tokens step by
            step, so does `<stem>.decode.py`, the loop around it: `models/decoding.py`, which needs numpy alone.
        not_the_same_as: the inputs, which are never overwritten.

    Returns:
        The files that were written, `path` first.

    Raises:
        UsageError: another suffix, an ONNX network as `.pt`, or a target that cannot be written.
        CompressError: the folder is not writable, or the disk is full.
    """
    path = Path(path)
    check_suffix(path, gives_onnx=model.is_onnx)
    check_output(path, not_the_same_as=not_the_same_as)
    if path.suffix == ".onnx":
        from export.onnx_file import write

        write(shipped(model), path)
        written = (path, *(path.with_name(f"{path.stem}.{form}.onnx") for form in model.forms))
        if not writes_tokens(model):
            return written
        loop = path.with_name(f"{path.stem}.decode.py")
        with whole(loop, not_the_same_as=not_the_same_as) as part:
            part.write_bytes(Path(decoding.__file__).read_bytes())
        return (*written, loop)
    from export.checkpoint import save as save_checkpoint

    save_checkpoint(model, path)
    return (path,)


def writes_tokens(model: Model) -> bool:
    """Whether the form `step` takes whole numbers, (N, T), and gives logits over the next ones, (N, T, words)."""
    step = model.forms.get("step")
    if step is None:
        return False
    tokens = [s.dims for s in step.inputs if s.state_of is None and np.issubdtype(np.dtype(s.dtype), np.integer)]
    return any(
        len(out.dims) == 3 and out.dims[:2] in tokens and np.issubdtype(np.dtype(out.dtype), np.floating)
        for out in step.outputs
    )


def shipped(model: Model, *, opset: int | None = None) -> Model:
    """The model as it lies in the file that is shipped: ONNX, without a calibration sample.

    Args:
        model: either form.
        opset: of the ONNX standard, in place of our own; an ONNX network keeps the one it has.

    Raises:
        UsageError: the opset asked is not the one that an ONNX network has.
    """
    if model.is_onnx:
        network: Any = model.network
        has = network.opset_imports.get("", opset)
        if opset not in (None, has):
            raise UsageError(f"export: opset {opset} asked of {model.name!r}, which is ONNX of opset {has} already.")
    else:
        from export.to_onnx import OPSET, to_onnx

        model = to_onnx(model, opset=opset or OPSET)
    return replace(model, sample=None)


def check_suffix(path: Path, *, gives_onnx: bool) -> None:
    """Refuse a suffix that does not fit what will be written.

    Raises:
        UsageError: says which suffixes do.
    """
    allowed = (".onnx",) if gives_onnx else (*CHECKPOINT_SUFFIXES, ".onnx")
    if path.suffix not in allowed:
        what = "the result is ONNX" if gives_onnx else "the result is a network of torch"
        raise UsageError(f"output {str(path)!r}: {what}, so its name ends in {' or '.join(allowed)}.")
