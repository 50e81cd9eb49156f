"""`spacy nuner show` draws what a pipeline finds."""

import html
import re
import shutil

import pytest
import spacy
import srsly
from spacy.tokens import Span
from typer.testing import CliRunner

from spacy_nuner.cli._browser import BROWSERS
from spacy_nuner.cli.app import app
from spacy_nuner.pipeline.display import render_page

from .conftest import make_zero_shot

TEXT = "Leyton costs 900"


def run(*args, code=0):
    result = CliRunner().invoke(app, ["show", *map(str, args)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def labels_of(page):
    """Labels and scores, in the order of the page."""
    found = re.findall(r'class="label"[^>]*>([^<]*)<a [^>]*>([\d.]+)</a>', page)
    return [(label.strip(), score) for label, score in found]


def test_a_backbone_and_names_of_concepts(backbone, tmp_path):
    printed = run(backbone, TEXT, tmp_path / "out", "--concepts", "area", "price")
    assert "Leyton area" in printed and "900 price" in printed
    page = (tmp_path / "out" / "spans.html").read_text()
    pipe = make_zero_shot(backbone, concepts=["area", "price"])
    scores = pipe(TEXT).spans["concepts"].attrs["scores"]
    expected = [("area", f"{scores[0]:.2f}"), ("price", f"{scores[1]:.2f}")]
    assert labels_of(page) == expected


def test_a_pipeline_and_more_concepts_with_descriptions(backbone, tmp_path):
    make_zero_shot(backbone, concepts=["area"]).to_disk(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(f"{TEXT}\n\nHackney\n", encoding="utf8")
    srsly.write_json(tmp_path / "more.json", {"price": None})
    out = tmp_path / "out"
    run(
        tmp_path / "model",
        tmp_path / "texts.txt",
        out,
        "--concepts",
        tmp_path / "more.json",
    )
    page = (out / "spans.html").read_text()
    assert [label for label, _ in labels_of(page)] == ["area", "price", "area"]
    # Over 1 there is nothing; the page of before is replaced.
    run(tmp_path / "model", TEXT, out, "--threshold", "1")
    assert labels_of((out / "spans.html").read_text()) == []


def test_overlapping_spans_lie_one_under_another_and_text_is_escaped():
    doc = spacy.blank("en")("the <b>Porto</b> Institute")
    spans = [Span(doc, 1, len(doc), "R&D"), Span(doc, 2, 4, "city")]
    doc.spans["sc"] = spans
    doc.spans["sc"].attrs["scores"] = [0.9, 0.25]
    page = render_page([doc], spans_key="sc", title="<x>")
    assert "<b>" not in page and "<x>" not in page
    assert labels_of(page) == [(html.escape("R&D"), "0.90"), ("city", "0.25")]
    tops = re.findall(r'bar first" style="background: (#\w+); top: (\d+)px"', page)
    (first, top), (second, lower) = tops
    assert first != second and int(lower) > int(top)


@pytest.mark.skipif(
    not any(map(shutil.which, BROWSERS)), reason="no Chromium or Chrome to draw with"
)
def test_a_picture_of_the_page(backbone, tmp_path):
    run(backbone, TEXT, tmp_path, "--concepts", "area", "--png")
    picture = (tmp_path / "spans.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = (int.from_bytes(picture[i : i + 4], "big") for i in (16, 20))
    assert width == 1816 and 100 < height < 600


def test_what_can_not_be_shown_is_told(backbone, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert "[N507]" in run(backbone, TEXT, out, code=1)
    for bad in (tmp_path / "none.json", tmp_path / "list.json"):
        srsly.write_json(tmp_path / "list.json", ["area"])
        assert "[N005]" in run(backbone, TEXT, out, "--concepts", bad, code=1)
    assert "[N005]" in run(backbone, "none.txt", out, "--concepts", "area", code=1)
    spacy.blank("en").to_disk(tmp_path / "bare")
    assert "[N005]" in run(tmp_path / "bare", TEXT, out, code=1)
    assert not out.exists()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    printed = run(backbone, TEXT, out, "--concepts", "area", "--png", code=1)
    assert "[N508]" in printed
    assert [path.name for path in out.iterdir()] == ["spans.html"]
