"""Which candidates are chosen, and which are kept of a stream."""

import random
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_nuner.labelling import choice
from spacy_nuner.labelling.choice import (
    Candidate,
    Coverage,
    Labelled,
    Spans,
    choose,
    get_promise,
    normalise_text,
)
from spacy_nuner.labelling.pool import Pool
from spacy_nuner.labelling.strategies import STRATEGIES, Strategy
from spacy_nuner.labelling.suggest import get_pool_size
from spacy_nuner.labelling.uncertainty import Judgement, normalise_rows

WIDTH = 4


def make(text, *spans):
    """A candidate with possible spans: label, probability, axis of its vector."""
    vectors = np.zeros((len(spans), WIDTH))
    for row, (_, _, axis) in enumerate(spans):
        vectors[row, axis] = 1.0
    judgement = Judgement(
        words=text.split(),
        spaces=[True] * len(text.split()),
        marks=[],
        labels=[label for label, _, _ in spans],
        starts=[0] * len(spans),
        ends=[1] * len(spans),
        scores=np.asarray([score for _, score, _ in spans], dtype="f4"),
        vectors=normalise_rows(vectors),
    )
    return Candidate(text, judgement)


def pick(candidates, n=1, by="cover", labelled=None, seed=0):
    rng = np.random.default_rng(seed)
    chosen = choose(candidates, n, by=by, labelled=labelled or Labelled(), rng=rng)
    return [candidates[one.number].text for one in chosen]


def test_what_is_unsure_comes_first():
    sure, unsure = make("a b c", ("X", 0.99, 0)), make("d e f", ("X", 0.5, 1))
    for by in STRATEGIES:
        assert pick([sure, make("g h"), unsure], by=by) == ["d e f"], by


def test_labels_that_are_short_of_examples_come_first():
    candidates = [make("a b c", ("X", 0.5, 0)), make("d e f", ("Y", 0.4, 1))]
    few = Labelled(mentions=Counter(X=9, Y=1))
    assert pick(candidates, by="uncertainty", labelled=few) == ["a b c"]
    assert pick(candidates) == ["a b c"]
    assert pick(candidates, labelled=few) == ["d e f"]


def test_what_is_like_the_chosen_waits():
    twins = [make(f"{x} {x}1a {x}2b", ("X", 0.5, 0)) for x in "abc"]
    other = make("p q r", ("X", 0.45, 1))
    assert pick([*twins, other], 2)[1] == "p q r"
    assert pick([*twins, other], 3, by="uncertainty")[-1] != "p q r"
    # And what is like the labelled.
    seen = Labelled(vectors=normalise_rows(np.eye(WIDTH)[:1]))
    assert pick([*twins, other], labelled=seen) == ["p q r"]


def test_the_typical_comes_before_the_odd():
    # Four sentences are about alike, one is more unsure and like no other.
    typical = [make(f"{x} {x}1a {x}2b", ("X", 0.3, 0)) for x in "abcd"]
    odd = make("p q r", ("X", 0.5, 1), ("X", 0.5, 1))
    assert pick([odd, *typical]) != ["p q r"]
    assert pick([odd, *typical], by="uncertainty") == ["p q r"]


def test_spans_that_are_all_the_same_come_before_nothing():
    nothing = [make(f"{x} {x}1a {x}2b") for x in "abcd"]
    same = make("p q r", ("X", 0.3, 0))
    assert pick([*nothing, same]) == ["p q r"]
    assert pick([*nothing, same, make("no pets", ("X", 0.3, 0))])[0] in (
        "p q r",
        "no pets",
    )


def make_random(rng, count):
    return [
        make_vectors(
            f"word{i} {'x' * i}",
            rng.choice(["X", "Y"], size=size).tolist(),
            rng.uniform(0.1, 1, size=size),
            rng.normal(size=(size, WIDTH)),
        )
        for i, size in enumerate(rng.integers(0, 4, size=count).tolist())
    ]


def make_vectors(text, labels, scores, vectors):
    candidate = make(text)
    judgement = replace(
        candidate.judgement,
        labels=labels,
        starts=[0] * len(labels),
        ends=[1] * len(labels),
        scores=np.asarray(scores, "f4"),
        vectors=normalise_rows(np.asarray(vectors).reshape(-1, WIDTH)),
    )
    return replace(candidate, judgement=judgement)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1, 5, 4096])
