"""The numbers on the page are held against documents written by hand; what is broken gives one sentence."""

import json
import re
from html import unescape

import pytest

from benchmarks.report import figures_of, page_of, write_report
from benchmarks.report_tables import benchmark_table, costs_table, lower_is_better, step_tables, steps_table
from models.errors import CompressError, DataError

HOSTILE = "<script>alert(1)</script>"


def line(step, name, **facts):
    return {
        "step": step,
        "pass": name,
        "settings": {},
        "metric_name": "accuracy",
        "unit": "fraction",
        "metric": 0.99,
        "metric_low": 0.98,
        "metric_high": 0.995,
        "samples": 600,
        "size_bytes": 1_000_000,
        "macs": 20_000_000,
        "parameters": 250_000,
        "median_ms": 0.4,
        "low_ms": 0.39,
        "high_ms": 0.41,
        "seconds": 0.0,
        "changed": [],
        "skipped": [],
        "layers": [],
        "costs": [{"layer": "conv", "bytes": 900_000, "macs": 20_000_000}],
        "facts": {},
        **facts,
    }


FIRST = line(0, "original")
LOST = {"drop": 0.005, "drop_low": 0.0, "drop_high": 0.01, "metric": 0.985}
FASTER = {"speedup": 10.0, "speedup_low": 9.5, "speedup_high": 10.5, "verdict": "faster", "median_ms": 0.04}
LAST = line(
    1,
    "quantize",
    size_bytes=20_000,
    macs=2_000_000,
    settings={"mode": "auto", "skip": []},
    skipped=[
        {"layer": HOSTILE, "text": "its range is <b>huge</b>"},
        {"layer": "", "text": "no int8 candidate is faster"},
    ],
    layers=[
        {"layer": HOSTILE, "type": "Conv", "decision": "float", "reason": "small", "sqnr_db": 31.25, "bytes": None}
    ],
    costs=[{"layer": "conv.0", "bytes": 1000, "macs": 500_000}, {"layer": "conv.1", "bytes": 2000, "macs": 1_500_000}],
    facts={
        "chosen": "weights",
        "candidates": [
            {
                "name": "float",
                "bytes": 25_000,
                "median_ms": 0.035,
                "keeps": True,
                "loss_points": -0.0,
                "comparison": None,
            },
            {
                "name": "static",
                "bytes": 22_000,
                "median_ms": 0.054,
                "keeps": True,
                "loss_points": 0.333,
                "comparison": {
                    "a": "float",
                    "b": "static",
                    "speedup": 0.65,
                    "low": 0.6,
                    "high": 0.7,
                    "verdict": "slower",
                },
            },
        ],
    },
    **LOST,
    **FASTER,
)
MACHINE = {"processor": "AMD EPYC", "instruction_set": "x86-vnni", "flags": ["avx2"], "cores": 2, "memory_bytes": 25e9}
LEDGER = {
    "title": f"spotter {HOSTILE}",
    "command": "compress run small.toml",
    "made": "2026-11-24 09:42 UTC",
    "findings": [],
    "machine": MACHINE,
    "versions": {"onnxruntime": "1.32.0"},
    "steps": [FIRST, LAST],
    "controls": [line(2, "trained alone")],
}
BENCHMARK = {
    "benchmarks": [
        {
            "model": name,
            "device": "cpu",
            "provider": "cpu",
            "threads": 1,
            "batch": 1,
            "dtype": "int8",
            "median_ms": 0.4,
            "p95_ms": 0.5,
            "p99_ms": 0.6,
            "low_ms": 0.39,
            "high_ms": 0.41,
            "load_ms": 40.0,
            "first_run_ms": 0.7,
            "peak_rss_bytes": 67_800_000,
            "model_rss_bytes": 8_300_000,
            "size_bytes": 20_000,
            "integer_macs_share": 1.0,
            "nodes_fallen_back": 0,
            "machine": {**MACHINE, "pinned": "core 1", "disturbed_turns": 2},
            "versions": {"onnxruntime": "1.32.0"},
        }
        for name in ("0 original", "1 quantize")
    ],
    "comparisons": [
        {"a": "0 original", "b": "1 quantize", "verdict": "faster", "speedup": 10, "low": 9.5, "high": 10.5}
    ],
}
FLIPS = {
    "decisions": 600,
    "flipped": 5,
    "mended": 1,
    "spoilt": 3,
    "shown": [{"index": 7, "label": HOSTILE, "before": "six", "after": "two", "picture": "", "text": "to be"}],
}


