import random
import warnings
from collections import Counter
from dataclasses import asdict

import pytest
import srsly
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.draws import (
    count_words,
    draw_docs,
    draw_groups,
    draw_k_to_2k,
    draw_words,
)


@pytest.fixture(scope="module")
def listings(assets):
    return read_docs(assets / "listings" / "train.jsonl")


def make_docs(*label_lists):
    vocab = Vocab()
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


# A few sentences with a few mentions of up to three labels.
POOLS = st.lists(st.lists(st.sampled_from("ABC"), max_size=4), max_size=14)


@settings(max_examples=80)
@given(POOLS, st.integers(1, 4), st.integers(0, 3))
def test_k_to_2k_keeps_its_bounds_or_says_why_not(labels, k, seed):
    docs = make_docs(*labels)
    total = Counter(label for found in labels for label in found)
    try:
        draw = draw_k_to_2k(docs, k, seed=seed, attempts=20)
    except NunerError as error:
        expected = {True: "N614", False: "N616"}[not total]
        short = total and min(total.values()) < k
        assert error.code == ("N611" if short else expected)
        return
    assert draw.docs == sorted(set(draw.docs))
    assert draw.mentions == dict(count(docs, draw.docs))
    assert set(draw.mentions) == set(total)
    assert all(k <= n <= 2 * k for n in draw.mentions.values())
    assert draw_k_to_2k(docs, k, seed=seed, attempts=20) == draw
    assert srsly.json_loads(srsly.json_dumps(asdict(draw))) == asdict(draw)


@settings(max_examples=50)
@given(POOLS, st.integers(1, 4), st.integers(0, 3))
def test_draws_of_words_reach_k_words(labels, k, seed):
    docs = make_docs(*labels)
    # Each mention of one sentence is of two words.
    if docs and len(docs[0]) > 1:
        docs[0].ents = [Span(docs[0], 0, 2, label="A")]
    total = sum(map(count_words, docs), Counter())
    if not total or min(total.values()) < k:
        with pytest.raises(NunerError, match="N61[14]"):
            draw_words(docs, k, seed=seed)
        return
    draw = draw_words(docs, k, seed=seed)
    assert draw.protocol == "words" and draw == draw_words(docs, k, seed=seed)
    assert draw.docs == sorted(set(draw.docs))
    assert min(draw.words.values()) >= k
    assert draw.words == dict(sum((count_words(docs[i]) for i in draw.docs), Counter()))


def test_k_to_2k_that_cannot_be_met():
    docs = make_docs(["A", "A", "A"], ["B"])
    with pytest.raises(NunerError, match=r"N616.*1 to 2.*A has 0"):
        draw_k_to_2k(docs, 1, attempts=3)
    # By turns, where twice as many is no bound, the sentence is taken.
    assert draw_docs(docs, 1).mentions == {"A": 3, "B": 1}
    with pytest.warns(UserWarning, match="W603"):
        draw = draw_k_to_2k(make_docs(["A"], ["B"], ["B"]), 2, allow_fewer=True)
    assert draw.mentions == {"A": 1, "B": 2}


def test_another_order_is_tried_where_one_leads_nowhere():
    # Whoever takes the second sentence first has no room for the last one.
    docs = make_docs(["A"], ["A", "A"], ["A", "B"])
    draws = [draw_k_to_2k(docs, 1, seed=seed) for seed in range(10)]
    assert {tuple(draw.docs) for draw in draws} <= {(0, 2), (2,)}
    assert max(draw.attempts for draw in draws) > 1


def test_rare_labels_have_their_turn_where_no_order_leads_there():
    # "C" has one sentence, which any other of its "A" leaves no room for.
    docs = make_docs(["A", "A", "B", "C"], *(["A", "B"] for _ in range(60)))
    assert draw_k_to_2k(docs, 1, attempts=1).attempts == 2
    draw = draw_k_to_2k(docs, 1, seed=1, attempts=3)
    assert draw.attempts == 4
    assert draw.docs == [0] and draw.mentions == {"A": 2, "B": 1, "C": 1}


def test_no_sentence_of_few_nerds_rule_is_without_need(listings):
    """Each brings something that was short: at most one of it is over."""
    draw = draw_k_to_2k(listings, 5, seed=2)
    assert all(5 <= n <= 10 for n in draw.mentions.values())
    assert len(draw.docs) < len(listings) / 2


def test_groups_of_draws_and_the_whole_set():
    docs = make_docs(["A"], ["A", "B"], [], ["B", "B"])
    groups = draw_groups(docs, "mentions", [2, "all", 1], draws=3, seed=4)
    assert [[draw.k for draw in group] for group in groups] == [[1] * 3, [2] * 3, [3]]
    assert [draw.seed for draw in groups[0]] == [4, 5, 6]
    (whole,) = groups[-1]
    # Sentences without an entity are part of it.
    assert whole.docs == [0, 1, 2, 3] and whole.is_all
    assert whole.mentions == {"A": 2, "B": 3} == whole.words
    with pytest.raises(NunerError, match=r"N617.*'greedy'.*k~2k"):
        draw_groups(docs, "greedy", [1], draws=1)
