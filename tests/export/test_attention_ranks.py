import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.base import Context
from compress.pruning.prune import Prune
from export.lift import lift
from export.to_onnx import to_onnx
from models.records import InputSpec, Model


class Attends(nn.Module):
    """Frames of width 10, their query, key and value in some shape of `lead`, and four numbers a frame."""

    def __init__(self, lead, options):
        super().__init__()
        self.lead, self.options = lead, options
        self.query, self.key, self.value, self.out = (nn.Linear(a, b) for a, b in ((10, 12),) * 3 + ((12, 4),))

    def forward(self, x):
        parts = []
        for layer in (self.query, self.key, self.value):
            part = layer(x)
            if self.lead:
                part = part.unflatten(1, (2, -1)).unflatten(-1, (3, 4)).permute(0, 1, 3, 2, 4)  # windows, heads
            parts.append(part)
        y = F.scaled_dot_product_attention(*parts, **self.options)
        return self.out(y.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2) if self.lead else y)


@pytest.mark.parametrize(
    ("lead", "options"),
    [
        (False, {"attn_mask": torch.ones(6, 6).tril().log(), "scale": 0.3}),
        (False, {"attn_mask": torch.ones(1, 6, 6).tril() > 0}),
        (True, {"is_causal": True}),
    ],
    ids=["a mask and a scale", "a mask of each example", "windows of heads"],
)
def test_attention_of_other_ranks_is_lifted_pruned_and_exported(lead, options):
    inputs = (InputSpec(name="x", dtype="float32", dims=("N", 6, 10)),)
    found = lift(Attends(lead, options).eval(), inputs)
    assert found.difference < 1e-5
    model = Model(network=found.network, inputs=inputs, outputs=found.outputs)
    smaller = Prune(ratio=0.5, recover=0)(model, Context()).model
    assert sum(p.numel() for p in smaller.network.parameters()) < 0.7 * sum(
        p.numel() for p in found.network.parameters()
    )
    assert to_onnx(smaller).is_onnx  # which compares it with torch
