"""A text is scored once; what it has is read off at any threshold."""

import json
import threading

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.demo.finder import SpanFinder, to_json
from spacy_nuner.errors import NunerError
from spacy_nuner.tokenizers import InParts

from ..pipeline.conftest import make_zero_shot, spans_of
from ..util import make_tiny_bert
from .conftest import TEXT

pytestmark = pytest.mark.slow


def load(source, *, pipe_name=None, lang="en"):
    return SpanFinder.load(str(source), pipe_name=pipe_name, lang=lang)


def find(finder, text, threshold=0.5, concepts=None):
    scored = finder.score(text, concepts)
    spans, scores = scored.find(np.full(len(scored.labels), threshold))
    return [(span.text, span.label_) for span in spans], scores


@pytest.fixture(scope="module")
def named(backbone):
    return load(backbone)


def test_a_backbone_finds_what_is_named_as_the_component_does(named, backbone):
    concepts = {"area": None, "price": "what it costs"}
    found, scores = find(named, TEXT, 0.1, concepts)
    nlp = make_zero_shot(backbone, labels=concepts, threshold=0.1)
    doc = nlp(TEXT)
    assert found == spans_of(doc) and found
    expected = doc.spans["concepts"].attrs["scores"]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert named.takes_concepts and named.labels == () and named.threshold is None


def test_a_long_stretch_of_a_saved_pipeline_costs_no_square(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "A", "pattern": "a"}])
    nlp.to_disk(tmp_path / "pipe")
    assert isinstance(load(tmp_path / "pipe").nlp.tokenizer, InParts)


def test_a_threshold_takes_no_encoder(named, monkeypatch):
    scored = named.score(TEXT, {"area": None, "price": None})
    monkeypatch.setattr(type(named.pipe), "predict", None)
    counts = [len(scored.find(np.full(2, t))[0]) for t in (0.0, 0.5, 1.0)]
    assert counts[0] >= counts[1] > counts[2] == 0


NAMES = ["area", "price", "<b>", "a b", "🏠", "שלום"]
DESCRIPTIONS = [None, "where it is", "what it costs"]


@pytest.fixture(scope="module")
def expected(backbone):
    """(name, description) -> logits, of components that never had other labels."""
    found = {}
    for description in DESCRIPTIONS:
        labels = [{"label": name, "description": description} for name in NAMES]
        nlp = make_zero_shot(backbone, labels=labels)
        (logits,) = nlp.get_pipe("nuner_concepts").predict([nlp.make_doc(TEXT)])
        for column, name in enumerate(NAMES):
            found[name, description] = logits[:, column]
    return found


TABLES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(DESCRIPTIONS))


@given(st.lists(TABLES, min_size=1, max_size=4))
def test_what_was_named_before_leaves_no_trace(named, expected, tables):
    for table in tables:
        scored = named.score(TEXT, table)
    assert sorted(scored.labels) == sorted(table)
    for label, logits in zip(scored.labels, scored.logits.T, strict=True):
        np.testing.assert_allclose(
            logits, expected[label, table[label]], rtol=1e-4, atol=1e-4
        )


def test_a_concept_without_a_name(named):
    with pytest.raises(NunerError, match="N501"):
        named.score(TEXT, {"area": None, " ": None})
    # And it goes on.
    assert find(named, TEXT, 0.5, {"area": None})[0] == [("Leyton", "area")]


@pytest.mark.parametrize(
    "text", ["", " \n ", "🏠" * 50, "a\u202eb \u2028 c", "שלום עולם"]
)
def test_odd_texts(named, pipelines, text):
    for finder in (named, load(pipelines / "ner"), load(pipelines / "spacy")):
        concepts = {"<script>alert(1)</script>": "<b>", "שלום": None, "🏠": None}
        scored = finder.score(text, concepts)
        spans, _ = scored.find(np.zeros(len(scored.labels)))
        assert scored.doc.text == text
        assert all(span.text.strip() for span in spans)


