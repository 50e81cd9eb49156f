"""`stats` as people call it, and its page in a browser."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.stats import stats
from spacy_nuner.corpus.convert import convert
from spacy_nuner.encoders.concept_encoder import ConceptEncoder

from ..browser import browse, needs_chromium

pytestmark = pytest.mark.slow


PICTURES = {"ranks", "shares", "cloud", "map", "lengths", "matches"}

# Clicks through the page as a reader would, and writes down what stands there then.
CLICKS = """
<script>
{
const column = n => [...document.querySelectorAll("#concepts-table tbody tr")]
  .filter(row => !row.hidden).map(row => row.cells[n].textContent);
const head = n => document.querySelector("#concepts-table thead tr").cells[n];
const seen = {};
head(1).querySelector("button").click();
seen.names = column(1);
head(1).querySelector("button").click();
seen.backwards = column(1);
head(2).querySelector("button").click();
seen.counts = column(2).map(text => Number(text.replaceAll(",", "")));
seen.sorted = head(2).getAttribute("aria-sort");
const find = document.getElementById("find");
find.value = "Musical";
find.dispatchEvent(new Event("input"));
seen.found = column(1);
seen.svgs = [...document.querySelectorAll("figure svg")].map(svg => {
  const box = svg.getBoundingClientRect();
  return [box.width, box.height, svg.querySelectorAll("path").length];
});
const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
seen.doubled = ids.length - new Set(ids).size;
seen.ink = getComputedStyle(document.querySelector("figure svg text, figure svg g"))
  .color;
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify(seen);
document.body.append(out);
}
</script>
"""


def run(*args):
    return CliRunner().invoke(app, ["stats", *map(str, args)])


@pytest.fixture(scope="module")
def corpus(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats") / "arts & media"
    convert([assets / "annotations" / "arts-media.jsonl"], folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def output(corpus):
    folder = corpus.parent / "stats"
    result = run(corpus, folder)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    stats = json.loads((folder / "stats.json").read_text(encoding="utf8"))
    assert (
        f"annotations a sentence {stats['annotations_per_sentence']:.2f} 4.38" in lines
    )
    return folder


def test_files(output):
    names = {f"{name}.png" for name in PICTURES}
    names |= {"stats.html", "stats.json", ".spacy_nuner.json"}
    assert {path.name for path in output.iterdir()} == names
    for name in PICTURES:
        with Image.open(output / f"{name}.png") as picture:
            assert min(picture.size) > 200
            # Something is drawn, on white.
            colours = picture.convert("RGB").getcolors(1 << 24)
            assert len(colours) > 20
            assert max(colours)[1] == (255, 255, 255)


def test_numbers(output, corpus):
    stats = json.loads((output / "stats.json").read_text(encoding="utf8"))
    report = json.loads((corpus / "report.json").read_text(encoding="utf8"))
    assert stats["sentences"] == report["records"]["written"]
    assert stats["conversion"]["records"] == report["records"]
    top = list(stats["most_frequent"].items())[:20]
    assert dict(top) == report["concepts"]["most_frequent"] or sorted(
        count for _, count in top
    ) == sorted(report["concepts"]["most_frequent"].values())
    histogram = stats["annotations_histogram"]
    total = sum(int(value) * count for value, count in histogram.items())
    assert total == stats["annotations"]


def test_the_page_needs_nothing_else(output):
    page = (output / "stats.html").read_text(encoding="utf8")
    assert "<title>arts &amp; media</title>" in page
    assert page.count("<svg") == len(PICTURES)
    links = re.findall(r'(?:src|href|action)="?([^"\s>]+)', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.findall(r"@import|url\((?!#)", page)
    # Nothing in it is black whatever the background.
    assert "#1b1e23" not in page.partition("</style>")[2]


@needs_chromium
def test_the_page_in_a_browser(output, tmp_path):
    page = (output / "stats.html").read_text(encoding="utf8")
    path = tmp_path / "stats.html"
    path.write_text(page.replace("</body>", f"{CLICKS}</body>"), encoding="utf8")
    shown, said = browse(path)
    assert said == []
    assert '<html lang="en" data-ready="yes">' in shown
    found = re.search(r'<pre id="seen">(.*?)</pre>', shown)[1]
    seen = json.loads(found.replace("&amp;", "&").replace("&quot;", '"'))
    assert len(seen["names"]) > 500
    folded = [name.replace("-", "").replace("'", "") for name in seen["names"]]
    assert folded[0] < folded[len(folded) // 2] < folded[-1]
    assert seen["backwards"] == seen["names"][::-1]
    assert seen["counts"] == sorted(seen["counts"], reverse=True)
    assert seen["sorted"] == "descending"
    assert 0 < len(seen["found"]) < len(seen["names"])
    assert len(seen["svgs"]) == len(PICTURES)
    for width, height, paths in seen["svgs"]:
        assert width > 800 and height > 150 and paths > 10
    assert seen["doubled"] == 0
    assert seen["wide"] <= 0


@needs_chromium
def test_an_error_in_a_page_would_be_seen(tmp_path):
    path = tmp_path / "broken.html"
    path.write_text("<script>nothing()</script><img src=http://example.com/x.png>")
    _, said = browse(path)
    assert any("nothing is not defined" in line for line in said)


@pytest.mark.weekly
def test_a_map_by_the_concept_encoder(corpus, tmp_path, monkeypatch):
    class Encoder:
        def encode(self, names):
            rng = np.random.default_rng(len(names))
            return rng.normal(size=(len(names), 8)).astype("float32")

    asked = []
    monkeypatch.setattr(
        ConceptEncoder,
        "from_folder",
        classmethod(lambda cls, path: asked.append(path) or Encoder()),
    )
    (tmp_path / "backbone").mkdir()
    content = stats(corpus, tmp_path / "out", backbone=tmp_path / "backbone")
    assert asked == [tmp_path / "backbone"]
    assert "concept-encoder vectors" in content["map"]
    written = json.loads((tmp_path / "out" / "stats.json").read_text("utf8"))
    assert written == json.loads(json.dumps(content))
    page = (tmp_path / "out" / "stats.html").read_text("utf8")
    assert "concept-encoder vectors" in page


def test_all_words_of_the_cloud_are_drawn(output):
    page = (output / "stats.html").read_text("utf8")
    (title,) = re.findall(r"<h2>The (\d+) most frequent concepts, (\d+) that", page)
    cloud = page.partition("<figure id=cloud>")[2].partition("</figure>")[0]
    texts = re.findall(r'id="cloud-text_\d+"', cloud)
    assert len(texts) == sum(map(int, title)) == 200


@pytest.mark.parametrize("name", ["missing", "stats.txt"])
def test_errors(tmp_path, corpus, name):
    if name == "missing":
        result = run(tmp_path / "missing", tmp_path / "out")
        number = "N105"
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).touch()
        result = run(corpus, tmp_path / "out")
        number = "N004"
    assert result.exit_code == 1
    assert f"[{number}]" in result.output


def test_a_backbone_without_a_concept_encoder(corpus, tmp_path):
    (tmp_path / "plain").mkdir()
    result = run(corpus, tmp_path / "out", "--backbone", tmp_path / "plain")
    assert result.exit_code == 1
    assert "[N304]" in result.output
    assert not (tmp_path / "out").exists()
    result = run(corpus, tmp_path / "out", "--backbone", "package:nobody/model")
    assert result.exit_code == 1
    assert "[N001]" in result.output
