"""`spacy nuner show` draws what a pipeline finds."""

import html
import re

import spacy
import srsly
from spacy.tokens import Span
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.show import show
from spacy_nuner.pipeline.display import COLOURS, render_page, render_spans

from .conftest import make_examples, make_ner, make_zero_shot, spans_of

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
    printed = run(backbone, TEXT, tmp_path / "out", "--labels", "area, price")
    assert "Leyton area" in printed and "900 price" in printed
    page = (tmp_path / "out" / "spans.html").read_text()
    pipe = make_zero_shot(backbone, labels=["area", "price"])
    scores = pipe(TEXT).spans["concepts"].attrs["scores"]
    expected = [("area", f"{scores[0]:.2f}"), ("price", f"{scores[1]:.2f}")]
    assert labels_of(page) == expected


def test_a_pipeline_and_more_concepts_with_descriptions(backbone, tmp_path):
    make_zero_shot(backbone, labels=["area"]).to_disk(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(f"{TEXT}\n\nHackney\n", encoding="utf8")
    srsly.write_json(tmp_path / "more.json", {"price": None})
    out = tmp_path / "out"
    run(
        tmp_path / "model",
        tmp_path / "texts.txt",
        out,
        "--labels",
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


def test_lines_directions_and_colours_of_a_text():
    nlp = spacy.blank("en")
    doc = nlp("2 שלום\nPorto")
    spans = [Span(doc, len(doc) - 1, len(doc), "city")]
    drawn = render_spans(doc, spans, labels=["a", "city"])
    assert "direction: rtl" in drawn and "direction: ltr" not in drawn
    # A line of the text is one on the page, see STYLE.
    assert "\n" in drawn.partition("שלום")[2].partition("Porto")[0]
    # Without scores there is none under the mouse.
    assert "<a " not in drawn and labels_of(drawn) == []
    assert COLOURS[1] in drawn and COLOURS[0] not in drawn
    # The direction is that of each text.
    doc.spans["sc"] = spans
    doc.spans["sc"].attrs["scores"] = [0.5]
    other = nlp("Porto שלום")
    other.spans["sc"] = []
    other.spans["sc"].attrs["scores"] = []
    page = render_page([doc, other], spans_key="sc", title="x")
    found = re.findall(r"direction: (\w+)", page)
    assert found == ["rtl", "ltr"]


def test_a_pipeline_with_ner_and_a_call_from_python(backbone, tmp_path):
    nlp = make_ner(backbone)
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    docs, pipe = show(
        tmp_path / "model", [TEXT], tmp_path / "out", labels={}, pipe_name="nuner_ner"
    )
    assert pipe.spans_key == "nuner_ner"
    assert spans_of(docs[0], "nuner_ner") == [("Leyton", "AREA"), ("900", "PRICE")]
    page = (tmp_path / "out" / "spans.html").read_text(encoding="utf8")
    assert [label for label, _ in labels_of(page)] == ["AREA", "PRICE"]
    printed = run(tmp_path / "model", TEXT, tmp_path / "out", "--threshold", "0.9")
    assert "nuner_ner has no threshold" in printed


def test_what_can_not_be_shown_is_told(backbone, tmp_path):
    out = tmp_path / "out"
    assert "[N507]" in run(backbone, TEXT, out, code=1)
    (tmp_path / "number.json").write_text("3")
    for bad in (tmp_path / "none.json", tmp_path / "number.json"):
        assert "[N511]" in run(backbone, TEXT, out, "--labels", bad, code=1)
    assert "[N515]" in run(backbone, "none.txt", out, "--labels", "area", code=1)
    (tmp_path / "latin.txt").write_bytes("Łódź".encode("utf-16"))
    latin = tmp_path / "latin.txt"
    assert "[N515]" in run(backbone, latin, out, "--labels", "area", code=1)
    spacy.blank("en").to_disk(tmp_path / "bare")
    assert "[N513]" in run(tmp_path / "bare", TEXT, out, code=1)
    assert not out.exists()
