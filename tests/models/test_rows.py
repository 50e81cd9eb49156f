import numpy as np
import pytest
from thinc.api import Linear, NumpyOps, with_array

from spacy_nuner.models.rows import SplitRows, join_rows, with_rows

OPS = NumpyOps()
COUNTS = [2, 0, 5, 1]


@pytest.fixture
def whole():
    return np.random.default_rng(0).normal(size=(sum(COUNTS), 4)).astype("f")


@pytest.fixture
def layers(whole):
    """The layer, and thinc's own with the same weights."""
    linear = Linear(nO=3, nI=4)
    ours, theirs = with_rows(linear), with_array(linear)
    ours.initialize(X=[whole], Y=[OPS.alloc2f(len(whole), 3)])
    linear.set_param("b", np.arange(3, dtype="f"))
    return ours, theirs


def test_rows_are_split_and_joined_without_copying(whole):
    rows = SplitRows(whole, COUNTS)
    assert [len(array) for array in rows] == COUNTS
    assert np.array_equal(np.concatenate(rows), whole)
    assert join_rows(OPS, rows, 4) is whole


def test_what_was_chosen_from_them_is_joined_as_chosen(whole):
    rows = SplitRows(whole, COUNTS)
    assert np.array_equal(join_rows(OPS, rows[2:], 4), whole[2:])
    assert np.array_equal(join_rows(OPS, [rows[3], rows[0]], 4), whole[[7, 0, 1]])
    assert join_rows(OPS, [OPS.alloc2f(0, 0)], 4).shape == (0, 4)
    assert join_rows(OPS, [], 4).shape == (0, 4)


@pytest.mark.parametrize("form", [SplitRows, lambda whole, counts: [whole]])
def test_prediction_is_that_of_with_array(layers, whole, form):
    ours, theirs = layers
    rows = form(whole, COUNTS)
    found, expected = ours.predict(rows), theirs.predict(list(rows))
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert np.array_equal(one, two)


def test_prediction_hands_on_one_array(layers, whole):
    found = layers[0].predict(SplitRows(whole, COUNTS))
    assert isinstance(found, SplitRows)
    assert np.shares_memory(found[0], found[2].base)


def test_gradient_is_that_of_with_array(layers, whole):
    rows = SplitRows(whole, COUNTS)
    d_out = [np.ones((n, 3), dtype="f") for n in COUNTS]
    gradients = []
    for layer in layers:
        _, backprop = layer.begin_update(rows)
        gradients.append(backprop(d_out))
    for one, two in zip(*gradients, strict=True):
        assert np.array_equal(one, two)
