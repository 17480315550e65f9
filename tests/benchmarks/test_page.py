"""The page is opened in headless Chromium, in a frame as wide as a phone: what overflows, and what it asked for."""

import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest

from benchmarks import plots
from benchmarks.flips import Flip, picture_of
from benchmarks.page import Figure, Page, Plot, Table, render

HOSTILE = '<script>document.title = "hacked"</script><img src="http://127.0.0.1:9/x.png" onerror="alert(1)">'
LONG = "encoder_layers_with_a_name_that_never_ends_" * 4
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-extensions --disable-default-apps --hide-scrollbars --virtual-time-budget=5000"
).split()
FRAME = """<!doctype html><iframe id="page" style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe>
<pre id="found"></pre><script>
const frame = document.getElementById("page");
frame.onload = () => {{
  const inside = frame.contentDocument, root = inside.documentElement;
  const seen = frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name);
  const shown = element => frame.contentWindow.getComputedStyle(element);
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.clientWidth, content: root.scrollWidth, title: inside.title, scripts: inside.scripts.length,
    asked: seen.filter(name => !name.startsWith("data:")), paper: shown(inside.body).backgroundColor,
    sections: inside.querySelectorAll("section").length, plots: inside.querySelectorAll("figure svg").length,
    widest: Math.max(...[...inside.querySelectorAll("figure, .flip, .figure, .wide, p, li, h1, summary")].map(
      element => element.getBoundingClientRect().right)),
    pictures: [...inside.images].map(image => image.naturalWidth),
    scrolls: [...inside.querySelectorAll(".wide")].every(e => shown(e).overflowX === "auto"),
  }});
}};
</script>"""


def page():
    """One of everything, with many columns, many layers, and names that fit nowhere."""
    wide = Table("wide", [f"column {i}" for i in range(15)], [[LONG, *["1,234,567 KB\n0.98 to 0.99"] * 14]], note=LONG)
    notes = Table(f"notes {LONG}", ("layer", "why"), [(LONG, LONG), (HOSTILE, HOSTILE)], (0, 1))
    layers = [(f"transformer.blocks.{i}.attention.{LONG}", float(i + 1)) for i in range(40)]
    return Page(
        title=f"spotter {HOSTILE}",
        command=f"compress run {LONG}.toml",
        conditions=LONG,
        versus="3 quantize, against 0 original:",
        figures=[Figure("1,234×", f"smaller file\n{LONG}", "good"), *[Figure("10×", "faster")] * 5],
        findings=[LONG, HOSTILE],
        tables=[wide],
        plots=[
            Plot(plots.layers(layers, layers, "bytes"), LONG),
            Plot(plots.latency([(f"{HOSTILE}{i}", 1.0, 0.9, 1.1) for i in range(8)]), "latency"),
        ],
        flips_summary="3 of 4 differ.",
        flips=[
            Flip(index=1, label=HOSTILE, before=LONG, after="two", picture=picture_of([[0, 1], [1, 0]]), text=""),
            Flip(index=2, label="a", before="a", after="↵", picture="", text=f"{LONG}\nto be"),
        ],
        details=[notes, wide],
        method=[LONG],
    )


@pytest.fixture(scope="module")
def html():
    return render(page())


def opened(html, folder, width, *, dark=False):
    """What Chromium found in the page, in a frame of that width."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; it opens the page as a reader does")
    wrapper = folder / "frame.html"
    wrapper.write_text(FRAME.format(width=width, page=escape(html, quote=True)), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [CHROMIUM, *QUIET, scheme, f"--user-data-dir={folder / 'profile'}", "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, f"Chromium gave no answer: {done.stderr[-2000:]}"
    return json.loads(unescape(found.group(1)))


def test_on_a_phone_nothing_is_cut_off_and_tables_scroll_by_themselves(html, tmp_path):
    found = opened(html, tmp_path, 390)
    assert found["width"] == found["content"] == 390 and found["widest"] <= 390
    assert found["scrolls"] and found["plots"] == 2 and found["sections"] == 5


def test_it_asks_for_nothing_and_runs_nothing_and_shows_its_pictures(html, tmp_path):
    found = opened(html, tmp_path, 1200, dark=True)
    assert found["asked"] == [] and found["scripts"] == 0 and found["pictures"] == [2]
    assert "<script>" in found["title"] and found["title"] != "hacked"
    assert found["paper"] == "rgb(20, 24, 28)"  # the dark one


def test_the_frame_would_have_told(html, tmp_path):
    loud = html.replace("<h1>", '<img src="http://127.0.0.1:9/x.png"><div style="width:700px">wide</div><h1>', 1)
    loud = re.sub(r"<meta http-equiv[^>]*>", "", loud)
    found = opened(loud, tmp_path, 390)
    assert found["content"] > 390 and found["asked"] == ["http://127.0.0.1:9/x.png"]


def test_what_came_from_a_user_is_text(html):
    assert html.count(escape(HOSTILE, quote=True).replace("&quot;", "&#34;")) >= 5
    assert "<script" not in html and '<img src="http' not in html and "default-src 'none'" in html


def test_an_empty_page_is_a_page():
    html = render(Page(title="nothing", command="", conditions=""))
    assert "<h1>nothing</h1>" in html and html.rstrip().endswith("</html>")
    assert "<table" not in html and "Pictures" not in html and "flipped" not in html
