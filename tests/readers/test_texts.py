"""Rows of text out of files of every kind: none is lost without being counted."""

import json

import pytest

from spacy_nuner.readers import json_list
from spacy_nuner.readers.records import MAX_ROW
from spacy_nuner.readers.texts import read_texts

ROWS = [
    {"id": 1, "text": "Ana left", "paragraphs": []},
    {"id": 2, "text": "Ana left", "paragraphs": ["a", "b"]},
    {"id": 3, "text": "Ana left", "classes": ["X"], "annotations": [None]},
    {"id": 4, "text": "x" * (MAX_ROW + 1)},
    {"id": 5, "conversations": [{"value": "a"}], "text": "one"},
    {"id": 6, "conversations": [{"value": "a"}], "text": "two"},
]


def read(path, **more):
    return list(read_texts(str(path), keep=["id"], **more))


def reasons(rows):
    return [row.problem for row in rows]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_has_the_rows_that_lines_have(tmp_path, indent):
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=indent))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    found = read(tmp_path / "a.json")
    assert [row.fields for row in found] == [{"id": n} for n in range(1, 7)]
    assert [row.number for row in found] == list(range(1, 7))
    expected = read(tmp_path / "a.jsonl")
    assert [row.text for row in found] == [row.text for row in expected]


def test_what_stands_behind_an_error_of_a_list_is_no_row_and_is_told(tmp_path):
    path = tmp_path / "a.json"
    rest = "malformed JSON; nothing behind it in the file was read"
    path.write_text('[{"text": "a"}, {"text" "b"}, {"text": "c"}]')
    assert reasons(read(path)) == ["", rest]
    # Each on a line of its own is found again.
    path.write_text('[\n{"text": "a"},\n{"text" "b"},\n{"text": "c"}\n]')
    assert reasons(read(path)) == ["", "malformed JSON", ""]
    for first in ('[{"text": "a"}]', "[]"):
        path.write_text(first + '\n[{"text": "b"}]\n')
        rows = read(path)
        assert reasons(rows)[-1] == rest and len(rows) == first.count("{") + 1
        assert rows[-1].found.startswith("found '[' behind the list")


def test_bytes_of_a_list_that_are_not_utf8(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text": "caf\xe9"}, {"text": "b"}]')
    assert reasons(read(path)) == ["not UTF-8", ""]


def test_so_many_broken_values_of_a_list_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(json_list, "BLOCK", 16)
    path = tmp_path / "a.json"
    path.write_text("[\n" + ",\n".join(['{"text": "x}'] * 2000))
    # After a thousand of them the rest is taken for broken.
    rows = read(path)
    assert len(rows) == json_list.MAX_BROKEN
    assert "nothing behind it" in rows[-1].problem
    assert "nothing behind it" not in rows[-2].problem


def test_values_that_are_nested_too_deep_to_be_shown(tmp_path):
    path = tmp_path / "a.jsonl"
    # Python reads some of them that it can't write, by how deep its own calls are.
    nested = ["[" * depth + "]" * depth for depth in range(850, 1000)]
    path.write_text("".join(f'{one}\n{{"text": {one}}}\n' for one in nested))
    rows = read(path)
    assert len(rows) == 300 and all(reasons(rows))
