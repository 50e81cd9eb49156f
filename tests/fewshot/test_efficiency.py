"""How many examples the base needs for what the backbone has."""

import math

import pytest

from spacy_nuner.fewshot.efficiency import efficiency_table, find_needed
from spacy_nuner.fewshot.results import Curves

from .test_report import make_cell

CURVE = {1: 0.2, 4: 0.4, 16: 0.5, 64: 0.5}


@pytest.mark.parametrize(
    ("score", "k", "shown", "factor"),
    [
        (0.2, 1, "1", "0.2x"),
        (0.1, 1, "≤ 1", "≤ 0.2x"),
        # Half of the way on the logarithm of k is the geometric mean.
        (0.3, 2, "2", "0.5x"),
        (0.45, 8, "8", "2.0x"),
        (0.5, 16, "16", "4.0x"),
        (0.51, 64, "> 64", "> 16.0x"),
    ],
)
def test_points_between_and_beyond(score, k, shown, factor):
    needed = find_needed(CURVE, score)
    assert math.isclose(needed.k, k)
    assert str(needed) == shown
    assert needed.factor(4) == factor


def test_a_curve_that_falls_is_reached_where_it_first_was():
    assert find_needed({1: 0.2, 4: 0.6, 16: 0.3, 64: 0.7}, 0.4).k == pytest.approx(2)
    assert str(find_needed({4: 0.3}, 0.4)) == "> 4"


def test_the_table_has_the_average_first_and_leaves_k_0_without_a_factor():
    cells = [
        make_cell(dataset, backbone, k, draw, value)
        for dataset in ("a", "b")
        for backbone, values in {
            "base": {1: 0.1, 4: 0.3, 16: 0.5},
            "nuner": {0: 0.2, 1: 0.3, 4: 0.6},
        }.items()
        for k, value in values.items()
        for draw in range(2)
    ]
    header, rows = efficiency_table(
        Curves(cells, "macro_token_f"), "last", "base", "nuner"
    )
    assert header == ["data set", "k=0", "k=1", "k=4", "k=16"]
    assert [row[0] for row in rows] == ["average", "a", "b"]
    for row in rows:
        assert row[1:] == ["2", "4 (4.0x)", "> 16 (> 4.0x)", "–"]


def test_a_whole_set_is_no_number_of_examples():
    cells = [
        make_cell("a", backbone, k, 0, value)
        for backbone, values in {
            "base": {1: 0.1, 4: 0.3, "all": 0.9},
            "nuner": {1: 0.5, 4: 0.6, "all": 0.9},
        }.items()
        for k, value in values.items()
    ]
    header, rows = efficiency_table(
        Curves(cells, "macro_token_f"), "last", "base", "nuner"
    )
    assert header == ["data set", "k=1", "k=4"]
    assert rows == [["a", "> 4 (> 4.0x)", "> 4 (> 1.0x)"]]


def test_nothing_is_said_of_a_base_that_was_not_measured():
    cells = [make_cell("a", "nuner", 1, 0, 0.5)]
    curves = Curves(cells, "macro_token_f")
    assert efficiency_table(curves, "last", "base", "nuner")[1] == []
