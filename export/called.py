"""One run of a session, and who cannot run on what where it fails. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from models.errors import CompressError, first_line


def called(
    made: ort.InferenceSession, arrays: Mapping[str, Any], name: str, wanted: Sequence[str] | None = None
) -> list[Any]:
    """The outputs in order, or those that are wanted.

    Raises:
        CompressError: the runtime fails on them: a length that the network does not take, an index out of range.
    """
    try:
        given = {key: np.asarray(a) if isinstance(a, np.generic) else a for key, a in arrays.items()}
        return list(made.run(wanted, given))
    except Exception as error:
        shapes = ", ".join(f"{key} {np.asarray(a).dtype}{list(np.shape(a))}" for key, a in arrays.items())
        said = first_line(error)
        raise CompressError(
            f"model {name!r} does not run on {shapes}: {said} Where sizes were made up, give --data with rows that it "
            "takes."
        ) from error
