"""Results by type, and confusion tables."""

from dataclasses import replace

import pytest

from spacy_nuner.fewshot.breakdown import (
    best_table,
    choose_cells,
    confused_table,
    confusion_table,
    find_confused,
    list_types,
    sum_confusion,
    types_table,
)
from spacy_nuner.fewshot.overlap import Overlap
from spacy_nuner.fewshot.results import Curves

from .test_report import make_cell

CONFUSION = {
    "city": {"city": 6, "person": 3, "O": 1},
    "person": {"person": 8, "city": 2},
    "O": {"O": 20, "city": 4},
}


def make_scored(backbone, k=4, *, layers="last", **scores):
    cell = make_cell("a", backbone, k, 0, 0.5)
    return replace(cell, layers=layers, scores={**cell.scores, **scores})


def test_which_cells_are_broken_down():
    cells = [
        make_scored("base", k, layers=layers)
        for k in (0, 1, 2, 16)
        for layers in ("both", "last")
    ]
    # 2 and 8 are as far from 4; 16 is farther.
    chosen = choose_cells(cells, "base")
    assert {(cell.k, cell.layers) for cell in chosen} == {(2, "both")}
    assert choose_cells(cells[:2], "base") == []
    other = [make_scored("base", 1, layers="mentions-linear-tuned")]
    assert choose_cells(other, "base") == other


def test_what_the_base_and_most_backbones_have_is_broken_down():
    def choose(found):
        cells = [
            make_scored(backbone, layers=layers, ents_f=f)
            for layers, measured in found.items()
            for backbone, f in measured.items()
        ]
        return choose_cells(cells, "base")[0].layers

    asked = {"k~2k-spacy-llm": {"some-llm": 0.9, "other-llm": 0.9, "third": 0.9}}
    heads = {
        "k~2k-linear-tuned": {"base": 0.2, "nuner": 0.3},
        "k~2k-two-layer-tuned": {"base": 0.4, "nuner": None},
        "k~2k-ner-tuned": {"base": 0.8},
    }
    # The base counts most, then how many others there are, then F1.
    assert choose({**asked, **heads}) == "k~2k-linear-tuned"
    heads["k~2k-two-layer-tuned"]["nuner"] = 0.3
    assert choose({**asked, **heads}) == "k~2k-two-layer-tuned"
    assert choose({"both": {"nuner": 0.9}, "last": {"base": 0.1}}) == "last"
    assert choose({"both": {"base": 0.1}, "last": {"base": 0.2}}) == "both"


def test_a_whole_set_is_broken_down_where_there_is_nothing_else():
    whole = make_scored("base", "all")
    assert choose_cells([whole, make_scored("base", 64)], "base")[0].k == 64
    assert choose_cells([whole], "base") == [whole]


def test_types_that_gain_most_come_first():
    cells = [
        make_scored("base", token_f_per_label={"city": 0.5, "person": 0.5, "x": 0.1}),
        make_scored("nuner", token_f_per_label={"city": 0.4, "person": 0.75}),
        # Of another version, or of another hand.
        make_scored("other"),
        make_scored("other", token_f_per_label="?"),
    ]
    header, rows = types_table(list_types(cells), ["base", "nuner"], {}, base="base")
    assert header == ["type", "data set", "base", "nuner", "gain of nuner"]
    assert rows == [
        ["person", "a", "50.0", "75.0", "+25.0"],
        ["city", "a", "50.0", "40.0", "-10.0"],
        ["x", "a", "10.0", "–", "–"],
    ]
    overlap = {"a": {"city": Overlap("city", False, True, "city", 1.0)}}
    header, rows = types_table(
        list_types(cells), ["base", "nuner"], overlap, base="base"
    )
    assert header[2] == "in the corpus"
    assert [row[2] for row in rows] == ["–", "case-folded", "–"]


def test_a_type_is_the_mean_over_draws():
    cells = [
        replace(make_scored("base", token_f_per_label={"city": f}), draw=draw)
        for draw, f in enumerate((0.2, 0.4))
    ]
    (row,) = list_types(cells)
    assert row.scores == {"base": pytest.approx(0.3)}
    assert row.gain("base", "nuner") is None


def test_confusions_are_added_up_and_shown_as_shares():
    cells = [make_scored("base", confusion=CONFUSION) for _ in range(2)]
    cells += [make_scored("nuner"), make_scored("nuner", confusion={"city": 3})]
    tables = sum_confusion(cells)
    assert set(tables) == {"base"}
    assert tables["base"]["city"] == {"city": 12, "person": 6, "O": 2}
    header, rows = confusion_table(tables["base"])
    assert header == ["label", "tokens", "city", "person", "O"]
    assert rows[0] == ["city", "20", "60.0", "30.0", "10.0"]
    assert rows[1] == ["person", "20", "20.0", "80.0", "0.0"]
    assert rows[2][0] == "O"


def test_pairs_that_are_confused_most():
    assert find_confused(CONFUSION) == [("city", "person", 5)]
    assert find_confused({"city": {"city": 5, "O": 5}}) == []
    tables = {"base": CONFUSION, "nuner": {"person": {"city": 1, "film": 2}}}
    header, rows = confused_table(tables, ["base", "nuner"])
    assert header == ["label", "label", "base", "nuner"]
    assert rows == [["city", "person", "5", "1"], ["film", "person", "0", "2"]]


def test_the_best_at_each_number_of_examples():
    values = {("linear", 1): 0.5, ("linear", 4): 0.5, ("ner", 1): 0.2, ("ner", 4): 0.8}
    cells = [
        replace(make_cell("a", "base", k, 0, f), layers=layers)
        for (layers, k), f in values.items()
    ]
    header, rows = best_table(Curves(cells, "macro_token_f"), ["base", "nuner"])
    assert header == ["data set", "backbone", "k=1", "k=4"]
    assert rows == [
        ["a", "base", "50.0 linear", "80.0 ner"],
        ["a", "nuner", "–", "–"],
    ]
