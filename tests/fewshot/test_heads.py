import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span

from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.draws import Draw
from spacy_nuner.fewshot.heads import (
    HEADS,
    TRAINED,
    VECTORS,
    Task,
    Training,
    check_heads,
    fit_head,
    make_training,
)
from spacy_nuner.pipeline.labels import Label

from ..util import make_tiny_bert

LABELS = ["O", "CITY", "PER"]
ROWS = [
    ("Ana Lima left Porto", [(0, 2, "PER"), (3, 4, "CITY")]),
    ("Rui saw Nova Goa", [(0, 1, "PER"), (2, 4, "CITY")]),
    ("nobody went home", []),
    ("Rome met Ada", [(0, 1, "CITY"), (2, 3, "PER")]),
]


def make_docs(*, vectors=True):
    """Docs whose vectors tell labels, and where entities begin and end."""
    vocab, random = spacy.blank("en").vocab, np.random.default_rng(0)
    docs = []
    for text, spans in ROWS:
        doc = Doc(vocab, words=text.split())
        doc.ents = [Span(doc, start, end, label=label) for start, end, label in spans]
        if vectors:
            told = random.normal(scale=0.05, size=(len(doc), 6))
            for token in doc:
                told[token.i, LABELS.index(token.ent_type_ or "O")] += 1
            for ent in doc.ents:
                told[ent.start, 3] += 1
                told[ent.end - 1, 4] += 1
            doc.user_data[VECTORS] = told.astype("f4")
        docs.append(doc)
    return docs


def make_task(docs, **settings):
    given = {"backbone": "none", "hidden_layers": [-1], "tuned": False, "seed": 0}
    given |= {"rates": (0.0, 0.03), "steps": 60, "training": Training(dropout=0.0)}
    return Task(docs=docs, labels=LABELS, meanings={}, **{**given, **settings})


def spans_of(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "nuner_ner"])
def test_each_head_reads_what_vectors_tell(name):
    docs = make_docs()
    predict = fit_head(name, make_task(docs))
    predicted = predict(docs)
    assert [spans_of(doc) for doc in predicted] == [spans for _, spans in ROWS]
    # Copies: the annotation is not touched.
    assert [spans_of(doc) for doc in docs] == [spans for _, spans in ROWS]
    assert predicted[0] is not docs[0]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return str(make_tiny_bert(folder, [text for text, _ in ROWS]))


@pytest.mark.parametrize("name", TRAINED)
def test_an_encoder_is_tuned_with_each_head(name, bert):
    docs = make_docs(vectors=False)
    settings = {"hidden_layers": [-1, -2], "tuned": True, "rates": (5e-3, 1e-2)}
    task = make_task(docs, backbone=bert, **settings)
    first = [spans_of(doc) for doc in fit_head(name, task)(docs)]
    found = sum(len(set(a) & set(b)) for a, (_, b) in zip(first, ROWS, strict=True))
    assert found >= 4


def test_nuner_ner_starts_from_names(backbone):  # noqa: F811
    """Before it has learned anything: one step at a rate of nearly nothing."""
    vocab = spacy.blank("en").vocab
    doc = Doc(vocab, words=["In", "Porto", "for", "900", "euros"])
    doc.ents = [Span(doc, 1, 2, label="X"), Span(doc, 3, 4, label="Y")]
    task = Task(
        docs=[doc],
        labels=["O", "X", "Y"],
        backbone=str(backbone),
        hidden_layers=[-1],
        tuned=True,
        rates=(1e-9, 1e-9),
        steps=1,
        seed=0,
        training=Training(),
        meanings={"X": Label("area"), "Y": Label("price")},
    )
    named = fit_head("nuner_ner", task)([doc])
    assert fit_head("linear", task)([doc])[0].ents == ()
    assert named[0].ents


def test_the_length_of_trainings():
    few = Draw(k=1, seed=0, docs=[0], mentions={})
    assert make_training(None, few).count_steps(4) == 150
    assert make_training(None, few).count_steps(800) == 1000
    assert make_training(None, few).count_steps(100_000) == 5000
    by_rule = Draw(k=8, seed=0, docs=[0], mentions={}, protocol="k~2k")
    assert make_training(None, by_rule).count_steps(80) == 300
    assert make_training(2, by_rule).count_steps(80) == 20
    whole = Draw(k=8, seed=0, docs=[0], mentions={}, protocol="k~2k", is_all=True)
    assert make_training(None, whole).count_steps(100_000) == 5000


def test_heads_that_there_are_not():
    check_heads(HEADS, ["frozen", "tuned"])
    for heads, encoders in (
        (["crf"], ["frozen"]),
        (["linear"], ["half"]),
        (["probe"], ["tuned"]),
        (["linear"], []),
    ):
        with pytest.raises(NunerError, match=r"N618.*two-layer"):
            check_heads(heads, encoders)
