import random
import warnings
from collections import Counter
from dataclasses import asdict

import pytest
import spacy
import srsly
from spacy.tokens import Doc, Span

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.draws import draw_docs


@pytest.fixture(scope="module")
def listings(assets):
    return read_docs(assets / "listings" / "train.jsonl")


def make_docs(*label_lists):
    vocab = spacy.blank("en").vocab
    docs = []
    for labels in label_lists:
        doc = Doc(vocab, words=["w"] * max(1, len(labels)))
        doc.ents = [Span(doc, i, i + 1, label=x) for i, x in enumerate(labels)]
        docs.append(doc)
    return docs


def count(docs, indices):
    return Counter(ent.label_ for i in indices for ent in docs[i].ents)


@pytest.mark.parametrize("k", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_label_reaches_k_and_the_record_is_true(listings, k, seed):
    draw = draw_docs(listings, k, seed=seed)
    assert draw.mentions == dict(count(listings, draw.docs))
    labels = {ent.label_ for doc in listings for ent in doc.ents}
    assert set(draw.mentions) == labels
    assert min(draw.mentions.values()) >= k
    assert draw.docs == sorted(set(draw.docs))
    assert srsly.json_loads(srsly.json_dumps(asdict(draw))) == asdict(draw)


def test_no_label_passes_2k_where_that_can_be(listings):
    # No listing has more than 4 mentions of a label, so at k = 5 it always can.
    for seed in range(5):
        assert max(draw_docs(listings, 5, seed=seed).mentions.values()) <= 10


def test_the_same_seed_gives_the_same_draw_and_another_seed_another(listings):
    state = random.getstate()
    draws = [draw_docs(listings, 5, seed=seed).docs for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({tuple(docs) for docs in draws}) == 3
    assert random.getstate() == state


def test_the_rarest_label_comes_first():
    # Of the two sentences with B only one is needed once C's sentence is in, which
    # has B too; the frequent A comes with them.
    docs = make_docs(["A"], ["A", "B"], ["B", "C"], ["A"], ["A"], [])
    for seed in range(10):
        draw = draw_docs(docs, 1, seed=seed)
        assert 2 in draw.docs
        assert len(draw.docs) == 2
        assert 5 not in draw.docs


def test_a_crowded_sentence_is_taken_only_if_nothing_else_is_left():
    docs = make_docs(["A"] * 9 + ["B"], ["B"], ["A"])
    for seed in range(10):
        assert draw_docs(docs, 1, seed=seed).docs == [1, 2]
        assert draw_docs(docs, 2, seed=seed).docs[0] == 0


def test_k_out_of_reach_is_an_error_or_is_written_down():
    docs = make_docs(["A", "B"], ["A"], ["A"])
    with pytest.raises(NunerError) as caught:
        draw_docs(docs, 3)
    assert caught.value.code == "N611"
    assert "B has 1" in str(caught.value) and "A has" not in str(caught.value)
    with pytest.warns(UserWarning, match="W603.*B has 1"):
        draw = draw_docs(docs, 3, allow_fewer=True)
    assert draw.mentions == {"A": 3, "B": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_docs(docs, 1, allow_fewer=True).mentions["B"] == 1
    with pytest.raises(NunerError) as caught:
        draw_docs(docs, 0)
    assert caught.value.code == "N612"


def test_real_set(data):
    docs = read_docs(data / "mit-movie" / "test.conll")
    draw = draw_docs(docs, 16, seed=3)
    assert min(draw.mentions.values()) >= 16
    assert sum(draw.mentions.values()) < 2 * 16 * len(draw.mentions)