def page(**documents):
    return page_of(**{"ledger": LEDGER, "benchmark": BENCHMARK, "flips": FLIPS, **documents})


@pytest.fixture(scope="module")
def shown():
    return page()


def figures(**changes):
    found = figures_of([FIRST, {**LAST, **changes}])
    return [(figure.value, *figure.text.split("\n"), figure.tone) for figure in found]


def test_the_figures_are_the_quotients_of_the_first_line_and_the_last():
    assert figures() == [
        ("50.0×", "smaller file", "1,000 KB → 20.0 KB", ""),
        ("10.0×", "faster, batch 1, one thread", "400.0 µs → 40.0 µs", "interval 9.50 to 10.50", "good"),
        ("10.0×", "fewer multiply-adds", "20.00 M → 2.00 M", ""),
        ("0.50 pt", "accuracy lost, 600 samples", "99.0 % → 98.5 %", "interval, paired: 0.00 to 1.00 pt", "good"),
    ]


def test_what_became_worse_says_so():
    worse = figures(
        size_bytes=2_000_000,
        speedup=0.5,
        speedup_low=0.4,
        speedup_high=0.8,
        verdict="slower",
        macs=FIRST["macs"],
        drop=0.05,
        drop_low=0.03,
        drop_high=0.07,
    )
    assert [(value, text) for value, text, *_ in worse] == [
        ("2.00×", "larger file"),
        ("2.00×", "slower, batch 1, one thread"),
        ("20.00 M", "multiply-adds: the same as before"),
        ("5.00 pt", "accuracy lost, 600 samples"),
    ]
    assert "interval 1.25 to 2.50" in worse[1] and [tone for *_, tone in worse] == ["", "bad", "", "bad"]


def test_a_gain_is_a_gain_and_an_open_question_has_no_colour():
    value, text, _, interval, tone = figures(drop=-0.01, drop_low=-0.02, drop_high=0.005)[3]
    assert (value, text, interval, tone) == (
        "1.00 pt",
        "accuracy gained, 600 samples",
        "interval, paired: −0.50 to 2.00 pt",
        "good",
    )
    assert figures(drop=0.005, drop_low=-0.01, drop_high=0.02)[3][-1] == ""
    assert figures(verdict="cannot tell")[1][-1] == ""


def test_a_point_of_another_score_is_one_per_cent_of_it():
    first = {**FIRST, "metric": 2.0, "unit": "bits", "metric_name": "bits"}
    for drop, tone in ((0.015, "good"), (0.03, "bad")):
        last = {
            **LAST,
            "metric": 2.0 + drop,
            "unit": "bits",
            "metric_name": "bits",
            "drop": drop,
            "drop_low": drop,
            "drop_high": drop,
        }
        figure = figures_of([first, last])[3]
        assert (figure.value, figure.tone) == (f"{drop:.4f}", tone)


def test_threads_are_those_that_were_measured():
    assert "4 threads" in page(ledger={**LEDGER, "threads": 4, "controls": []}, benchmark=None).figures[1].text


