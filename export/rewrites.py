"""Which of onnxscript's rewrite rules are right in which opset. Imports no torch.

The rules are written for opset 18 and later. Some look for inputs that were attributes before, some write an attribute
that was not there yet; those are left out of an older graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxscript import rewriter
from onnxscript.rewriter import RewriteRule

_WRITTEN_FOR = 18
# the opset from which on a rule's operators say what it reads and take what it writes
_SINCE = {
    **dict.fromkeys(("CastCast", "CastIdentity", "ExpandIdentity", "TransposeIdentity", "TransposeTranspose"), 9),
    **dict.fromkeys(("Flatten2Reshape", "ReshapeReshape", "FuseSuccessiveRelu"), 9),
    **dict.fromkeys((f"RemoveOptionalBiasFrom{layer}" for layer in ("Conv", "ConvTranspose", "Gemm")), 11),
    **dict.fromkeys(("NormalizePadFormatConv", "FuseConvPad"), 13),
    **dict.fromkeys(("FuseSuccessiveClipRelu", "FuseSuccessiveReluClip", "FuseSuccessiveClip"), 13),
    **dict.fromkeys(("FuseSuccessiveMin", "FuseSuccessiveMax", "FuseMinMaxToClip", "FuseMaxMinToClip"), 13),
    **dict.fromkeys(("UnsqueezeUnsqueeze", "SqueezeReshape1d"), 13),
    "MaterializeReshapeShape": 14,
}
_OURS = ("FuseBatchNormInto",)  # done before, and refused where a number would leave its type


def rules_for(opset: int) -> Sequence[RewriteRule]:
    """The default rules that are right in an opset, in their order."""
    rules: Sequence[RewriteRule] = rewriter._DEFAULT_REWRITE_RULES
    others = [rule for rule in rules if not (rule.name or "").startswith(_OURS)]
    return [rule for rule in others if opset >= _SINCE.get(rule.name or "", _WRITTEN_FOR)]