def test_each_choice_adds_most_to_what_is_covered(monkeypatch, seed, block):
    """Against the sum as it is written down, computed anew for each candidate."""
    monkeypatch.setattr(choice, "BLOCK", block)
    chance = np.random.default_rng(seed)
    candidates = make_random(chance, 30)
    labelled = Labelled(
        mentions=Counter(X=3), vectors=normalise_rows(chance.normal(size=(3, WIDTH)))
    )
    spans = Spans(candidates)
    weights = STRATEGIES[Strategy.cover]
    p = spans.scores
    worth = weights.uncertainty * np.minimum(p, 1 - p) + weights.presence * p
    few = np.asarray([3 if spans.names[i] == "X" else 0 for i in spans.labels])
    worth = worth / (1 + few) ** weights.balance

    def count(vectors):
        """The sum over all spans: worth times likeness to the nearest of these."""
        return float(worth @ np.maximum(spans.vectors @ vectors.T, 0).max(axis=1))

    chosen: list[int] = []
    rows = spans.centre(labelled.vectors)
    rng = np.random.default_rng(seed)
    for one in choose(candidates, 8, by="cover", labelled=labelled, rng=rng):
        before = count(rows)
        gains = [
            count(
                np.concatenate([rows, spans.vectors[slice(*spans.bounds[i : i + 2])]])
            )
            - before
            for i in range(len(candidates))
            if i not in chosen
        ]
        assert one.score == pytest.approx(max(gains), abs=1e-4)
        own = slice(*spans.bounds[one.number : one.number + 2])
        rows = np.concatenate([rows, spans.vectors[own]])
        assert one.score == pytest.approx(count(rows) - before, abs=1e-4)
        chosen.append(one.number)
    assert len(set(chosen)) == 8


def make_coverage(candidates, *, n_sampled, seed=0):
    spans = Spans(candidates)
    rng = np.random.default_rng(seed)
    values = np.ones(len(spans.scores), "f4")
    return Coverage(spans, values, None, rng, n_sampled=n_sampled)


def test_some_spans_stand_for_many(monkeypatch):
    candidates = make_random(np.random.default_rng(0), 200)
    everything = make_coverage(candidates, n_sampled=200)
    monkeypatch.setattr(choice, "MOST_TARGETS", 150)
    some = make_coverage(candidates, n_sampled=200)
    wanted = [everything.get_gain(i) for i in range(200)]
    found = [some.get_gain(i) for i in range(200)]
    # Estimates of the same sums, which no sentence is favoured in for being drawn.
    assert found != wanted
    np.testing.assert_allclose(np.sum(found), np.sum(wanted), rtol=0.1)
    assert np.corrcoef(found, wanted)[0, 1] > 0.9


def test_a_span_that_was_drawn_is_not_like_many(monkeypatch):
    monkeypatch.setattr(choice, "MOST_TARGETS", 4)
    # 40 spans in all, of which each is unlike those of other sentences.
    vectors = np.eye(40)
    candidates = []
    for i in range(10):
        one = make_vectors(f"{'x' * i} y", ["X"] * 4, [0.5] * 4, np.zeros((4, WIDTH)))
        rows = normalise_rows(vectors[4 * i : 4 * i + 4])
        judgement = replace(one.judgement, vectors=rows)
        candidates.append(replace(one, judgement=judgement))
    coverage = make_coverage(candidates, n_sampled=10)
    for i in range(10):
        assert not coverage.get_shares(i)[1].any()
        # For itself alone.
        assert coverage.get_gain(i) <= 4


@pytest.mark.parametrize("n_sampled", [3, 10])
def test_the_sample_shows_what_is_typical(monkeypatch, n_sampled):
    """The others are there for being long: their spans stand for nothing."""
    monkeypatch.setattr(choice, "MOST_TARGETS", 3)
    sample = [make(f"{'a' * (i + 1)} b", ("X", 0.5, 0)) for i in range(3)]
    rest = [make(f"{'c' * (i + 1)} d", *[("X", 0.5, 1)] * 4) for i in range(7)]
    rng = np.random.default_rng(0)
    (one,) = choose(
        [*sample, *rest],
        1,
        by="cover",
        labelled=Labelled(),
        rng=rng,
        n_sampled=n_sampled,
    )
    assert (one.number < 3) is (n_sampled == 3)


@pytest.mark.parametrize("by", Strategy)
def test_near_duplicates_are_chosen_once(by):
    same = [
        make(f"The flat in Leyton is cheap now and bright {x}", ("X", 0.5, 0))
        for x in "ab"
    ]
    text = "the FLAT in Leyton, is cheap now and bright!"
    done = Labelled(words=[text.split()])
    other = make("Nobody asked for a garden", ("X", 0.4, 1))
    assert len(pick([*same, other], 3, by=by)) == 2
    assert pick([*same, other], 3, by=by, labelled=done) == [other.text]


