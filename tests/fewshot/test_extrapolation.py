"""Intervals of a learning curve, where the truth is known because it was made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacy_nuner.fewshot import extrapolation
from spacy_nuner.fewshot.extrapolation import DRAW_SPREAD, Interval, LearningCurve

SIZES = [4, 8, 16]


def make_validated(rng, *, level=0.0, slope=0.35, docs=20, spread=0.3, repeats=2):
    """Counts of a probe whose logit of F1 is `level` at the largest size.

    Of each text's entities a share is found; what is missed was found as another one.
    """
    entities = rng.poisson(2, size=docs)
    # Texts differ in how hard they are, and one is as hard in each repeat.
    hard = spread * rng.normal(size=docs)
    counts = np.zeros((repeats, len(SIZES), docs, 3), dtype="i8")
    for i, size in enumerate(SIZES):
        logit = level + slope * np.log2(size / SIZES[-1]) + hard
        right = rng.binomial(entities, 1 / (1 + np.exp(-logit)), (repeats, docs))
        both = np.broadcast_to(entities, right.shape)
        counts[:, i] = np.stack([right, both, both], axis=-1)
    groups = np.arange(docs)
    return SimpleNamespace(entities=counts, sizes=SIZES, groups=groups)


def test_intervals_hold_what_they_promise_and_are_no_wider_than_need_be():
    rng = np.random.default_rng(0)
    inside, widths = [], []
    for _ in range(60):
        slope = rng.normal(0.35, 0.15)
        level = rng.normal(0, 0.7)
        curve = LearningCurve(make_validated(rng, level=level, slope=slope))
        found = curve.predict(80)
        # Of 80 texts another draw, which has luck of its own.
        truth = level + slope * np.log2(80 / SIZES[-1]) + rng.normal(0, 0.1)
        inside.append(found.low <= 1 / (1 + np.exp(-truth)) <= found.high)
        widths.append(found.high - found.low)
    assert np.mean(inside) >= 0.85
    assert np.mean(widths) < 0.55


def test_more_texts_to_measure_on_and_a_nearer_target_are_more_certain():
    rng = np.random.default_rng(1)
    few, many = (LearningCurve(make_validated(rng, docs=docs)) for docs in (20, 200))

    def width(interval):
        return interval.high - interval.low

    assert width(many.predict(80)) < 0.7 * width(few.predict(80))
    assert width(few.predict(20)) < width(few.predict(320))
    assert few.predict(20).value < few.predict(40).value < few.predict(320).value
    gain = few.gain(40)
    assert gain.low < gain.value < gain.high
    assert few.gain(20).value == pytest.approx(0)


def test_a_gain_has_the_luck_of_the_texts_that_come(monkeypatch):
    """Draws where a text's luck is known: those at hand stay when others come."""
    monkeypatch.setattr(extrapolation, "BEND", 0)
    texts, more = 20, 40
    curve = LearningCurve(make_validated(np.random.default_rng(5), docs=texts))
    level = 0.3
    curve._level = np.full(1000, level)
    curve._slope = np.zeros(1000)
    # Of one text.
    spread = DRAW_SPREAD / np.sqrt(curve._density)
    luck = spread * np.random.default_rng(6).normal(size=(4000, more))
    now, then = (luck[:, :n].mean(axis=1) for n in (texts, more))

    def sigmoid(logits):
        return 1 / (1 + np.exp(-logits))

    expected = Interval.from_samples(sigmoid(level + then) - sigmoid(level + now))
    found = curve.gain(more)
    width = expected.high - expected.low
    assert found.high - found.low == pytest.approx(width, rel=0.15)


def test_nothing_found_and_everything_found():
    rng = np.random.default_rng(2)
    none, all_ = (
        LearningCurve(make_validated(rng, level=level, slope=0, spread=0))
        for level in (-50, 50)
    )
    for curve, low, high in ((none, 0, 0.35), (all_, 0.65, 1)):
        assert low <= curve.predict(20).low <= curve.predict(80).high <= 1
        assert low <= curve.predict(20).value <= high
    assert none.scores.tolist() == [0, 0, 0] and all_.scores.tolist() == [1, 1, 1]


def test_curves_of_one_set_are_compared_text_by_text():
    rng = np.random.default_rng(3)
    worse = make_validated(rng, docs=40)
    better = SimpleNamespace(**vars(worse))
    # One more entity of each text with one that was wrong.
    right, found, gold = np.moveaxis(worse.entities, -1, 0)
    better.entities = np.stack([np.minimum(right + 1, gold), found, gold], axis=-1)
    lead = LearningCurve(better).compare(LearningCurve(worse))
    assert 0 < lead.low < lead.value < lead.high
    assert LearningCurve(worse).compare(LearningCurve(worse)) == (0, 0, 0)


def test_a_repeat_with_the_same_counts_makes_nothing_surer():
    once = make_validated(np.random.default_rng(5), repeats=1)
    more = SimpleNamespace(**vars(once))
    more.entities = np.repeat(once.entities, 10, axis=0)
    one, ten = (LearningCurve(x).predict(80) for x in (once, more))
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)
    assert ten.value == pytest.approx(one.value, abs=0.02)


def test_one_size_alone_leaves_the_slope_to_what_is_known():
    validated = make_validated(np.random.default_rng(4))
    validated.entities = validated.entities[:, -1:]
    validated.sizes = SIZES[-1:]
    curve = LearningCurve(validated)
    assert curve.predict(16).value < curve.predict(64).value
