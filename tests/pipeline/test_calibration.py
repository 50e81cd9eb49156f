import numpy as np
import pytest

from spacy_nuner.pipeline.calibration import (
    LabelledLogits,
    find_thresholds,
    fit_temperature,
    get_reliability,
    span_f1,
)
from spacy_nuner.pipeline.decoding import find_spans, get_probabilities


def make_data(*, temperature=1.0, shift=0.0, seed=0, n_tokens=4000, n_concepts=3):
    """Tokens whose labels follow the logits, and a component that distorts them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, size=(n_tokens, n_concepts))
    p = get_probabilities(logits, exclusive=False)
    targets = (rng.random(p.shape) < p).astype("f")
    lengths = [20] * (n_tokens // 20)
    found = find_spans(targets > 0.5, targets, lengths)
    spans = {tuple(map(int, row)) for row in zip(*found[:4], strict=True)}
    return LabelledLogits(
        logits * temperature + shift, targets, np.ones(n_tokens, bool), lengths, spans
    )


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_found_again(temperature):
    found = fit_temperature(make_data(temperature=temperature), exclusive=False)
    assert found == pytest.approx(temperature, rel=0.1)


def test_calibrated_probabilities_are_right_as_often_as_they_say():
    data = make_data(temperature=4.0)

    def distance(temperature):
        p = get_probabilities(data.logits / temperature, exclusive=False)
        rows = get_reliability(data, p)
        return sum(abs(p - share) * count for p, share, count in rows)

    assert distance(fit_temperature(data, exclusive=False)) < distance(1.0) / 3


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_threshold_has_the_best_f1_of_a_fine_grid(shift):
    data = make_data(shift=shift)
    p = get_probabilities(data.logits, exclusive=False)
    best, each = find_thresholds(data, p)
    scores = {
        t: span_f1(data, temperature=1.0, thresholds=t, exclusive=False)
        for t in [best, *np.linspace(0.02, 0.98, 49)]
    }
    assert scores[best] >= max(scores.values()) - 0.01
    single = span_f1(data, temperature=1.0, thresholds=each, exclusive=False)
    assert single >= scores[best]


def test_rare_concepts_keep_the_common_threshold():
    data = make_data()
    few = {span for span in data.spans if span[3] != 2}
    data = LabelledLogits(data.logits, data.targets, data.known, data.lengths, few)
    p = get_probabilities(data.logits, exclusive=False)
    best, each = find_thresholds(data, p)
    assert each[2] == best


def test_temperature_of_exclusive_concepts():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, size=(4000, 2))
    p = get_probabilities(logits, exclusive=True)
    draw = rng.random(len(p))
    targets = np.zeros_like(p)
    targets[draw < p[:, 0], 0] = 1
    targets[(draw >= p[:, 0]) & (draw < p.sum(axis=1)), 1] = 1
    data = LabelledLogits(logits * 2, targets, np.ones(4000, bool), [4000], {(0,) * 4})
    assert fit_temperature(data, exclusive=True) == pytest.approx(2.0, rel=0.1)


def test_no_temperature_for_data_without_a_mistake():
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < 0.3).astype("f")
    spans = {(0, 0, 1, 0)}
    data = LabelledLogits(4 * targets - 2, targets, np.ones(200, bool), [200], spans)
    assert fit_temperature(data, exclusive=False) is None


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_threshold_where_most_tokens_belong_to_something(share):
    rng = np.random.default_rng(0)
    targets = np.zeros((2000, 4), dtype="f")
    inside = rng.random(2000) < share
    targets[inside, rng.integers(4, size=inside.sum())] = 1
    lengths = [10] * 200
    found = find_spans(targets > 0.5, targets, lengths)
    spans = {tuple(map(int, row)) for row in zip(*found[:4], strict=True)}
    logits = 6 * targets - 3 + rng.normal(0, 0.5, targets.shape)
    data = LabelledLogits(logits, targets, np.ones(2000, bool), lengths, spans)
    best, _ = find_thresholds(data, get_probabilities(logits, exclusive=False))
    assert span_f1(data, temperature=1.0, thresholds=best, exclusive=False) > 0.99