def test_threads_do_not_see_the_concepts_of_each_other(named):
    wrong = []

    def ask(label):
        for _ in range(10):
            scored = named.score(TEXT, {label: None})
            if scored.labels != (label,) or scored.logits.shape[1] != 1:
                wrong.append(scored)

    threads = [threading.Thread(target=ask, args=(x,)) for x in ("area", "price")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pipeline_with_concepts(pipelines):
    finder = load(pipelines / "concepts")
    assert finder.labels == ("area", "price") and not finder.takes_concepts
    assert finder.threshold == 0.25
    np.testing.assert_allclose(finder.thresholds, [0.25, 0.25])
    # What else is named is not looked for.
    found, scores = find(finder, TEXT, 0.25, {"other": None})
    doc = spacy.load(pipelines / "concepts")(TEXT)
    assert found == spans_of(doc) and found
    expected = doc.spans["concepts"].attrs["scores"]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert load(pipelines / "each").threshold == {"area": 0.9999, "price": 0.125}


def test_what_is_known_of_labels(backbone, pipelines, named, tmp_path):
    labels = {"AREA": {"name": "area", "description": "a part of a city"}, "B": "b"}
    make_zero_shot(backbone, labels=labels).to_disk(tmp_path / "described")
    assert load(tmp_path / "described").label_data == labels
    assert load(pipelines / "rules").label_data == {"A<b>": None}
    # Those that somebody else has named on the page are not its own.
    named.score(TEXT, {"area": "of somebody else"})
    assert named.label_data == {}


def test_a_pipeline_with_one_label_a_token(pipelines):
    finder = load(pipelines / "ner", pipe_name="nuner_ner")
    text = "Hackney , 900 a month"
    found, scores = find(finder, text, 0.0)
    assert found == [("Hackney", "AREA"), ("900 a month", "PRICE")]
    assert finder.threshold is None and finder.thresholds is None
    # The others stay what they were.
    rest, _ = find(finder, text, float(scores.min()))
    assert len(rest) == 1 and set(rest) < set(found)


@pytest.mark.parametrize("kind, label", [("spacy", "AREA"), ("rules", "A<b>")])
def test_entities_of_any_pipeline(pipelines, kind, label):
    finder = load(pipelines / kind)
    found, scores = find(finder, "Hackney is near Leyton", 1.0)
    assert ("Leyton", label) in found and scores is None
    assert finder.labels == (label,) and finder.thresholds is None


def test_what_finds_nothing_is_told(pipelines, tiny, tmp_path):
    with pytest.raises(NunerError, match="N691.*sentencizer"):
        load(pipelines / "bare")
    with pytest.raises(NunerError, match="N691"):
        load(pipelines / "ner", pipe_name="ner")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "meta.json").write_text("{}")
    with pytest.raises(NunerError, match="N650"):
        load(tmp_path / "broken")
    with pytest.raises(NunerError, match="N001"):
        load(tmp_path / "none")
    with pytest.raises(NunerError, match="N053"):
        load("half\ud83d")


def test_an_encoder_that_can_not_read_names(tmp_path):
    folder = make_tiny_bert(tmp_path / "bert", [TEXT])
    with pytest.raises(NunerError, match="N690.*has no concept encoder"):
        load(folder)


def test_no_such_language(backbone):
    with pytest.raises(NunerError, match="N010"):
        load(backbone, lang="qq")


def test_json(named):
    concepts = {"area": None, "price": "what it costs"}
    scored = named.score(TEXT, concepts)
    spans, scores = scored.find(np.full(2, 0.5))
    content = to_json(
        TEXT,
        spans,
        scores,
        source="x",
        thresholds={"area": 0.5},
        labels=concepts,
    )
    assert content == json.loads(json.dumps(content))
    for row, span, score in zip(content["spans"], spans, scores, strict=True):
        assert TEXT[row["start"] : row["end"]] == row["text"] == span.text
        assert row["label"] == span.label_
        assert row["score"] == pytest.approx(float(score), abs=1e-4)
    assert content["labels"][1] == {"label": "price", "description": "what it costs"}
    named = {"AREA": {"name": "area", "description": None}}
    bare = to_json(TEXT, spans, None, source="x", thresholds=None, labels=named)
    assert bare["labels"] == [{"label": "AREA", "name": "area", "description": None}]
    assert "score" not in bare["spans"][0] and bare["thresholds"] is None
