"""A graph in another opset, by onnxscript's converter and, where that gives up, ONNX's own. Imports no torch."""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir
from onnxscript.version_converter import ConvertVersionPass

from export.prepare import opset_of
from models.errors import CompressError


def in_opset(network: ir.Model, opset: int) -> ir.Model:
    """The graph in the opset asked for; its own where it is that already.

    Raises:
        CompressError: no converter goes there, or an operator of the graph has no counterpart in that opset.
    """
    before = opset_of(network)
    if opset == before:
        return network
    newest = onnx.defs.onnx_opset_version()
    if not 9 <= opset <= newest:
        raise CompressError(f"export: opset {opset} was asked for, and there are 9 to {newest}.")
    converted = network.clone()
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # it logs a failure and goes on; the version below says whether it failed
    try:
        converted = ConvertVersionPass(opset, fallback=True)(converted).model
    except Exception as error:
        raise _refusal(before, opset, str(error).splitlines()[0]) from error
    finally:
        logging.disable(disabled)
    if opset_of(converted) != opset:
        raise _refusal(before, opset, _why(network, opset))
    return converted


def _why(network: ir.Model, opset: int) -> str:
    try:
        onnx.version_converter.convert_version(ir.to_proto(network), opset)
    except Exception as error:
        return str(error).strip().splitlines()[-1]
    return "the converter left it as it was"


def _refusal(before: int, opset: int, reason: str) -> CompressError:
    return CompressError(
        f"export: the graph of opset {before} cannot be written in opset {opset}: {reason}. Ask for opset {before}."
    )
