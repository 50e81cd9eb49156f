"""Heads are judged on the texts that the probe was judged on, and compared with it."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Span
from spacy.util import load_config

from spacy_nuner.fewshot import head_choice
from spacy_nuner.fewshot.compare import Backbone
from spacy_nuner.fewshot.cross_validation import cross_validate
from spacy_nuner.fewshot.entity_counts import get_f
from spacy_nuner.fewshot.head_choice import judge_heads

from ..conftest import ROOT

BACKBONE = Backbone("mine", "nowhere", {}, {"both": [-1, -2]})


@pytest.fixture
def docs():
    nlp = spacy.blank("en")
    docs = [
        nlp(f"In {name}{i} it rains") for i, name in enumerate(["Rome", "Oslo"] * 8)
    ]
    for doc in docs:
        doc.ents = [Span(doc, 1, 2, "CITY")]
    return docs


def judge(docs, monkeypatch, predict):
    seen = []

    def fit(name, task):
        seen.append({doc.text for doc in task.docs})

        def run(unseen):
            assert not {doc.text for doc in unseen} & seen[-1]
            return [predict(doc.copy()) for doc in unseen]

        return run

    monkeypatch.setattr(head_choice, "fit_head", fit)
    # Vectors that say nothing: the probe finds little.
    vectors = np.random.default_rng(0).normal(size=(sum(map(len, docs)), 4))
    validated = cross_validate(docs, vectors.astype("f4"))
    (judged,) = judge_heads(docs, BACKBONE, "both", validated, ["linear"])
    assert len(seen) == 5 and {len(texts) for texts in seen} == {judged.texts}
    return judged, validated


def test_a_head_that_finds_all_is_ahead_by_what_the_probe_lacks(docs, monkeypatch):
    judged, validated = judge(docs, monkeypatch, lambda doc: doc)
    # Of 16 entities that were found another draw may miss some.
    assert 0.5 < judged.score.low < 0.95 < judged.score.high <= 1
    probe = get_f(validated.entities[0, -1].sum(axis=0))
    assert judged.lead.low <= 1 - probe <= judged.lead.high and judged.lead.low > 0


def test_a_head_that_finds_nothing(docs, monkeypatch):
    def find_nothing(doc):
        doc.ents = []
        return doc

    judged, _ = judge(docs, monkeypatch, find_nothing)
    assert judged.score.low < 0.01 < judged.score.high < 0.5
    assert judged.lead.high <= 0


def test_a_head_is_as_uncertain_as_the_texts_are_few(docs, monkeypatch):
    def miss_some(doc):
        if doc[1].text in ("Rome0", "Oslo3", "Rome6", "Oslo9"):
            doc.ents = []
        return doc

    judged, _ = judge(docs, monkeypatch, miss_some)
    low, value, high = judged.score.low, judged.score.value, judged.score.high
    # The bootstrap over the texts that it is scored on is narrower.
    same = get_f(
        head_choice.sample_counts(
            np.array([[1, 1, 1]] * 12 + [[0, 0, 1]] * 4), np.arange(16)
        )
    )
    assert high - low > np.quantile(same, 0.95) - np.quantile(same, 0.05)
    assert low < 24 / 28 < high and abs(value - 24 / 28) < 0.05


@pytest.mark.parametrize(
    ("head", "name", "component"),
    [("nuner_ner", "ner", "nuner_ner"), ("ner", "ner_parser", "ner")],
)
def test_rates_are_those_of_the_configs(head, name, component):
    config = load_config(ROOT / "configs" / f"{name}.cfg")
    rate = config["training"]["optimizer"]["learn_rate"]["initial_rate"]
    models = (part["model"] for part in config["components"].values())
    (scale,) = (
        found["learn_rate_scale"]
        for model in models
        for found in (model, model.get("tok2vec", {}))
        if "learn_rate_scale" in found
    )
    assert head_choice.RATES[head] == pytest.approx((rate * scale, rate))


def test_parts_without_an_entity_teach_nothing(docs, monkeypatch):
    for doc in docs[1:]:
        doc.ents = []
    vectors = np.zeros((sum(map(len, docs)), 4), dtype="f4")
    validated = cross_validate(docs, vectors)
    fitted = []

    def fit(name, task):
        fitted.append(task)
        return lambda unseen: list(unseen)

    monkeypatch.setattr(head_choice, "fit_head", fit)
    judge_heads(docs, BACKBONE, "both", validated, ["linear"])
    # The sentence with the entity is held out once.
    assert len(fitted) == 4
