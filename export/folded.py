"""A user's ONNX model prepared as our exports are, and held to what came in. Imports no torch.

Libraries that fold and rewrite are written for the graphs of today; a file may be of any age and from any tool. Each
way of preparing is tried on a copy and compared by running both; where the thorough one fails or computes something
else, the next one leaves more as it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveInitializersFromInputsPass

from export.known_shapes import inferred_shapes
from export.onnx_file import LARGEST_BYTES, weight_bytes
from export.parity import FLOOR_DB, verify
from export.prepare import name_nodes, prepare, strip
from export.session import runner_for
from export.trials import batches_for
from models.errors import CompressError, ModelFileError, VerificationError
from models.records import Arrays, Model


@dataclass(frozen=True)
class Prepared:
    """A model after preparation.

    Args:
        model: what to work on.
        left: what of the preparation was left out, and why; "" where nothing was.
    """

    model: Model
    left: str = ""


def fold(model: Model, batches: Sequence[Arrays] = ()) -> Model:
    """A user's ONNX model, each form prepared as our exports are, with every node named; compared with what came in.

    Raises:
        CompressError, VerificationError: as `folded`.
    """
    return folded(model, batches).model


def folded(
    model: Model, batches: Sequence[Arrays] = (), *, reference: Model | None = None, floor_db: float = FLOOR_DB
) -> Prepared:
    """Fold as much as agrees with what came in.

    Args:
        model: ONNX; stays as it is.
        batches: to compare on, of the user's data; without them examples are made.
        reference: what the result must agree with, where that is not the model itself.
        floor_db: the least SQNR of the result.

    Raises:
        ModelFileError: it is larger than 2 GB.
        CompressError: ONNX Runtime does not take the model that came in.
        DataError: it does not run on the data, or on any example.
        VerificationError: not even the graph as it came, with names alone, agrees.
    """
    _check(model)
    shown = list(batches_for(model, given=batches))
    refused: list[str] = []
    for left, way in _WAYS:
        try:
            made = _made(model, way)
            verify(reference or model, made, floor_db=floor_db, batches=shown)
        except Exception as error:  # of libraries too, which raise anything
            if left == _NAMES_ALONE:
                raise
            refused.append(_first_line(error))
            continue
        return Prepared(made, f"{left} ({refused[-1]})" if left else "")
    raise AssertionError


def _check(model: Model) -> None:
    """Refuse what cannot be run here, before anything long is done."""
    size = weight_bytes(model)
    if size > LARGEST_BYTES:
        raise ModelFileError(
            f"model {model.name!r} holds {size / 2**30:.1f} GB of weights; to fold, calibrate and check it, it is run "
            "in one piece, and ONNX has pieces up to 2 GB. Nothing was written; cut the network in two, or export "
            "fewer weights."
        )
    try:
        runner_for(model)
    except CompressError as error:
        if unknown := re.search(r"(\S+?)\(-?\d+\) is not a registered function/op", str(error)):
            raise CompressError(
                f"model {model.name!r} has an operator that ONNX Runtime does not know, {unknown[1]!r}. It cannot be "
                "run here, and what cannot be checked is not written. Export the network without it."
            ) from error
        raise


def _made(model: Model, way: Callable[[ir.Model], None]) -> Model:
    def one(network: Any) -> ir.Model:
        made: ir.Model = network.clone()
        name_nodes(made)
        with inferred_shapes(made):
            way(made)
        strip(made)
        made.metadata_props.update(network.metadata_props)
        return made

    forms = {name: replace(form, network=one(form.network)) for name, form in model.forms.items()}
    return replace(model, network=one(model.network), forms=forms)


def _without_rewrites(network: ir.Model) -> None:
    prepare(network, rewrites=False)


def _constants_alone(network: ir.Model) -> None:
    RemoveInitializersFromInputsPass()(network)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)


def _as_it_is(network: ir.Model) -> None:
    pass


_NAMES_ALONE = "the graph was left as it came: no preparation of it agrees with it"
_WAYS: tuple[tuple[str, Callable[[ir.Model], None]], ...] = (
    ("", prepare),
    ("prepared without rewrites, with which it does not agree", _without_rewrites),
    ("constants and batch norms were not folded: without them it does not agree", _constants_alone),
    (_NAMES_ALONE, _as_it_is),
)


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None and not isinstance(error, CompressError | VerificationError):
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