def test_a_reason_has_words_label_and_examples():
    candidate = make("Leyton is cheap", ("AREA", 0.5, 0))
    rng = np.random.default_rng(0)
    labelled = Labelled(mentions=Counter(AREA=3))
    kin = [make(f"{x} in {x}", ("AREA", 0.2, 0)) for x in "abc"]
    others = [make("no pets", ("TERM", 0.1, 1)), make("no cat", ("TERM", 0.1, 2))]
    (first,) = choose(
        [candidate, *kin, *others], 1, by="cover", labelled=labelled, rng=rng
    )
    assert "AREA" in first.reason and "(so far 3, like 3 others)" in first.reason
    (one,) = choose([candidate], 1, by="cover", labelled=labelled, rng=rng)
    assert one.reason == "'L' AREA 0.50 (so far 3, like 0 others)"
    (one,) = choose([make("a b")], 1, by="cover", labelled=labelled, rng=rng)
    assert "nothing found" in one.reason


def test_texts_are_the_same_but_for_case_numbers_and_punctuation():
    assert normalise_text("1,650 pcm!  Now") == normalise_text("900,1 PCM now")
    assert normalise_text("no pets") != normalise_text("pets")
    # Marks belong to their letters, and characters of full width are the same.
    assert normalise_text("की") != normalise_text("का")
    assert normalise_text("ＡＢＣ１２") == normalise_text("abc 3")
    assert pick([], 3) == []


def test_near_duplicates_are_found_without_blanks():
    """Words are those of the pipeline."""
    words = list("莱顿的两居室公寓现在很便宜")
    same = []
    for number in ("一", "二"):
        candidate = make("".join([*words, number]), ("X", 0.5, 0))
        judgement = replace(candidate.judgement, words=[*words, number])
        same.append(replace(candidate, judgement=judgement))
    assert len(pick(same, 2)) == 1
    assert pick(same, 2, labelled=Labelled(words=[words])) == []


def test_a_rejected_near_duplicate_changes_nothing(monkeypatch):
    taken = []
    monkeypatch.setattr(Coverage, "take", lambda self, number: taken.append(number))
    same = [make(f"one two three {'x' * (i % 2)}", ("X", 0.5, 0)) for i in range(20)]
    other = make("p q r", ("Y", 0.4, 1))
    assert len(pick([*same, other], 9)) == 3
    assert len(taken) == 3


def test_the_table_of_vectors_is_in_memory_once():
    many = [make(f"t{i}", *[("X", 0.5, j % WIDTH) for j in range(50)]) for i in (1, 2)]
    wide = np.zeros((50, 4096), np.float16)
    wide[:, 0] = 1
    many = [replace(o, judgement=replace(o.judgement, vectors=wide)) for o in many]
    tracemalloc.start()
    spans = Spans(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * spans.vectors.nbytes


def test_a_pool_has_a_limit():
    assert [get_pool_size(n) for n in (1, 100, 1000, 9000)] == [
        *(2000, 2500, 10_000, 18_000)
    ]


candidates = st.lists(
    st.builds(
        make,
        st.text("abAB ", min_size=1, max_size=6),
        st.tuples(st.sampled_from("XY"), st.floats(0.1, 1), st.integers(0, 3)),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=30)
@given(candidates, st.integers(1, 8), st.randoms(use_true_random=False))
def test_a_pool_is_bounded_and_knows_no_order(found, size, chance):
    weights = STRATEGIES[Strategy.cover]

    def fill(values):
        pool = Pool(size, seed=1)
        for one in values:
            pool.offer(one, get_promise(one.judgement, {}, weights))
            assert len(pool) <= size
        return pool.get_candidates()

    # The same but for blanks, and worth something else.
    kept = [one.text for one in fill(found)]
    chance.shuffle(found)
    assert [one.text for one in fill(found)] == kept
    # Where all have room, none is lost.
    distinct = {normalise_text(one.text) or one.text for one in found}
    assert len(kept) == min(len(distinct), size)
    # Seen twice, kept once.
    assert [one.text for one in fill([*found, *found])] == kept


def test_a_pool_keeps_the_promising_and_a_sample():
    many = [make(f"word{chr(97 + i % 26)}{i} x", ("X", 0.5, 0)) for i in range(400)]
    pool = Pool(40, seed=0)
    for number, one in enumerate(many):
        pool.offer(one, float(number))
    texts = {one.text for one in pool.get_candidates()}
    # Digits do not tell texts apart: 26 are left.
    assert len({normalise_text(text) for text in texts}) == len(texts) == 26
    words = [make(f"{random.Random(i).random()} {'x' * i}") for i in range(200)]
    pool = Pool(40, seed=0)
    for number, one in enumerate(words):
        pool.offer(one, float(number))
    kept = {one.text for one in pool.get_candidates()}
    assert {one.text for one in words[-20:]} <= kept and 20 < len(kept) <= 40
