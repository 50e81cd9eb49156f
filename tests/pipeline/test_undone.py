"""What fails leaves a component as it was, and what is odd but right works."""

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Span
from spacy.training import Example

from spacy_nuner.errors import NunerError
from spacy_nuner.models.concept_tagger import resize_output
from spacy_nuner.pipeline.label_vectors import LabelVectors

from .conftest import (
    ents_of,
    make_examples,
    make_nlp,
    make_zero_shot,
    spans_of,
    train,
)
from .test_labels import TEXT, assert_rows_equal, rows_of

KEYS = {"nuner_concepts": "concepts", "nuner_ner": None}


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A folder for each factory."""
    root = tmp_path_factory.mktemp("trained")
    for factory, key in KEYS.items():
        nlp = make_nlp(tiny, factory=factory)
        train(nlp, make_examples(nlp, spans_key=key), steps=30)
        nlp.to_disk(root / factory)
    return root


def found_in(nlp, text):
    doc = nlp(text)
    return spans_of(doc) if "concepts" in doc.spans else ents_of(doc)


@pytest.mark.parametrize("factory", KEYS)
def test_loaded_where_nothing_is_trained(trained, factory):
    expected = found_in(spacy.load(trained / factory), TEXT)
    with torch.inference_mode():
        nlp = spacy.load(trained / factory)
        assert found_in(nlp, TEXT) == expected
    assert found_in(nlp, TEXT) == expected
    nlp.update(make_examples(nlp, spans_key=KEYS[factory]), sgd=nlp.resume_training())


def test_a_backbone_that_is_loaded_with_the_first_text(backbone):
    with torch.inference_mode():
        nlp = make_zero_shot(backbone, labels=["area", "price"])
        spans = spans_of(nlp(TEXT))
    assert spans and spans_of(nlp(TEXT)) == spans


def test_thresholds_of_numpy_are_saved(trained, tmp_path):
    nlp = spacy.load(trained / "nuner_concepts")
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.threshold = {"AREA": np.float32(0.75)}
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model").get_pipe("nuner_concepts")
    assert again.threshold == {"AREA": 0.75}
    # What was set since then is no state of what is loaded.
    saved = trained / "nuner_concepts" / "nuner_concepts"
    pipe.from_disk(saved, exclude=["vocab"])
    assert pipe.threshold is None


@pytest.mark.parametrize("description", [["countries"], 3, "\udcff"])
def test_a_description_that_is_no_text(backbone, description):
    pipe = make_zero_shot(backbone, labels=["area"]).get_pipe("nuner_concepts")
    with pytest.raises(NunerError, match="N511|N053"):
        pipe.add_label("city", description)
    assert pipe.labels == ("area",)


@pytest.mark.parametrize("known", [True, False])
def test_a_label_that_cannot_be_encoded_is_not_added(backbone, monkeypatch, known):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    nlp(TEXT)
    pipe = nlp.get_pipe("nuner_concepts")
    before, spans = rows_of(pipe), spans_of(nlp(TEXT))

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LabelVectors, "start", fail)
        with pytest.raises(KeyboardInterrupt):
            pipe.add_label("area" if known else "city", "where it is")
    assert pipe.labels == ("area", "price") and spans_of(nlp(TEXT)) == spans
    for label, row in rows_of(pipe).items():
        assert_rows_equal(row, before[label])
    pipe.add_label("area" if known else "city", "where it is")
    assert not np.array_equal(
        rows_of(pipe)["area" if known else "city"][0],
        before["area"][0] if known else np.zeros(32),
    )


@pytest.mark.parametrize("factory", KEYS)
def test_tokens_that_changed_behind_the_transformer(trained, factory):
    nlp = spacy.load(trained / factory)

    @spacy.Language.component("merge_first_two")
    def merge(doc):
        with doc.retokenize() as retokenizer:
            retokenizer.merge(doc[:2])
        return doc

    nlp.add_pipe("merge_first_two", before=factory)
    with pytest.raises(NunerError, match="N519.*1 of 1 docs"):
        nlp(TEXT)


@pytest.mark.parametrize("factory", KEYS)
def test_what_was_learned_stands_if_the_next_data_is_wrong(trained, factory):
    nlp = spacy.load(trained / factory)
    pipe, before = nlp.get_pipe(factory), found_in(nlp, TEXT)
    rows = rows_of(pipe)
    example = make_examples(nlp, spans_key=KEYS[factory])[0]
    wrong = Span(example.reference, 0, 1, " ")
    if KEYS[factory]:
        example.reference.spans["concepts"] = [wrong]
    else:
        example.reference.ents = [wrong]
    with pytest.raises(NunerError, match="N501"):
        pipe.initialize(lambda: [example], nlp=nlp)
    assert found_in(nlp, TEXT) == before
    for label, row in rows_of(pipe).items():
        assert_rows_equal(row, rows[label])


@pytest.mark.parametrize("shared", [True, False])
def test_initialized_on_docs_without_a_token(backbone, tiny, shared):
    nlp = make_nlp(
        backbone if shared else tiny, shared=shared, labels=["AREA", "PRICE"]
    )
    empty = Example(nlp.make_doc(""), nlp.make_doc(""))
    nlp.initialize(lambda: [empty])
    nlp.update(make_examples(nlp, spans_key="concepts"), sgd=nlp.create_optimizer())
    doc = nlp(TEXT)
    (logits,) = nlp.get_pipe("nuner_concepts").predict([doc])
    assert logits.shape == (len(doc), 2) and np.isfinite(logits).all() and logits.any()


def test_a_label_goes_on_waiting_where_the_backbone_is_gone(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    nlp.to_disk(tmp_path / "model")
    gone = {"components": {"nuner_concepts": {"backbone": str(tmp_path / "gone")}}}
    nlp = spacy.load(tmp_path / "model", config=gone)
    pipe = nlp.get_pipe("nuner_concepts")
    before = rows_of(pipe)["price"]
    with pytest.warns(UserWarning, match="W501"):
        pipe.add_label("price", "what it costs")
    doc = nlp.make_doc(TEXT)
    doc.spans["concepts"] = [Span(doc, 0, 1, "area")]
    nlp.update([Example(nlp.make_doc(TEXT), doc)], sgd=nlp.resume_training())
    # But for the decay of all weights.
    np.testing.assert_allclose(rows_of(pipe)["price"][0], before[0], rtol=1e-3)


def test_gradients_of_the_first_part_of_a_batch_stay(tiny):
    nlp = make_nlp(tiny, factory="nuner_ner", shared=False)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_ner")
    # As other components take it: no step yet.
    pipe.update(examples, sgd=False)
    old = pipe.model.get_ref("output_layer").layers[0]
    gradients = {name: old.get_grad(name).copy() for name in ("W", "b")}
    assert all(gradient.any() for gradient in gradients.values())
    resize_output(pipe.model, len(pipe.labels) + 1)
    new = pipe.model.get_ref("output_layer").layers[0]
    for name, gradient in gradients.items():
        found = new.get_grad(name)
        np.testing.assert_array_equal(found[: len(gradient)], gradient)
        assert len(found) == len(gradient) + 1 and not found[-1].any()


def test_examples_of_another_vocabulary(trained):
    nlp = spacy.load(trained / "nuner_ner")
    pipe, other = nlp.get_pipe("nuner_ner"), spacy.blank("en")
    doc = other.make_doc(TEXT)
    doc.ents = [Span(doc, 0, 1, "A label that only these have")]
    with pytest.warns(UserWarning, match="W50[89]"):
        pipe.update([Example(nlp.get_pipe("transformer")(nlp.make_doc(TEXT)), doc)])
