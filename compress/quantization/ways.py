"""The ways to make a compressed form, as data: what a decision table holds to make it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from compress.quantization.range_methods import METHODS, Method

Kind = Literal["float", "weights", "fp16", "static", "dynamic"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a candidate is made.

    Args:
        kind: what is in 8 bits: nothing, stored weights, stored halves, or what computes, with ranges that calibration
            saw or with those of the moment.
        per_channel: a weight scale for each output channel, and not one for the whole tensor.
        operators: ONNX Runtime's own integer operators in place of portable pairs.
        dynamic_rest: what has no static kernel computes with the ranges of the moment, where it can.
        unsigned: weights unsigned too, where signed ones would have to be narrow for their sums to fit.
        unsigned_layers: the only layers for which that holds, where it does not for all.
        loops: GRU and RNN as loops of integer products.
        store_rest: the weights of what stays in float are stored in 8 bits.
        half_rest: in half precision instead, where 8 bits lose too much though nothing computes in them.
        equalize: channels are rescaled first, so that they fill one grid alike.
        calibration: the method that ranges are by.
        wide: carriers start from float tensors too, which are rounded for them, where that saves conversions.
    """

    kind: Kind
    per_channel: bool = True
    unsigned: bool = False
    unsigned_layers: tuple[str, ...] = ()
    operators: bool = False
    dynamic_rest: bool = False
    loops: bool = False
    store_rest: bool = False
    half_rest: bool = False
    equalize: bool = False
    calibration: Method = "minmax"
    wide: bool = False

    def __post_init__(self) -> None:
        """Check the words, which may come from a file."""
        object.__setattr__(self, "unsigned_layers", tuple(map(str, self.unsigned_layers)))
        if self.kind not in KINDS or self.calibration not in METHODS:
            raise ValueError(f"no such way: {self}")

    @property
    def name(self) -> str:
        """As it stands in tables; the method of ranges is added by whoever tries several."""
        unsigned = " unsigned" if self.unsigned else ""
        first, *others = self.unsigned_layers or ("",)
        some = f", {first}{f' and {len(others)} more' if others else ''} unsigned" if first else ""
        loops = " with loops" if self.loops else ""
        if self.kind != "static":
            tensor = "" if self.per_channel or self.kind == "fp16" else " per tensor"
            return f"{self.kind}{tensor}{unsigned}{loops}{some}"
        rest = f", rest dynamic{loops}" if self.dynamic_rest else ""
        scales = f"{'channel' if self.per_channel else 'tensor'}{unsigned}"
        kind = f"static per {scales}{' QOperator' if self.operators else ''}"
        return f"{kind}{', wide' if self.wide else ''}{', equalized' if self.equalize else ''}{rest}{some}"
