"""F1 of episodes against seqeval and spaCy, and how sure it is."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_nuner.fewshot.entity_counts import count_matches, get_f
from spacy_nuner.fewshot.episode_scores import (
    EpisodeScore,
    compare_episodes,
    score_episodes,
)
from spacy_nuner.fewshot.episodes import find_entities

TYPES = ["city", "person"]
tags = st.sampled_from(["O", *TYPES])
pairs = st.lists(st.lists(st.tuples(tags, tags), min_size=1), min_size=1, max_size=6)


def make_score(seed, counts, spans=(0, 0, 0)):
    return EpisodeScore(seed, 1, 1, counts, spans, (0, 0), 0.0)


def score(sentences, seed=0):
    """One episode of sentences of (predicted, gold) tags."""
    both = [
        [find_entities(tag[side] for tag in one) for one in sentences]
        for side in (0, 1)
    ]
    counts = {
        name: count_matches(
            *([[e for e in of_one if e[2] == name] for of_one in s] for s in both)
        )
        for name in TYPES
    }
    return make_score(seed, counts)


@given(pairs)
@settings(max_examples=40)
def test_scores_are_those_of_seqeval_and_spacy(sentences):
    # Two episodes: counts are summed.
    half = len(sentences) // 2
    parts = [part for part in (sentences[:half], sentences[half:]) if part]
    found = score_episodes([score(part, i) for i, part in enumerate(parts)])
    predicted, gold = (
        [["O" if t[side] == "O" else f"I-{t[side]}" for t in one] for one in sentences]
        for side in (0, 1)
    )
    expected = precision_recall_fscore_support(
        gold, predicted, average="micro", zero_division=0
    )[:3]
    keys = ("ents_p", "ents_r", "ents_f")
    np.testing.assert_allclose([found[key] for key in keys], expected, atol=1e-9)
    vocab = spacy.blank("xx").vocab
    examples = []
    for one in sentences:
        docs = [Doc(vocab, words=["w"] * len(one)) for _ in range(2)]
        for side, doc in enumerate(docs):
            doc.ents = [Span(doc, *e) for e in find_entities(t[side] for t in one)]
        examples.append(Example(*docs))
    own = {key: value or 0 for key, value in get_ner_prf(examples).items()}
    np.testing.assert_allclose([found[key] for key in keys], [own[key] for key in keys])
    for name, prf in (own["ents_per_type"] or {}).items():
        assert found["ents_per_type"][name] == pytest.approx(prf)


def test_counts_do_not_count_what_is_found_twice():
    assert count_matches([[(0, 1), (2, 3)], []], [[(0, 1)], [(4, 5)]]) == (1, 2, 2)
    assert get_f((0, 0, 0)) == 0 and get_f((2, 2, 2)) == 1


def test_the_interval_is_that_of_a_bootstrap_over_episodes():
    rng = np.random.default_rng(3)
    gold = rng.integers(2, 9, 60)
    right = rng.integers(0, gold + 1)
    episodes = [
        make_score(i, {"city": (int(r), int(g), int(g))})
        for i, (r, g) in enumerate(zip(right, gold, strict=True))
    ]
    low, high = score_episodes(episodes)["ents_f_interval"]
    # Literally: draw as many episodes with replacement, take F1 of their sums.
    values = []
    for _ in range(2000):
        i = rng.integers(0, 60, 60)
        values.append(right[i].sum() / gold[i].sum())
    np.testing.assert_allclose(
        [low, high], np.percentile(values, [2.5, 97.5]), atol=0.02
    )
    # Episodes that are all alike leave no doubt; one alone is no evidence of any.
    same = score_episodes([make_score(i, {"city": (1, 2, 2)}) for i in range(5)])
    assert same["ents_f_interval"] == pytest.approx([0.5, 0.5])
    assert score_episodes(episodes) == score_episodes(episodes)


def test_models_are_compared_on_the_episodes_that_both_saw():
    rng = np.random.default_rng(0)
    base = [
        make_score(i, {"city": (int(r), 10, 10)})
        for i, r in enumerate(rng.integers(0, 9, 40))
    ]
    # One better in each episode, however much the episodes differ.
    better = [
        make_score(one.seed, {"city": (one.counts["city"][0] + 1, 10, 10)})
        for one in base[:30]
    ]
    gain, interval = compare_episodes(better, base)
    assert gain == pytest.approx(0.1) and interval == pytest.approx([0.1, 0.1])
    assert compare_episodes([make_score(99, {"city": (1, 1, 1)})], base) is None
