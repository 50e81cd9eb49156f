"""Objects of one long JSON list, whole and broken."""

import json
from pathlib import Path

import pytest

from spacy_nuner.readers import json_list as jsonlist
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import MAX_ROW, find_sources


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Every object is cut by the end of some block."""
    monkeypatch.setattr(jsonlist, "BLOCK", 7)


def rows(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (source,) = find_sources([path])
    assert source.format == "json"
    return list(read_rows(source))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.json"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_objects_of_a_list(path, indent, mark):
    values = [{"text": f"café 🎉 \\ ] }} {n}", "n": [n, {}]} for n in range(20)]
    text = mark + json.dumps(values, indent=indent, ensure_ascii=False)
    found = rows(path, text)
    assert [row.content for row in found] == [[value] for value in values]
    assert [row.line for row in found] == list(range(1, 21))
    assert not any(row.problem for row in found)
    sizes = [len(json.dumps(one, indent=indent, ensure_ascii=False)) for one in values]
    if indent is None:
        # Two characters of each take three bytes more and one.
        assert [row.size for row in found] == [size + 4 for size in sizes]


@pytest.mark.parametrize("text", ["[]", " [ ]\n"])
def test_an_empty_list(path, text):
    assert rows(path, text) == []


@pytest.mark.parametrize(
    "end",
    [
        "",  # cut between two objects
        ",",
        ', {"n": ',
        ', {"n": "x',
        " {}]",
        ", }]",
        ", " + "[" * 100_000,
    ],
)
def test_a_list_that_breaks_off(path, end):
    found = rows(path, '[{"n": 1}, {"n": 2}' + end)
    assert [row.content for row in found[:2]] == [[{"n": 1}], [{"n": 2}]]
    (bad,) = found[2:]
    assert bad.problem.kind == "malformed JSON"
    assert bad.problem.detail.endswith("nothing behind this was read")
    assert bad.line == 3


def test_bytes_that_are_not_utf8(path):
    (row,) = rows(path, b'[{"text": "caf\xe9"}]')
    assert (row.problem.kind, row.problem.detail) == ("not UTF-8", "byte 0xe9 at 13")


def test_an_object_that_is_too_long_costs_itself_alone(path, monkeypatch):
    monkeypatch.setattr(jsonlist, "BLOCK", 1 << 16)
    values = [{"n": 1}, {"text": "x" * MAX_ROW}, {"n": 3}]
    found = rows(path, json.dumps(values))
    assert [row.problem and row.problem.kind for row in found] == [
        None,
        "row too long",
        None,
    ]
    assert len(found[1].content[0]) < 1000


def conversation(text, *turns):
    return {"conversations": [{"value": text}, *({"value": turn} for turn in turns)]}


def test_conversations_about_one_text_are_one_row(path):
    values = [
        conversation("a", 1),
        conversation("a", 2),
        conversation("b", 3),
        {"conversations": []},
        {"conversations": []},
        conversation("b", 4),
    ]
    found = rows(path, json.dumps(values))
    assert [len(row.content) for row in found] == [2, 1, 1, 1, 1]
    assert [row.line for row in found] == [1, 3, 4, 5, 6]


def test_lists_in_a_folder_are_taken_and_reports_are_not(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff\n [{"text": "a", "entities": []}]')
    (tmp_path / "b.jsonl").write_text('{"text": "b", "entities": []}\n')
    (tmp_path / "report.json").write_text('{"read": 2}')
    found = {
        Path(source.name).name: source.format for source in find_sources([tmp_path])
    }
    assert found == {"a.json": "json", "b.jsonl": "jsonl"}
