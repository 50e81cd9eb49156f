import sys

import numpy as np
import pytest
import spacy
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.metrics import f1_score as token_f1
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.encoders.layers import load_encoder, max_pieces
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.probe import (
    L2,
    OUTSIDE,
    Gold,
    decode_spans,
    embed_tokens,
    encode_labels,
    find_labels,
    fit_probe,
    fit_prototypes,
)
from spacy_nuner.readers.docbin import copy_words

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def listings(assets):
    return read_docs(assets / "listings" / "dev.jsonl")


@pytest.fixture(scope="module")
def encoder(listings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    make_tiny_bert(folder, [doc.text for doc in listings])
    return load_encoder(folder)


def labels_of(docs):
    return [OUTSIDE, *sorted({ent.label_ for doc in docs for ent in doc.ents})]


def test_vectors_are_those_of_the_first_word_piece(encoder, listings):
    import torch

    tokenizer, model = encoder
    docs = listings[:30]
    vectors = embed_tokens(
        docs, tokenizer, model, hidden_layers=[-1, -2], precision="fp32"
    )
    assert vectors.shape == (sum(map(len, docs)), 2, 32)
    assert vectors.dtype == np.float32
    start = 0
    for doc in docs:
        encoded = tokenizer(doc.text, return_tensors="pt")
        with torch.no_grad():
            states = model(**encoded, output_hidden_states=True).hidden_states
        for token in doc:
            piece = encoded.char_to_token(token.idx)
            for column, layer in enumerate((-1, -2)):
                expected = states[layer][0, piece].numpy()
                found = vectors[start + token.i, column]
                np.testing.assert_allclose(found, expected, atol=1e-5)
        start += len(doc)


def test_no_token_of_a_long_text_is_without_a_vector(encoder):
    tokenizer, model = encoder
    nlp = spacy.blank("en")
    long = nlp(" ".join(["a bright room with a garden"] * 60))
    assert len(long) > 5 * max_pieces(tokenizer, model)
    odd = nlp("a room \n\n \u200b with 🏡 gárden")
    docs = [Doc(nlp.vocab), long, odd, Doc(nlp.vocab)]
    settings = {"hidden_layers": [-1], "precision": "fp32"}
    vectors = embed_tokens(docs, tokenizer, model, **settings)
    assert len(vectors) == len(long) + len(odd)
    assert (np.abs(vectors).sum(axis=(1, 2)) > 0).all()
    # What comes first has a whole window of context, whatever stands behind it.
    head = embed_tokens([long[:200].as_doc()], tokenizer, model, **settings)
    np.testing.assert_allclose(head[:20], vectors[:20], atol=1e-5)


def test_probe_finds_a_linear_map_and_its_folding_is_exact():
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(300, 8)) * 5 + 3).astype("f4")
    gold = (vectors @ random.normal(size=(8, 4)).astype("f4")).argmax(axis=1)
    gold += gold >= 2  # label 2 of 5 has no token
    probe = fit_probe(vectors, gold, 5)
    predicted = probe.predict(vectors)
    assert (predicted == gold).mean() > 0.95
    assert 2 not in predicted


@pytest.mark.parametrize("present", [[1], [0, 2]])
def test_draws_with_one_or_two_labels(present):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 6)).astype("f4")
    gold = np.asarray([present[int(v[0] > 0) % len(present)] for v in vectors])
    predicted = fit_probe(vectors, gold, 3).predict(vectors)
    assert set(predicted) <= set(present)
    assert (predicted == gold).mean() > 0.9


def test_a_regression_of_its_own_for_each_label():
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(200, 6)) + 2).astype("f4")
    # Label 1 is an upper half of a feature, 3 of another: both hold for some tokens.
    marks = vectors[:, :2] > 2
    gold = np.where(marks[:, 0], 1, np.where(marks[:, 1], 3, 0))
    probe = fit_probe(vectors, gold, 4, binary=True)
    logits = probe.score(vectors)
    assert (logits[:, 0] == 0).all() and np.isneginf(logits[:, 2]).all()
    for label in (1, 3):
        expected = LogisticRegression(C=1 / (L2 * len(gold)), max_iter=1000)
        scaled = StandardScaler().fit_transform(vectors)
        expected.fit(scaled, gold == label)
        chances = expected.predict_proba(scaled)[:, 1]
        found = 1 / (1 + np.exp(-logits[:, label]))
        np.testing.assert_allclose(found, chances, atol=1e-3)
    assert ((logits[:, 1] > 0) == (gold == 1)).mean() > 0.95


