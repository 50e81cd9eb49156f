import copy
import pickle

import numpy as np
import pytest
from thinc.api import Linear, NumpyOps, with_array

from spacy_nuner.models.rows import SplitRows, with_rows

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


def test_rows_are_split_without_copying(whole):
    rows = SplitRows(whole, COUNTS)
    assert [len(array) for array in rows] == COUNTS
    assert np.array_equal(np.concatenate(rows), whole)
    assert rows.whole is whole


def test_other_arrays_are_not_forgotten(layers, whole):
    rows = SplitRows(whole, COUNTS)
    rows[0] = rows[0] + 1
    assert rows.whole is None
    found = layers[0].predict(rows)
    assert np.array_equal(found[0], layers[1].predict(rows)[0])
    rows = SplitRows(whole, COUNTS)
    rows.pop()
    assert rows.whole is None
    assert type(rows[1:]) is list


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_is_a_list(whole, copied):
    again = copied(SplitRows(whole, COUNTS))
    assert type(again) is list
    assert all(map(np.array_equal, again, SplitRows(whole, COUNTS)))


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
    assert all(np.shares_memory(found.whole, array) for array in found if len(array))


def test_gradient_is_that_of_with_array(layers, whole):
    rows = SplitRows(whole, COUNTS)
    d_out = [np.ones((n, 3), dtype="f") for n in COUNTS]
    gradients = []
    for layer in layers:
        _, backprop = layer.begin_update(rows)
        gradients.append(backprop(d_out))
    for one, two in zip(*gradients, strict=True):
        assert np.array_equal(one, two)
