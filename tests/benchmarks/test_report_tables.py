"""The tables of the page: what a row of the decision table says there."""

from dataclasses import asdict

from benchmarks.report_tables import step_tables
from compress.base import LayerRow


def test_a_decision_tells_what_the_layer_costs_alone_and_takes_before_and_after():
    row = LayerRow(
        layer="head", type="Gemm", decision="float", reason="slow", sensitivity=38.54, before_us=3.0, after_us=1250.0
    )
    (table,) = step_tables({"step": 1, "pass": "quantize", "layers": [asdict(row)]})
    shown = dict(zip(table.heads, table.rows[0], strict=True))
    assert shown["sensitivity"] == "38.5 dB"
    assert "3.0" in shown["before"] and "1.25" in shown["after"]
    assert "SQNR" not in shown  # nobody measured it
    assert "the smallest hurts most" in table.note
