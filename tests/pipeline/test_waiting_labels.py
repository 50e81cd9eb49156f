"""Labels without an example: training leaves them as they are until there is one."""

import numpy as np
import pytest
import spacy
from spacy.training import Example

from spacy_nuner.pipeline import targets
from spacy_nuner.pipeline.targets import find_learned

from .conftest import make_examples, make_ner, make_nlp, train
from .test_labels import rows_of

FACTORIES = ["nuner_concepts", "nuner_ner"]
KEYS = {"nuner_concepts": "concepts", "nuner_ner": None}
TEXT = "Leyton costs 900"


def make(source, factory, **settings):
    nlp = make_nlp(source, factory=factory, **settings)
    return nlp, make_examples(nlp, spans_key=KEYS[factory])


def learn(nlp, examples, *, steps=10):
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.01
    # The decay of weights would shrink all rows.
    sgd.L2 = 0.0
    for _ in range(steps):
        nlp.update(examples, sgd=False)
        for _, proc in nlp.pipeline:
            proc.finish_update(sgd)


def is_same(found, expected):
    return np.array_equal(found[0], expected[0]) and found[1] == expected[1]


def make_example(nlp, text, start, end, label, *, key=None):
    reference = nlp.make_doc(text)
    spans = [reference.char_span(start, end, label)]
    if key is None:
        reference.set_ents(spans)
    else:
        reference.spans[key] = spans
    return Example(nlp.make_doc(text), reference)


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_loss_is_that_of_a_component_without_it(backbone, factory):
    nlp, examples = make(backbone, factory)
    train(nlp, examples, steps=2)
    pipe = nlp.get_pipe(factory)
    docs = [eg.predicted for eg in examples]
    nlp.get_pipe("transformer").set_annotations(
        docs, nlp.get_pipe("transformer").predict(docs)
    )
    expected, d_expected = pipe.get_loss(examples, pipe.predict(docs))
    pipe.add_label("TERM")
    # It would win everywhere, and be wrong everywhere.
    pipe.model.get_ref("output_layer").layers[0].get_param("b")[-1] = 9.0
    loss, d_logits = pipe.get_loss(examples, pipe.predict(docs))
    assert loss == pytest.approx(expected, abs=1e-6)
    term = pipe.labels.index("TERM")
    for found, wanted in zip(d_logits, d_expected, strict=True):
        assert not found[:, term].any()
        np.testing.assert_allclose(np.delete(found, term, axis=1), wanted, atol=1e-6)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_label_waits_for_its_first_example(backbone, tmp_path, factory):
    nlp, examples = make(backbone, factory)
    train(nlp, examples, steps=3)
    nlp.get_pipe(factory).add_label("term")
    started = rows_of(nlp.get_pipe(factory))["term"]
    learn(nlp, examples)
    nlp.to_disk(tmp_path / "model")
    for found in (nlp, spacy.load(tmp_path / "model")):
        pipe = found.get_pipe(factory)
        before = rows_of(pipe)
        assert is_same(before["term"], started)
        learn(found, examples)
        assert is_same(rows_of(pipe)["term"], started)
        assert not is_same(rows_of(pipe)["AREA"], before["AREA"])
        example = make_example(found, TEXT, 13, 16, "term", key=KEYS[factory])
        learn(found, [example], steps=1)
        first = rows_of(pipe)["term"]
        assert not is_same(first, started)
        # From then on sentences without it count.
        learn(found, examples, steps=1)
        assert not is_same(rows_of(pipe)["term"], first)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("enough", [False, True])
def test_much_data_without_a_label_tells_that_it_is_absent(
    backbone, monkeypatch, factory, enough
):
    nlp, examples = make(backbone, factory, labels=["AREA", "PRICE", "person"])
    words = sum(len(eg.reference) for eg in examples)
    monkeypatch.setattr(targets, "ENOUGH_WORDS", words + (not enough))
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe(factory)
    before = rows_of(pipe)["person"]
    learn(nlp, examples)
    assert is_same(rows_of(pipe)["person"], before) is not enough


def test_that_labels_wait_is_logged(backbone, caplog, monkeypatch):
    logger = spacy.util.logger
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level("INFO", logger=logger.name)
    nlp = make_ner(backbone, labels=["TERM", "AREA"])
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    assert "no example of TERM, known by name" in caplog.text


def test_examples_are_read_no_further_than_needed(monkeypatch):
    nlp = spacy.blank("en")
    examples = make_examples(nlp)

    def read(count):
        yield from examples[:count]
        raise AssertionError("read too far")

    def find(*labels, count):
        return find_learned(read(count), labels, spans_key=None)

    assert find("AREA", "PRICE", count=1) == {"AREA", "PRICE"}
    monkeypatch.setattr(targets, "ENOUGH_WORDS", len(examples[0].reference) + 1)
    assert find("AREA", "TERM", count=2) == {"AREA", "TERM"}
    monkeypatch.undo()
    assert find_learned(examples, ["AREA", "TERM"], spans_key=None) == {"AREA"}


@pytest.mark.parametrize("factory", FACTORIES)
def test_what_starts_from_zero_does_not_wait(backbone, factory):
    nlp, examples = make(backbone, factory, labels=["AREA", "PRICE", "person"])
    pipe = nlp.get_pipe(factory)
    for proc in (nlp.get_pipe("transformer"), pipe):
        start = {"start": "zero"} if proc is pipe else {}
        proc.initialize(lambda: examples, nlp=nlp, **start)
    learn(nlp, examples)
    assert rows_of(pipe)["person"][1] < 0


def test_what_was_removed_waits_when_it_comes_back(backbone):
    nlp, examples = make(backbone, "nuner_ner")
    train(nlp, examples, steps=3)
    pipe = nlp.get_pipe("nuner_ner")
    pipe.remove_label("PRICE")
    learn(nlp, examples, steps=1)
    pipe.add_label("PRICE")
    before = rows_of(pipe)["PRICE"]
    areas = [eg for eg in examples if {"AREA"} == {x.label_ for x in eg.y.ents}]
    learn(nlp, areas, steps=3)
    assert is_same(rows_of(pipe)["PRICE"], before)
    learn(nlp, examples, steps=1)
    assert not is_same(rows_of(pipe)["PRICE"], before)


def test_words_that_nobody_annotated_count_for_nothing(monkeypatch):
    nlp = spacy.blank("en")
    blank = [Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT)) for _ in range(9)]
    monkeypatch.setattr(targets, "ENOUGH_WORDS", 9)
    for key in (None, "concepts"):
        assert find_learned(blank, ["AREA"], spans_key=key) == set()


def test_a_label_that_waits_can_be_described(backbone):
    nlp, examples = make(backbone, "nuner_ner", labels=["person"])
    train(nlp, examples, steps=3)
    pipe = nlp.get_pipe("nuner_ner")
    before = rows_of(pipe)["person"]
    # No W503, which would be an error here.
    pipe.add_label("person", description="a human being")
    assert not is_same(rows_of(pipe)["person"], before)
