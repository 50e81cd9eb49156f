"""Published figures, as the model cards and the paper have them."""

from spacy_nuner.fewshot.published import MARK, published_table, read_published


def test_curves_of_the_model_cards():
    curves = {curve.system: curve for curve in read_published("probe", "macro_token_f")}
    assert curves["RoBERTa-base"].points == {1: 0.245, 4: 0.447, 16: 0.581, 64: 0.654}
    assert curves["NuNER v2.0"].points[64] == 0.72
    assert all("OntoNotes" in curve.data for curve in curves.values())
    assert read_published("probe", "ents_f") == []


def test_each_row_is_marked():
    header, rows = published_table(read_published("k~2k", "ents_f"))
    assert header == ["system", "data", "source", "k=8", "k=64"]
    assert rows[0][0] == f"UniversalNER-7B ({MARK})"
    assert rows[0][3:] == ["57.9", "71.0"]
    assert all(MARK in row[0] and row[1] and row[2] for row in rows)
