import numpy as np
import pytest

from spacy_nuner.pipeline.decoding import (
    JOIN_SHARE,
    decode,
    drop_edge_spaces,
    get_active,
    get_probabilities,
    join_cells,
)


def find_spans(active, probabilities, lengths, *, begins=None):
    rows, labels = np.nonzero(active)
    p = probabilities[rows, labels]
    return join_cells(rows, labels, p, lengths, begins=begins)


def logits_of(probabilities):
    p = np.asarray(probabilities)
    with np.errstate(divide="ignore"):
        return (np.log(p) - np.log1p(-p)).astype("f")


def rows_of(found):
    return [tuple(map(int, row)) for row in zip(*found[:4], strict=True)]


def naive_spans(active, probabilities, lengths):
    found, first = [], 0
    for doc, length in enumerate(lengths):
        for concept in range(active.shape[1]):
            start = None
            for i in range(length + 1):
                on = i < length and active[first + i, concept]
                if on and start is None:
                    start = i
                if not on and start is not None:
                    score = probabilities[first + start : first + i, concept].mean()
                    found.append((doc, start, i, concept, score))
                    start = None
        first += length
    return sorted(found)


@pytest.mark.parametrize("seed", range(20))
def test_spans_are_those_of_the_plain_loop(seed):
    rng = np.random.default_rng(seed)
    lengths = list(rng.integers(0, 6, size=7))
    probabilities = rng.random((sum(lengths), 3))
    active = probabilities > 0.4
    found = find_spans(active, probabilities, lengths)
    expected = naive_spans(active, probabilities, lengths)
    assert [tuple(map(int, row)) for row in zip(*found[:4], strict=True)] == [
        row[:4] for row in expected
    ]
    np.testing.assert_allclose(found.scores, [row[4] for row in expected], rtol=1e-5)


@pytest.mark.parametrize(
    "shape,lengths", [((0, 3), []), ((0, 3), [0, 0]), ((2, 0), [2])]
)
def test_nothing_to_find(shape, lengths):
    found = find_spans(np.zeros(shape, dtype=bool), np.zeros(shape), lengths)
    assert len(found.docs) == 0


def test_probabilities():
    logits = np.asarray([[-800.0, 0.0, 800.0]], dtype="f")
    with np.errstate(all="raise", under="ignore"):
        sigmoid = get_probabilities(logits, exclusive=False)
        softmax = get_probabilities(np.asarray([[0.0, 0.0, 0.0]]), exclusive=True)
        extreme = get_probabilities(logits, exclusive=True)
    np.testing.assert_allclose(sigmoid, [[0.0, 0.5, 1.0]])
    np.testing.assert_allclose(softmax, [[0.25, 0.25, 0.25]])
    np.testing.assert_allclose(extreme, [[0.0, 0.0, 1.0]])
    assert get_probabilities(np.zeros((2, 0)), exclusive=True).shape == (2, 0)


def test_exclusive_takes_the_likeliest_unless_none_is():
    logits = np.asarray([[1.0, 2.0], [-1.0, -2.0], [0.5, 0.4]])
    active = get_active(logits, None)
    assert active.tolist() == [[False, True], [False, False], [True, False]]
    found = decode(logits, [3], np.zeros(3, bool), thresholds=None)
    assert rows_of(found) == [(0, 0, 1, 1), (0, 2, 3, 0)]
    p = get_probabilities(logits, exclusive=True)
    np.testing.assert_allclose(found.scores, [p[0, 1], p[2, 0]], rtol=1e-6)


def test_a_token_joins_a_span_that_is_over_the_threshold_as_a_whole():
    logits = logits_of([[0.4, 0.9, 0.1, 0.4, 0.55, 0.3]]).T
    thresholds = np.asarray([0.5])
    active = get_active(logits, thresholds)
    assert active[:, 0].tolist() == [True, True, False, True, True, False]
    found = decode(logits, [6], np.zeros(6, bool), thresholds=thresholds)
    # The second run of tokens has a mean of 0.475.
    assert rows_of(found) == [(0, 0, 2, 0)]
    np.testing.assert_allclose(found.scores, [0.65])


