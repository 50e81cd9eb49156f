"""Texts of several lines: each is seen by itself, and white space says nothing."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from spacy_nuner.demo.finder import SpanFinder
from spacy_nuner.labelling.uncertainty import Judge
from spacy_nuner.pipeline.calibration import get_labelled_logits
from spacy_nuner.pipeline.decoding import get_line_starts
from spacy_nuner.pipeline.targets import has_line_inside

from .conftest import ents_of, make_examples, make_ner, make_nlp, train

TEXTS = [
    "two beds\nHackney",
    "two beds\n\n  Hackney",
    "two beds\tHackney",
    "two beds \n Hackney",
]
FOUND = [("two beds", "AREA"), ("Hackney", "AREA")]
PROSE = (
    "Two-bed flat with a garden of its own and a cellar, five minutes from\n"
    "the station, in a quiet street where neighbours know each other's cat,\n"
    "a short walk away from shops, schools, two parks and the market hall."
)


@pytest.fixture(scope="module")
def eager(tiny):
    """Takes every token for an area, and all of a text for one."""
    nlp = make_ner(tiny)
    nlp.initialize(lambda: make_examples(nlp))
    make_eager(nlp)
    return nlp


def make_eager(nlp):
    model = nlp.get_pipe("nuner_ner").model
    output = model.get_ref("output_layer").layers[0]
    output.set_param("W", np.zeros_like(output.get_param("W")))
    output.set_param("b", np.asarray([5, -5], dtype="f"))


def get_starts(text):
    doc = spacy.blank("en").make_doc(text)
    return [doc[i].text for i in np.flatnonzero(get_line_starts([doc]))]


def test_where_lines_begin():
    assert get_starts("a b\nc\n\n  d\te  f \u2028 g") == ["c", "d", "e", "g"]
    assert get_starts("\n a\n") == ["a"]
    assert get_starts("a  b") == get_starts("") == []
    assert get_starts(PROSE) == []
    assert get_starts(PROSE.replace("\n", "\n\n")) == ["the", "a"]


def test_lines_of_a_batch_are_those_of_its_docs():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in ("a\nb", "", "c", "\td\n", "e\n")]
    starts = get_line_starts(docs)
    assert starts.tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 0]


@pytest.fixture(scope="module")
def saved(eager, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines") / "model"
    eager.to_disk(folder)
    return folder


@pytest.mark.parametrize("text", TEXTS)
def test_a_span_ends_with_its_line(eager, saved, text):
    assert ents_of(eager("two beds Hackney")) == [("two beds Hackney", "AREA")]
    assert ents_of(eager(text)) == FOUND
    scored = SpanFinder.load(str(saved), pipe_name=None, lang="en").score(text)
    spans, _ = scored.find(np.zeros(2))
    assert [span.text for span in spans] == ["two beds", "Hackney"]
    (found,) = Judge(spacy.load(saved)).judge_all([text])
    assert [text[mark.start : mark.end] for mark in found.marks] == [
        "two beds",
        "Hackney",
    ]
    assert found.ends[0] == len("two beds")


def test_calibration_finds_what_the_component_does(eager):
    reference = eager.make_doc(TEXTS[0])
    spans = [Span(reference, 0, 2, "AREA"), Span(reference, 3, 4, "AREA")]
    reference.set_ents(spans)
    doc = eager.get_pipe("transformer")(eager.make_doc(TEXTS[0]))
    logits = get_labelled_logits(eager.get_pipe("nuner_ner"), [doc], [reference])
    assert logits.get_f1(None) == 1.0
    assert logits.mask.tolist() == [True, True, False, True]


@pytest.mark.parametrize("factory", ["nuner_ner", "nuner_concepts"])
def test_white_space_behind_a_span_teaches_nothing(tiny, factory):
    """It has the vector of the token before it, which has a label."""
    nlp = make_nlp(tiny, factory=factory)
    key = None if factory == "nuner_ner" else "concepts"
    examples = make_examples(nlp, spans_key=key)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe(factory)
    gradients = []
    for text in ("Leyton", "Leyton\n"):
        reference = nlp.make_doc(text)
        if key is None:
            reference.set_ents([Span(reference, 0, 1, "AREA")])
        else:
            reference.spans[key] = [Span(reference, 0, 1, "AREA")]
        example = Example(nlp.make_doc(text), reference)
        rows = len(reference)
        width = pipe.model.predict([nlp.get_pipe("transformer")(example.x)])[0].shape[1]
        logits = [np.zeros((rows, width), dtype="f")]
        loss, (gradient,) = pipe.get_loss([example], logits)
        gradients.append((loss, gradient))
    (loss, alone), (with_end, both) = gradients
    assert loss == pytest.approx(with_end) and loss > 0
    np.testing.assert_allclose(both[0], alone[0])
    assert not both[1].any()


def test_spans_that_go_on_in_another_line_are_learned(tiny, tmp_path):
    nlp, text = make_ner(tiny), TEXTS[0]
    reference = nlp.make_doc(text)
    reference.set_ents([Span(reference, 0, 4, "AREA")])
    examples = make_examples(nlp)
    assert not has_line_inside(examples, spans_key=None)
    crossing = Example(nlp.make_doc(text), reference)
    assert has_line_inside([*examples, crossing], spans_key=None)
    train(nlp, [crossing, *examples], steps=1)
    make_eager(nlp)
    assert ents_of(nlp(text)) == [(text, "AREA")]
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    assert ents_of(again(text)) == [(text, "AREA")]
    # `initialize` forgets it with all that was learned.
    train(again, make_examples(again), steps=1)
    make_eager(again)
    assert ents_of(again(text)) == FOUND
