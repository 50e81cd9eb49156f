"""The page of the report: whole, offline, and as a browser shows it."""

import html
import json
import re
from dataclasses import replace

import pytest

from spacy_nuner.fewshot.published import MARK
from spacy_nuner.fewshot.report import write_report

from ..browser import browse, needs_chromium
from .test_overlap import CONCEPTS, encode
from .test_report import RECORDED, make_cell, record_heads, rows_below

TYPES = {"cooking": ("CITY", "dish"), "sailing": ("place", "boat")}
CLICKS = """
<script>
{
const seen = {};
const box = one => one.getBoundingClientRect();
seen.figures = [...document.querySelectorAll("figure svg")].map(svg =>
  [box(svg).width, box(svg).height, svg.querySelectorAll("path").length]);
seen.headings = [...document.querySelectorAll("h2")].map(one => one.textContent);
seen.links = [...document.querySelectorAll("nav a")].map(one =>
  document.querySelector(one.getAttribute("href")) !== null);
const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
seen.doubled = ids.length - new Set(ids).size;
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
const table = document.querySelector("table.sortable");
const head = [...table.tHead.rows[0].cells].find(one => one.textContent === "base");
head.querySelector("button").click();
seen.sorted = [...table.tBodies[0].rows].map(row =>
  Number(row.cells[head.cellIndex].dataset.n));
const grey = document.querySelector("section.grey");
seen.grey = [getComputedStyle(grey.querySelector("td")).color,
  getComputedStyle(document.body).color];
const folded = document.querySelector("details");
seen.before = box(folded).height;
folded.open = true;
seen.after = box(folded).height;
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify(seen);
document.body.append(out);
}
</script>
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    record_heads(folder / "metrics")
    for dataset, backbones in RECORDED.items():
        for backbone, curve in backbones.items():
            for k, values in curve.items():
                for draw, f in enumerate(values):
                    cell = make_cell(dataset, backbone, k, draw, f)
                    one, other = TYPES[dataset]
                    scores = {"token_f_per_label": {one: f / 2, other: f}}
                    scores["confusion"] = {one: {one: 8, other: draw + k, "O": 1}}
                    cell = replace(cell, scores={**cell.scores, **scores})
                    cell.to_disk(folder / "metrics" / "probe")
    write_report(folder / "metrics", folder / "out", concepts=CONCEPTS, encode=encode)
    return folder / "out"


def test_what_is_in_the_text(output):
    text = html.unescape((output / "report.md").read_text("utf8"))
    rows = rows_below(text, "### Data efficiency of nuner: macro token F1, last layer")
    # 25 and 50 percent of the base; 45 lies between them, 62.5 over them.
    assert rows[2] == ["average", "3.03 (3.0x)", "> 4 (> 1.0x)"]
    rows = rows_below(text, "### By type: token F1, k=4, last layer")
    assert rows[0] == [
        *("type", "data set", "in the corpus", "base", "nuner", "gain of nuner")
    ]
    assert rows[2] == [
        "dish",
        "cooking",
        "nearest: DNA (0.00)",
        "40.0",
        "55.0",
        "+15.0",
    ]
    assert rows[-1] == ["place", "sailing", "similar: town (0.98)", *rows[-1][3:]]
    rows = rows_below(text, "### cooking: labels that are confused most, k=4")
    assert rows[2] == ["CITY", "dish", "15", "15"]
    rows = rows_below(text, "### cooking: confusion table of nuner, k=4, last layer")
    assert rows[2] == ["CITY", "42", "57.1", "35.7", "7.1"]
    assert (
        "Of the 2 types of the test set, the pre-training corpus has 0 by exactly that "
        "name, 1 case-folded and 1 by a similar name"
    ) in text.partition("### cooking: macro token F1")[2]
    rows = rows_below(text, f"### macro token F1, {MARK}")
    assert rows[2][:1] + rows[2][3:] == [
        *(f"RoBERTa-base ({MARK})", "24.5", "44.7", "58.1", "65.4")
    ]
    assert "Draws of each k: 3." in text


def test_the_page_needs_nothing_else(output):
    page = (output / "report.html").read_text("utf8")
    assert "<title>What the backbones are worth</title>" in page
    assert page.count("<svg") == 3
    links = re.findall(r'(?:src|href|action)="?([^"\s>]+)', page)
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert not re.findall(r"@import|url\((?!#)", page)
    assert page.count("<tr>") > 60


def test_names_out_of_files_are_no_markup(tmp_path):
    name = "<script>alert(1)</script>"
    cell = make_cell("a", "base", 1, 0, 0.5)
    scores = {"token_f_per_label": {name: 0.5}, "confusion": {name: {name: 1}}}
    replace(cell, scores={**cell.scores, **scores}).to_disk(tmp_path / "in")
    path = tmp_path / "in" / "a" / "base" / "last" / "k1" / "draw0.json"
    path.write_text(
        path.read_text("utf8").replace('"dataset": "a"', f'"dataset": "{name}"')
    )
    write_report(tmp_path / "in", tmp_path / "out", concepts=CONCEPTS, encode=encode)
    for file in ("report.html", "report.md"):
        text = (tmp_path / "out" / file).read_text("utf8")
        assert "alert(1)" in text and "<script>alert" not in text


@needs_chromium
@pytest.mark.weekly
def test_the_page_in_a_browser(output, tmp_path):
    page = (output / "report.html").read_text("utf8")
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", f"{CLICKS}</body>"), "utf8")
    shown, said = browse(path)
    assert said == []
    assert '<html lang="en" data-ready="yes">' in shown
    found = re.search(r'<pre id="seen">(.*?)</pre>', shown)[1]
    seen = json.loads(found.replace("&amp;", "&").replace("&quot;", '"'))
    assert seen["headings"] == ["Trained heads", "Frozen probe"]
    assert seen["links"] and all(seen["links"])
    assert len(seen["figures"]) == 3
    for width, height, paths in seen["figures"]:
        assert width > 800 and height > 150 and paths > 10
    assert seen["doubled"] == 0
    assert seen["wide"] <= 0
    assert seen["sorted"] == sorted(seen["sorted"], reverse=True)
    assert seen["grey"][0] != seen["grey"][1]
    assert seen["after"] > 2 * seen["before"]
