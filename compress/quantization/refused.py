"""What speaks against one candidate alone: it cannot be made, or the runtime does not take it. The others go on."""

from __future__ import annotations

from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from models.errors import CompressError

# what a session raises where it is made or run; the rest is a mistake of ours, and no reason against a candidate
REFUSALS = (
    CompressError,
    runtime.EPFail,
    runtime.EngineError,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.InvalidProtobuf,
    runtime.NotImplemented,
    runtime.RuntimeException,
)