def test_nothing_is_over_a_threshold_of_one():
    logits = np.full((3, 2), 50.0, dtype="f")
    found = decode(logits, [3], np.zeros(3, bool), thresholds=np.ones(2))
    assert len(found.docs) == 0


def test_weak_spans_go_by_the_threshold_of_their_own_label():
    logits = logits_of([[0.6, 0.6], [0.0, 0.0], [0.7, 0.8]])
    found = decode(logits, [3], np.zeros(3, bool), thresholds=np.asarray([0.65, 0.55]))
    assert rows_of(found) == [(0, 0, 1, 1), (0, 2, 3, 0), (0, 2, 3, 1)]


def test_active_is_where_the_probability_is_over_its_share_of_the_threshold():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=5, size=(50, 7)).astype("f")
    thresholds = np.asarray([0.0, 0.001, 0.3, 0.5, 0.9, 0.999, 1.0])
    active = get_active(logits, thresholds)
    expected = get_probabilities(logits, exclusive=False) > JOIN_SHARE * thresholds
    np.testing.assert_array_equal(active, expected)
    assert active[:, 0].all()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_decoded_are_the_spans_of_the_plain_loop(exclusive, seed):
    rng = np.random.default_rng(seed)
    lengths = list(rng.integers(0, 6, size=7))
    spaces = rng.random(sum(lengths)) < 0.2
    logits = rng.normal(scale=2, size=(sum(lengths), 3)).astype("f")
    thresholds = None if exclusive else np.asarray([0.4, 0.5, 0.7])
    p = get_probabilities(logits, exclusive=exclusive)
    if exclusive:
        active = (p == p.max(axis=1, keepdims=True)) & (logits > 0)
    else:
        active = p > JOIN_SHARE * thresholds
    active = drop_edge_spaces(active, spaces, lengths)
    expected = [
        span
        for span in naive_spans(active, p, lengths)
        if exclusive or span[4] > thresholds[span[3]]
    ]
    found = decode(logits, lengths, spaces, thresholds=thresholds)
    assert rows_of(found) == [row[:4] for row in expected]
    np.testing.assert_allclose(found.scores, [row[4] for row in expected], rtol=1e-5)


def test_white_space_only_inside_a_span():
    # doc 1: "x _ y _", doc 2: "_ z"
    active = np.ones((6, 1), dtype=bool)
    spaces = np.asarray([False, True, False, True, True, False])
    kept = drop_edge_spaces(active, spaces, [4, 2])
    assert kept[:, 0].tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize("seed", range(20))
def test_no_span_begins_or_ends_with_white_space(seed):
    rng = np.random.default_rng(seed)
    lengths = list(rng.integers(0, 9, size=8))
    active = rng.random((sum(lengths), 2)) < 0.7
    spaces = rng.random(sum(lengths)) < 0.4
    kept = drop_edge_spaces(active, spaces, lengths)
    assert np.array_equal(kept[~spaces], active[~spaces])
    first = np.cumsum([0, *lengths])
    begins = rng.random(sum(lengths)) < 0.3
    split = drop_edge_spaces(active, spaces, lengths, begins=begins)
    assert np.array_equal(split[~spaces], active[~spaces])
    for found in (
        find_spans(kept, kept.astype("f"), lengths),
        find_spans(split, split.astype("f"), lengths, begins=begins),
    ):
        for doc, start, end in zip(found.docs, found.starts, found.ends, strict=True):
            assert not spaces[first[doc] + start]
            assert not spaces[first[doc] + end - 1]
    # What stands between two words of a concept stays, however much it is.
    before = find_spans(active, active.astype("f"), lengths)
    for doc, start, end, concept in zip(*before[:4], strict=True):
        rows = first[doc] + np.arange(start, end)
        words = rows[~spaces[rows]]
        if len(words):
            assert kept[words[0] : words[-1] + 1, concept].all()