def test_the_nearest_prototype_is_that_of_scikit_learn():
    random = np.random.default_rng(1)
    vectors = (random.normal(size=(90, 5)) * [1, 9, 2, 1, 5] + 3).astype("f4")
    gold = random.integers(0, 3, 90)
    vectors[:, 2] += gold
    probe = fit_prototypes(vectors, gold, 4)
    scaled = StandardScaler().fit_transform(vectors)
    expected = NearestCentroid().fit(scaled, gold).predict(scaled)
    assert (probe.predict(vectors) == expected).all()


def test_constant_features_do_no_harm():
    vectors = np.ones((20, 3), dtype="f4")
    vectors[:10, 0] = 0
    gold = np.repeat([0, 1], 10)
    assert (fit_probe(vectors, gold, 2).predict(vectors) == gold).all()


def to_iob2(docs, spans_of):
    tags = []
    for doc in docs:
        one = [OUTSIDE] * len(doc)
        for span in spans_of(doc):
            one[span.start : span.end] = [f"I-{span.label_}"] * len(span)
            one[span.start] = f"B-{span.label_}"
        tags.append(one)
    return tags


def test_scores_agree_with_seqeval_and_spacy(listings):
    labels = labels_of(listings)
    gold = Gold(listings, labels)
    random = np.random.default_rng(0)
    predicted = np.where(
        random.random(len(gold.tokens)) < 0.15,
        random.integers(0, len(labels), len(gold.tokens)),
        gold.tokens,
    )
    scores = gold.score(predicted)
    decoded = decode_spans(listings, predicted, labels)
    spans = {id(doc): ents for doc, ents in zip(listings, decoded, strict=True)}
    truth = to_iob2(listings, lambda doc: doc.ents)
    guess = to_iob2(listings, lambda doc: spans[id(doc)])
    for key, function in (
        ("ents_p", precision_score),
        ("ents_r", recall_score),
        ("ents_f", f1_score),
    ):
        expected = function(truth, guess, mode="strict", scheme=IOB2)
        assert scores[key] == pytest.approx(expected), key
    assert 0.3 < scores["ents_f"] < 0.95
    by_scorer = Scorer.score_spans(gold.examples, attr="ents")
    assert scores["ents_f"] == pytest.approx(by_scorer["ents_f"])
    names = [label for label in labels if label != OUTSIDE]
    expected = token_f1(
        [labels[i] for i in gold.tokens],
        [labels[i] for i in predicted],
        labels=names,
        average="macro",
    )
    assert scores["macro_token_f"] == pytest.approx(expected)
    assert set(scores["token_f_per_label"]) == set(names)


@pytest.mark.parametrize("seed", range(3))
def test_entities_with_boundaries_agree_with_seqeval(listings, seed):
    """Spans of heads that tell neighbours of a label apart; micro, macro, by label."""
    random = np.random.default_rng(seed)
    labels = labels_of(listings)
    gold = Gold(listings, labels)
    predicted = []
    for doc in listings:
        copied = copy_words(doc, doc.vocab)
        ents, start = [], 0
        while start < len(doc):
            end = min(start + int(random.integers(1, 4)), len(doc))
            if random.random() < 0.3:
                label = labels[random.integers(1, len(labels))]
                ents.append(Span(copied, start, end, label=label))
            start = end
        # Some that are right, too.
        right = [Span(copied, e.start, e.end, label=e.label_) for e in doc.ents]
        copied.ents = right if random.random() < 0.5 else ents
        predicted.append(copied)
    scores = gold.score_ents(predicted)
    truth = to_iob2(listings, lambda doc: doc.ents)
    guess = to_iob2(predicted, lambda doc: doc.ents)
    strict = {"mode": "strict", "scheme": IOB2}
    assert scores["ents_f"] == pytest.approx(f1_score(truth, guess, **strict))
    by_label = f1_score(truth, guess, average=None, **strict)
    found = [scores["ents_per_type"][label]["f"] for label in labels[1:]]
    assert found == pytest.approx(by_label.tolist())
    expected = f1_score(truth, guess, average="macro", **strict)
    assert np.mean(found) == pytest.approx(expected)
    by_scorer = Scorer.score_spans(
        [Example(p, d) for p, d in zip(predicted, listings, strict=True)], attr="ents"
    )
    assert scores["ents_f"] == pytest.approx(by_scorer["ents_f"])
    flat = [
        [token.ent_type_ or OUTSIDE for doc in docs for token in doc]
        for docs in (listings, predicted)
    ]
    expected = token_f1(*flat, labels=labels[1:], average="macro")
    assert scores["macro_token_f"] == pytest.approx(expected)
    matrix = confusion_matrix(*flat, labels=labels)
    assert [
        [scores["confusion"].get(row, {}).get(column, 0) for column in labels]
        for row in labels
    ] == matrix.tolist()


