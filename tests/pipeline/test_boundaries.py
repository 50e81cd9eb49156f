"""Neighbouring entities of one label."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.decoding import decode
from spacy_nuner.pipeline.targets import get_boundaries

from .conftest import ents_of, make_ner, make_nlp, train

WORDS = ["flats", "in", "Hackney", "Leyton", "two-bed", "for", "900"]
# "Hackney" and "Leyton" are two areas side by side, "two-bed flat" is one of two words.
SENTENCES = [
    (WORDS, [(2, 3, "AREA"), (3, 4, "AREA"), (6, 7, "PRICE")]),
    (["Leyton", "Hackney", "is", "cheap"], [(0, 1, "AREA"), (1, 2, "AREA")]),
    (["a", "two-bed", "flat", "in", "Leyton"], [(1, 3, "ROOMS"), (4, 5, "AREA")]),
    (["Hackney", "900", "pcm"], [(0, 1, "AREA"), (1, 3, "PRICE")]),
]
TOK2VEC = {
    "@architectures": "spacy_nuner.BackboneListener.v1",
    "pooling": {"@layers": "reduce_first.v1"},
}


def make_examples(nlp):
    examples = []
    for words, spans in SENTENCES:
        reference = Doc(nlp.vocab, words=words)
        reference.set_ents([Span(reference, *span) for span in spans])
        examples.append(Example(Doc(nlp.vocab, words=words), reference))
    return examples


def apply(nlp, words):
    doc = Doc(nlp.vocab, words=words)
    for _, pipe in nlp.pipeline:
        doc = pipe(doc)
    return doc


@pytest.fixture(scope="module")
def trained(tiny):
    nlp = make_ner(tiny)
    train(nlp, make_examples(nlp))
    return nlp


def test_where_a_span_begins_a_label_goes_on_as_another():
    logits = np.asarray([[9, 0], [9, 0], [9, 0], [0, 9], [0, 9]], dtype="f")
    begins = np.asarray([True, False, True, False, False])
    found = decode(logits, [3, 2], np.zeros(5, bool), thresholds=None, begins=begins)
    assert list(zip(*(column.tolist() for column in found[:4]), strict=True)) == [
        (0, 0, 2, 0),
        (0, 2, 3, 0),
        (1, 0, 2, 1),
    ]


def test_targets_are_asked_for_where_a_label_goes_on():
    nlp = spacy.blank("en")
    examples = make_examples(nlp)
    begins, inside = get_boundaries(examples, ["AREA", "PRICE"], spans_key=None)
    lengths = [len(words) for words, _ in SENTENCES]
    found = np.split(inside, np.cumsum(lengths)[:-1])
    # ROOMS is none of the labels.
    assert [np.flatnonzero(one).tolist() for one in found] == [[3], [1], [], [2]]
    assert np.flatnonzero(begins[:, 0]).tolist() == [3, lengths[0] + 1]


def test_neighbours_are_learned(trained):
    for words, spans in SENTENCES:
        doc = apply(trained, words)
        found = [(ent.start, ent.end, ent.label_) for ent in doc.ents]
        assert found == spans
        assert len(doc.spans["nuner_ner"].attrs["scores"]) == len(spans)


def test_without_the_column_neighbours_are_one(tiny):
    nlp = make_nlp(tiny)
    nlp.remove_pipe("nuner_concepts")
    model = {"@architectures": "spacy_nuner.ConceptTagger.v1", "tok2vec": TOK2VEC}
    nlp.add_pipe("nuner_ner", config={"model": model})
    train(nlp, make_examples(nlp))
    assert ents_of(apply(nlp, WORDS))[0] == ("Hackney Leyton", "AREA")


def test_saved_with_its_boundaries(trained, tmp_path):
    trained.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert ents_of(apply(loaded, WORDS)) == ents_of(apply(trained, WORDS))


def test_a_label_that_goes_leaves_boundaries_as_they_are(trained, tmp_path):
    trained.to_disk(tmp_path)
    nlp = spacy.load(tmp_path)
    pipe = nlp.get_pipe("nuner_ner")
    pipe.remove_label("PRICE")
    pipe.add_label("PARK")
    found = ents_of(apply(nlp, WORDS))
    assert [one for one in found if one[1] == "AREA"] == [
        ("Hackney", "AREA"),
        ("Leyton", "AREA"),
    ]


def test_data_without_neighbours_parts_nothing(tiny):
    nlp = make_ner(tiny)
    examples = make_examples(nlp)[2:]
    train(nlp, examples)
    assert ents_of(apply(nlp, SENTENCES[2][0])) == [
        ("two-bed flat", "ROOMS"),
        ("Leyton", "AREA"),
    ]


def test_a_component_of_overlapping_spans_has_no_boundaries(tiny):
    nlp = make_ner(tiny)
    model = {"@architectures": "spacy_nuner.EntityTagger.v1", "tok2vec": TOK2VEC}
    with pytest.raises(NunerError, match="N514.*'nuner_concepts'.*ConceptTagger"):
        nlp.add_pipe("nuner_concepts", config={"model": model})