def test_each_step_has_its_row_with_its_intervals():
    table = steps_table("steps", [FIRST, {**LAST, "seconds": 23.4}], FIRST)
    rows = [dict(zip(table.heads, row, strict=True)) for row in table.rows]
    assert rows[0]["lost"] == rows[0]["speed-up"] == "–" and rows[0]["file size"] == "1,000 KB"
    assert rows[1] == {
        "step": "1 quantize",
        "score": "98.5 %\n98.0 to 99.5 %",
        "lost": "0.50 pt\n0.00 to 1.00 pt",
        "file size": "20.0 KB\n50.0× less",
        "parameters": "250,000",
        "MACs": "2.00 M\n10.0× less",
        "median time": "40.0 µs",
        "speed-up": "10.0×\n9.50 to 10.50, faster",
        "made in": "23 s",
    }
    assert "600 samples" in table.note


def test_a_ledger_without_scores_or_times_is_shown_without():
    bare = dict.fromkeys(("metric", "metric_low", "metric_high", "drop", "speedup", "median_ms", "low_ms", "high_ms"))
    steps = [{**FIRST, **bare, "samples": 0}, {**LAST, **bare, "samples": 0}]
    found = page_of(ledger={"steps": steps}, benchmark=None, flips=None)
    assert [figure.text.split("\n")[0] for figure in found.figures] == ["smaller file", "fewer multiply-adds"]
    assert list(found.tables[0].heads) == ["step", "score", "file size", "parameters", "MACs"]
    assert found.tables[0].rows[1][1] == "–" and len(found.plots) == 2 and not found.flips_summary


def test_a_score_that_rises_and_is_lost_is_better_when_lower():
    rising = {**LAST, "metric": FIRST["metric"] + 0.1, "drop": 0.1}
    assert lower_is_better([FIRST, rising], FIRST) and not lower_is_better([FIRST, LAST], FIRST)
    assert not lower_is_better([FIRST], FIRST)
    assert ", lower is better." in steps_table("steps", [FIRST, rising], FIRST).note


def test_finished_models_have_no_numbers_and_no_settings():
    models = [{**FIRST, "pass": "a.onnx"}, {**LAST, "pass": "b.onnx", "settings": {}, "facts": {}}]
    found = page(ledger={**LEDGER, "steps": models, "controls": []}, benchmark=None)
    assert found.versus == "b.onnx, against a.onnx:" and found.tables[0].title == "The models, held against the first"
    assert [row[0] for row in found.tables[0].rows] == ["a.onnx", "b.onnx"] and "settings" not in found.details[0].title


def test_layers_that_became_several_are_summed_before_and_after():
    table = costs_table(FIRST, LAST)
    assert table is not None and list(table.rows) == [("conv", "900 KB", "3.0 KB", "20.00 M", "2.00 M")]
    assert costs_table({**FIRST, "costs": []}, LAST) is None


def test_candidates_and_decisions_are_in_words_with_units():
    candidates, decisions, skipped = step_tables(LAST)
    assert list(candidates.heads) == ["candidate", "size", "median", "within the drop allowed", "lost", "against float"]
    assert list(candidates.rows[1]) == [
        "static",
        "22.0 KB",
        "54.0 µs",
        "yes",
        "0.33 pt",
        "slower\n0.65× (0.60 to 0.70)",
    ]
    assert candidates.rows[0][4:] == ["0.00 pt", "–"] and "Chosen: weights." in candidates.note
    assert (
        list(decisions.heads) == ["layer", "type", "decision", "reason", "SQNR"] and decisions.rows[0][-1] == "31.2 dB"
    )
    assert skipped.rows[1] == ("the network", "no int8 candidate is faster") and skipped.title.endswith("(2)")


def test_what_a_step_says_of_the_whole_network_is_read_first(shown):
    assert shown.findings == ("1 quantize: no int8 candidate is faster",)


def test_an_estimate_says_that_it_is_one_and_a_fallen_node_is_counted():
    row = {
        **BENCHMARK["benchmarks"][0],
        "estimated": True,
        "median_ms": None,
        "low_ms": 0.2,
        "provider": "",
        "device": "stm32h743",
    }
    row |= dict.fromkeys(("p95_ms", "p99_ms", "load_ms", "first_run_ms", "peak_rss_bytes", "model_rss_bytes"))
    (cells,) = benchmark_table([row], []).rows
    assert cells[2] == "–\nestimated: not below 200.0 µs" and cells[1].startswith("stm32h743\n")
    fallen = benchmark_table([{**BENCHMARK["benchmarks"][0], "provider": "cuda", "nodes_fallen_back": 3}], []).rows[0]
    assert fallen[1] == "cpu, cuda\n1 thread, batch 1\n3 nodes fell back to the CPU"


