"""Cross-validation of one labelled set: what is on which side, and what is counted."""

import numpy as np
import pytest
import spacy
from spacy.scorer import get_ner_prf
from spacy.tokens import Span
from spacy.training import Example

from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot import cross_validation
from spacy_nuner.fewshot.cross_validation import (
    FOLDS,
    count_entities,
    cross_validate,
    group_texts,
)
from spacy_nuner.fewshot.probe import Probe, decode_spans
from spacy_nuner.readers.docbin import copy_words

NLP = spacy.blank("en")
LABELS = ["O", "CITY", "PERSON"]


def make_doc(text, *ents):
    doc = NLP.make_doc(text)
    doc.ents = [Span(doc, start, end, label) for start, end, label in ents]
    return doc


def make_docs(count):
    return [
        make_doc(f"Ana left Rome {i}", (0, 1, "PERSON"), (2, 3, "CITY"))
        for i in (range(count))
    ]


def make_vectors(docs):
    """A column says which Doc a token is of, and three which word it is."""
    rows = []
    for number, doc in enumerate(docs):
        for token in doc:
            words = [token.text == word for word in ("Ana", "left", "Rome")]
            rows.append([number, *words])
    return np.asarray(rows, dtype="f4")


@pytest.fixture
def sides(monkeypatch):
    """Which Docs were learned from and which predicted, fit by fit."""
    seen = []

    class Recorder(Probe):
        def predict(self, vectors):
            seen[-1].append(set(vectors[:, 0].astype(int).tolist()))
            return super().predict(vectors)

    def fit(vectors, gold, n_labels):
        seen.append([set(vectors[:, 0].astype(int).tolist())])
        return Recorder(np.zeros((4, n_labels), "f4"), np.arange(n_labels, dtype="f4"))

    monkeypatch.setattr(cross_validation, "fit_probe", fit)
    return seen


def test_no_text_is_on_both_sides_and_each_is_predicted_once(sides):
    docs = make_docs(13)
    # Copies: of other case and white space, but of other labels or none.
    docs += [make_doc("ana left  ROME 3"), make_doc("Ana left Rome 3 "), docs[0].copy()]
    groups = group_texts(docs)
    assert groups.tolist() == [*range(13), 3, 3, 0]
    validated = cross_validate(docs, make_vectors(docs), repeats=2)
    assert len(sides) == 2 * FOLDS * len(validated.sizes)
    for learned, predicted in sides:
        assert not {groups[i] for i in learned} & {groups[i] for i in predicted}
    assert sorted({len(learned) for learned, _ in sides}) == validated.sizes
    for repeat in range(2):
        begin = repeat * FOLDS * len(validated.sizes)
        fits = sides[begin : begin + FOLDS * len(validated.sizes)]
        for i in range(len(validated.sizes)):
            predicted = [
                one for _, ones in fits[i :: len(validated.sizes)] for one in ones
            ]
            assert sorted(predicted) == list(range(len(docs)))
    # Orders differ from repeat to repeat.
    half = len(sides) // 2
    assert sides[:half] != sides[half:]


def test_what_can_be_learned_is_learned(monkeypatch):
    docs = make_docs(20)
    validated = cross_validate(docs, make_vectors(docs)[:, 1:])
    assert validated.sizes == [4, 8, 16]
    right, predicted, gold = validated.entities[:, -1].sum(axis=(0, 1))
    assert right == predicted == gold == 2 * 40
    assert validated.token_f(-1) == {"CITY": 1, "PERSON": 1}
    # Tokens over all repeats.
    assert validated.tokens[-1].sum() == 2 * 20 * 4
    assert validated.labels == LABELS


def test_the_same_seed_gives_the_same_folds():
    docs = make_docs(12)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(48, 5)).astype("f4")
    one, same, other = (
        cross_validate(docs, vectors, seed=seed, repeats=1) for seed in (1, 1, 2)
    )
    assert (one.entities == same.entities).all()
    assert (one.entities != other.entities).any()


def test_entities_are_counted_as_spacy_does():
    docs = [*make_docs(3), make_doc("Ana Ana", (0, 2, "PERSON")), make_doc("nothing")]
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 3, size=sum(map(len, docs)))
    right, found, gold = count_entities(docs, predicted, LABELS).sum(axis=0)
    examples = []
    for doc, spans in zip(docs, decode_spans(docs, predicted, LABELS), strict=True):
        example = Example(copy_words(doc, doc.vocab), doc)
        example.predicted.ents = [
            Span(example.predicted, span.start, span.end, span.label) for span in spans
        ]
        examples.append(example)
    scores = get_ner_prf(examples)
    assert scores["ents_p"] == pytest.approx(right / found)
    assert scores["ents_r"] == pytest.approx(right / gold)
    assert right > 0


def test_sets_that_are_too_small_or_have_no_entity():
    docs = make_docs(9) + [make_docs(1)[0] for _ in range(5)]
    with pytest.raises(NunerError, match="N634.*Found 9 different texts"):
        cross_validate(docs, make_vectors(docs))
    docs = [make_doc(f"nothing {i}") for i in range(12)]
    with pytest.raises(NunerError, match="N614"):
        cross_validate(docs, make_vectors(docs))