def test_tokens_with_several_labels(listings):
    labels = labels_of(listings)
    gold = Gold(listings, labels)
    marks = np.zeros((len(gold.tokens), len(labels)), dtype=bool)
    marks[np.arange(len(gold.tokens)), gold.tokens] = True
    assert gold.score(gold.tokens, marks)["macro_token_f"] == 1
    # A mark too many costs its label alone.
    marks[:, 1] = True
    scores = gold.score(gold.tokens, marks)
    first, *others = [scores["token_f_per_label"][label] for label in labels[1:]]
    assert first < 1 and set(others) == {1.0}


def test_a_second_score_knows_nothing_of_the_first(listings):
    gold = Gold(listings, labels_of(listings))
    nothing = gold.score(np.zeros_like(gold.tokens))
    assert nothing["macro_token_f"] == 0
    # Entities that touch and have one label become one: IO tells them not apart.
    touching = sum(
        left.end == right.start and left.label == right.label
        for doc in listings
        for left, right in zip(doc.ents, doc.ents[1:], strict=False)
    )
    perfect = gold.score(gold.tokens)
    assert perfect["macro_token_f"] == 1
    assert (perfect["ents_f"] == 1) == (touching == 0)
    assert gold.score(np.zeros_like(gold.tokens)) == nothing


def test_labels_that_the_test_set_lacks_are_not_averaged(listings):
    labels = [*labels_of(listings), "NOWHERE"]
    gold = Gold(listings, labels)
    scores = gold.score(gold.tokens)
    assert scores["macro_token_f"] == 1
    assert "NOWHERE" not in scores["token_f_per_label"]


def test_io_labels_and_back(listings):
    labels = labels_of(listings)
    docs = [*listings[:2], Doc(listings[0].vocab)]
    tokens = encode_labels(docs, labels)
    expected = [t.ent_type_ or OUTSIDE for doc in docs for t in doc]
    assert [labels[i] for i in tokens] == expected
    for doc, spans in zip(docs, decode_spans(docs, tokens, labels), strict=True):
        assert [(s.start, s.end, s.label_) for s in spans] == [
            (e.start, e.end, e.label_) for e in doc.ents
        ]


def test_no_entity_crosses_the_end_of_a_doc():
    vocab = spacy.blank("en").vocab
    docs = [Doc(vocab, words=["a", "b"]), Doc(vocab, words=["c"])]
    tokens = np.array([0, 1, 1])
    spans = decode_spans(docs, tokens, [OUTSIDE, "X"])
    assert [[span.text for span in ents] for ents in spans] == [["b"], ["c"]]


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(NunerError, match=r"N006.*scikit-learn.*\[fewshot\]"):
        fit_probe(np.eye(2, dtype="f4"), np.array([0, 1]), 2)


def test_a_label_that_is_called_as_what_is_none():
    nlp = spacy.blank("en")
    docs = [nlp("In Rome it rains")]
    docs[0].ents = [Span(docs[0], 1, 2, "O")]
    with pytest.raises(NunerError, match="N636.*'O'"):
        find_labels(docs, docs)
