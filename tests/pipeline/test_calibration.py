"""Temperatures and thresholds of made-up logits whose truth is known."""

import numpy as np
import pytest

from spacy_nuner.pipeline.calibration import (
    LabelledLogits,
    find_thresholds,
    fit_temperature,
    get_reliability,
)
from spacy_nuner.pipeline.decoding import decode, get_probabilities


def make_logits(logits, targets, lengths, *, exclusive=False, known=None):
    """Data whose true spans are what the targets say."""
    spaces = np.zeros(len(logits), bool)
    sure = np.where(targets > 0.5, 9.0, -9.0)
    thresholds = None if exclusive else np.full(targets.shape[1], 0.5)
    found = decode(sure, lengths, spaces, thresholds=thresholds)
    return LabelledLogits(
        logits=logits,
        targets=targets,
        known=np.ones(len(logits), bool) if known is None else known,
        spaces=spaces,
        lengths=lengths,
        spans={tuple(map(int, row)) for row in zip(*found[:4], strict=True)},
        exclusive=exclusive,
    )


def make_data(*, temperature=1.0, shift=0.0, seed=0, n_tokens=4000, n_labels=3):
    """Tokens whose labels follow the logits, and a component that distorts them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, size=(n_tokens, n_labels))
    p = get_probabilities(logits, exclusive=False)
    targets = (rng.random(p.shape) < p).astype("f")
    return make_logits(logits * temperature + shift, targets, [20] * (n_tokens // 20))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_found_again(temperature):
    found = fit_temperature(make_data(temperature=temperature))
    assert found == pytest.approx(temperature, rel=0.1)


def test_calibrated_probabilities_are_right_as_often_as_they_say():
    data = make_data(temperature=4.0)

    def distance(temperature):
        rows = get_reliability(data.divide(temperature))
        return sum(abs(p - share) * count for p, share, count in rows)

    assert distance(fit_temperature(data)) < distance(1.0) / 3


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_threshold_has_the_best_f1_of_a_fine_grid(shift):
    data = make_data(shift=shift)
    best, each = find_thresholds(data)
    scores = {
        t: data.get_f1(np.full(3, t)) for t in [best, *np.linspace(0.02, 0.98, 49)]
    }
    assert scores[best] >= max(scores.values()) - 0.01
    assert data.get_f1(each) >= scores[best]


def test_rare_labels_keep_the_common_threshold():
    data = make_data()
    data.spans.difference_update([span for span in data.spans if span[3] == 2])
    best, each = find_thresholds(data)
    assert each[2] == best


def test_temperature_of_exclusive_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, size=(4000, 2))
    p = get_probabilities(logits, exclusive=True)
    draw = rng.random(len(p))
    targets = np.zeros_like(p)
    targets[draw < p[:, 0], 0] = 1
    targets[(draw >= p[:, 0]) & (draw < p.sum(axis=1)), 1] = 1
    data = make_logits(logits * 2, targets, [4000], exclusive=True)
    assert fit_temperature(data) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("exclusive", [False, True])
def test_no_temperature_for_data_without_a_mistake(exclusive):
    rng = np.random.default_rng(0)
    targets = np.zeros((200, 3), "f")
    targets[np.arange(200), rng.integers(3, size=200)] = 1
    data = make_logits(4 * targets - 2, targets, [200], exclusive=exclusive)
    assert fit_temperature(data) is None


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_threshold_where_most_tokens_belong_to_something(share):
    rng = np.random.default_rng(0)
    targets = np.zeros((2000, 4), dtype="f")
    inside = rng.random(2000) < share
    targets[inside, rng.integers(4, size=inside.sum())] = 1
    logits = 6 * targets - 3 + rng.normal(0, 0.5, targets.shape)
    data = make_logits(logits, targets, [10] * 200)
    best, _ = find_thresholds(data)
    assert data.get_f1(np.full(4, best)) > 0.99


def test_spans_on_tokens_without_annotation_count_for_nothing():
    targets = np.asarray([[1, 0, 0, 0, 1]], "f").T
    logits = np.asarray([[5.0, -5.0, 5.0, -5.0, 5.0]]).T
    half = np.full(1, 0.5)
    assert make_logits(logits, targets, [5]).get_f1(half) == pytest.approx(0.8)
    known = np.asarray([True, True, False, True, True])
    assert make_logits(logits, targets, [5], known=known).get_f1(half) == 1.0