def test_flips_are_told_apart(shown):
    assert shown.flips_summary == (
        "5 of 600 decisions differ between the original and the result. Right before and wrong now: 3. Wrong before "
        "and right now: 1. Wrong both times: 1. 1 of them are shown."
    )
    none = {**FLIPS, "flipped": 0, "mended": 0, "spoilt": 0, "shown": []}
    assert page(flips=none, ledger={}, benchmark=None).flips_summary.startswith("None of 600 decisions differs")


def test_conditions_name_the_machine_its_instructions_and_the_versions(shown):
    said = shown.conditions
    for part in (
        "AMD EPYC",
        "x86-vnni",
        "2 cores",
        "25.0 GB",
        "core 1",
        "4 turns left out",
        "onnxruntime 1.32.0",
        "2026",
    ):
        assert part in said
    assert "avx2" not in said


def test_two_passes_of_one_name_are_told_apart_in_the_plots():
    svg = (
        page(ledger={**LEDGER, "steps": [FIRST, {**LAST, "pass": "prune"}, {**LAST, "step": 3, "pass": "prune"}]})
        .plots[1]
        .svg
    )
    assert ">1 prune<" in svg and ">3 prune<" in svg and ">original<" in svg


def write(folder, **documents):
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def test_the_page_is_one_file_without_scripts_or_addresses_and_what_users_named_is_escaped(tmp_path):
    write(tmp_path, ledger=LEDGER, benchmark=BENCHMARK, flips=FLIPS)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert not re.search(r"<script|<b>huge|<link|<iframe|\son\w+=|url\((?!#)", html)
    assert set(re.findall(r"https?://[^\"' <]*", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert unescape(html).count(HOSTILE) >= 4  # the title twice, the layer, the label
    assert [path.name for path in tmp_path.glob("*.html")] == ["report.html"]


@pytest.mark.parametrize("given", ["ledger", "benchmark"])
def test_either_document_makes_a_page(tmp_path, given):
    write(tmp_path, **{given: {"ledger": LEDGER, "benchmark": BENCHMARK}[given]})
    assert "400.0 µs" in write_report(tmp_path, tmp_path / "other.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ({}, r"holds neither ledger\.json nor benchmark\.json. `compress run` makes"),
        ({"ledger": "{"}, r"ledger\.json cannot be read as JSON"),
        ({"ledger": "[1]"}, r"ledger\.json holds no document of compress, but a list"),
        ({"ledger": {"steps": [{"step": 0}]}}, "not as `compress run` writes them: 'pass' is missing. Run it again"),
        ({"ledger": {"steps": 3}}, "not as `compress run` writes them"),
        ({"ledger": {"steps": [FIRST, {**LAST, "size_bytes": 0}]}}, "not as `compress run` writes them"),
        ({"benchmark": {"benchmarks": ["x"]}}, "not as `compress run` writes them"),
        ({"ledger": LEDGER, "flips": {"shown": [{"index": 1}]}}, "not as `compress run` writes them"),
    ],
    ids=["none", "cut", "list", "line", "number", "empty file", "row", "flip"],
)
def test_missing_or_broken_documents_give_one_sentence_and_no_page(tmp_path, documents, sentence):
    write(tmp_path, **documents)
    with pytest.raises(DataError, match=sentence):
        write_report(tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_a_page_cannot_lie_in_a_folder_that_is_not_there(tmp_path):
    write(tmp_path, ledger=LEDGER)
    with pytest.raises(CompressError, match="nowhere"):
        write_report(tmp_path, tmp_path / "nowhere" / "page.html")
