"""The page without a browser: what it asks, and what it makes of the answers."""

import json
import sys

import pytest

testing = pytest.importorskip("streamlit.testing.v1")

from spacy_nuner.demo.server import PAGE  # noqa: E402
from spacy_nuner.pipeline.label_pipe import LabelPipe  # noqa: E402

from ..pipeline.conftest import make_zero_shot  # noqa: E402
from .conftest import TEXT  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def open_page(monkeypatch):
    import streamlit as st

    st.cache_resource.clear()

    def open_it(source, pipe_name=""):
        monkeypatch.setattr(sys, "argv", [str(PAGE), str(source), pipe_name, "en"])
        page = testing.AppTest.from_file(PAGE, default_timeout=60).run()
        assert not page.exception
        return page

    return open_it


def read(page):
    """The rows of the table of spans."""
    assert not page.exception
    return page.dataframe[-1].value.to_dict("records")


def drawn(page):
    return next(one.proto.body for one in page.get("html"))


def test_a_threshold_runs_no_encoder(open_page, pipelines, monkeypatch):
    calls = []
    predict = LabelPipe.predict
    monkeypatch.setattr(
        LabelPipe, "predict", lambda self, docs: calls.append(1) or predict(self, docs)
    )
    page = open_page(pipelines / "concepts")
    page.text_area[0].input(TEXT).run()
    (slider,) = page.slider
    assert slider.value == 0.25
    rows = read(page)
    assert [row["span"] for row in rows] == ["Leyton", "900"]
    assert 'class="spans"' in drawn(page) and "area" in drawn(page)
    assert calls == [1]
    slider.set_value(1.0).run()
    assert read(page) == [] and "area" not in drawn(page)
    page.slider[0].set_value(0.25).run()
    assert read(page) == rows and calls == [1]
    page.text_area[0].input("Hackney").run()
    assert calls == [1, 1]


def test_labels_are_chosen(open_page, pipelines):
    page = open_page(pipelines / "concepts")
    page.text_area[0].input(TEXT).run()
    assert page.multiselect[0].options == ["area", "price"]
    page.multiselect[0].select("price").run()
    assert [row["label"] for row in read(page)] == ["price"]
    assert "area" not in drawn(page)


def test_the_download_says_what_is_known_of_labels(
    open_page, backbone, tmp_path, monkeypatch
):
    import streamlit as st

    labels = {"area": {"name": "region", "description": "in a city"}, "price": "a sum"}
    make_zero_shot(backbone, labels=labels, threshold=0.25).to_disk(tmp_path / "known")
    made = []
    monkeypatch.setattr(st, "download_button", lambda _, data, **__: made.append(data))
    page = open_page(tmp_path / "known")
    page.text_area[0].input(TEXT).run()
    area = {"label": "area", "name": "region", "description": "in a city"}
    price = {"label": "price", "description": "a sum"}
    assert json.loads(made[-1])["labels"] == [area, price]
    page.multiselect[0].select("price").run()
    assert json.loads(made[-1])["labels"] == [price]


def test_thresholds_that_were_calibrated(open_page, pipelines):
    page = open_page(pipelines / "each")
    page.text_area[0].input(TEXT).run()
    assert not page.slider
    # That of "area" is too high for it.
    assert [row["label"] for row in read(page)] == ["price"]
    page.toggle[0].set_value(False).run()
    assert page.slider[0].value == 0.5
    assert [row["label"] for row in read(page)] == ["area", "price"]


def test_one_label_a_token(open_page, pipelines):
    page = open_page(pipelines / "ner")
    page.text_area[0].input("Hackney , 900 a month").run()
    assert [row["label"] for row in read(page)] == ["AREA", "PRICE"]
    page.slider[0].set_value(1.0).run()
    assert read(page) == []


@pytest.mark.parametrize("kind", ["spacy", "rules"])
def test_entities_alone(open_page, pipelines, kind):
    page = open_page(pipelines / kind)
    page.text_area[0].input("Hackney is near Leyton").run()
    rows = read(page)
    assert "Leyton" in [row["span"] for row in rows] and "score" not in rows[0]
    assert not page.slider
    assert "<b>" not in drawn(page)
    page.text_area[0].input("<script>alert(1)</script> in Leyton").run()
    assert "alert(1)" in drawn(page) and "<script" not in drawn(page)


def test_a_backbone_begins_with_examples(open_page, backbone):
    page = open_page(backbone)
    assert page.text_area[0].value and not page.multiselect
    assert "person" in page.dataframe[0].value["concept"].tolist()
    page.text_area[0].input("  ").run()
    assert "Type a text" in page.info[0].value
    page.text_area[0].input("x" * 100_001).run()
    assert "100,001 characters" in page.info[0].value


def test_a_long_text_is_drawn_in_part(open_page, pipelines):
    page = open_page(pipelines / "concepts")
    page.text_area[0].input("Leyton costs 900 . " * 1000).run()
    assert "the first 2,000 of 4,000 tokens" in page.caption[0].value
    assert len(read(page)) == 2000
    assert drawn(page).count('class="label"') == 1000


def test_what_can_not_be_loaded_is_told_as_text(open_page, tmp_path):
    page = open_page(tmp_path / "*none* ![x](http://example.com/x.png)")
    (told,) = page.error
    assert "N001" in told.value
    assert "*none*" not in told.value and "![x]" not in told.value
