"""Rows of text out of files of every kind: none is lost without being counted."""

import itertools
import json
import struct

import pyarrow as pa
import pytest
from pyarrow import parquet

from spacy_nuner.errors import NunerError
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


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_a_table_is_no_prose(tmp_path, name):
    (tmp_path / name).write_text("id,text\n1,Ana left.\n")
    with pytest.raises(NunerError, match="N201.*it is a table of columns"):
        read(tmp_path / name)


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


def make_strings(values, kind):
    """A column of strings that were not checked, as other writers make them."""
    if kind == "dictionary":
        indices = pa.array(range(len(values)), pa.int32())
        return pa.DictionaryArray.from_arrays(indices, make_strings(values, "string"))
    kinds = {"string": pa.binary(), "large_string": pa.large_binary()}
    return pa.array(values, kinds[kind]).view(getattr(pa, kind)())


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("parquet", "dictionary"),
        *itertools.product(["parquet", "arrow", "stream"], ["string", "large_string"]),
    ],
)
def test_strings_of_a_table_that_are_not_utf8(tmp_path, kind, suffix):
    texts = [b"Porto", b"caf\xe9", b"K\xc3\xb6ln", b"x"]
    table = pa.table(
        {
            "text": make_strings(texts, kind),
            "id": make_strings([b"a", b"b", b"\xff", b"d"], "string"),
        }
    )
    path = tmp_path / f"a.{suffix}".replace("stream", "arrow")
    if suffix == "parquet":
        parquet.write_table(table, path, store_schema=kind != "string")
    else:
        new = pa.ipc.new_file if suffix == "arrow" else pa.ipc.new_stream
        with new(path, table.schema) as writer:
            writer.write_table(table)
    rows = read(path)
    assert [row.text for row in rows] == ["Porto", "", "Köln", "x"]
    assert reasons(rows) == ["", "not UTF-8", "", ""]
    assert rows[1].found == "caf\udce9"
    assert [row.fields["id"] for row in rows] == ["a", "b", "\udcff", "d"]


def test_offsets_that_lead_outside_are_still_an_error(tmp_path):
    path = tmp_path / "a.arrow"
    table = pa.table({"text": make_strings([b"\xff" * 77], "string")})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert reasons(read(path)) == ["not UTF-8"]
    offsets = struct.pack("<ii", 0, 77)
    # The same numbers before it are the place of a buffer.
    before, after = path.read_bytes().rsplit(offsets, 1)
    path.write_bytes(before + struct.pack("<ii", 0, 2**31 - 1) + after)
    with pytest.raises(NunerError, match="N640"):
        read(path)


def test_files_of_the_users_that_are_called_like_ours_are_read(tmp_path):
    names = [
        "_quarantine.jsonl",
        "_report.json",
        "annual_report.json",
        "incident-report.json",
        "my.quarantine.jsonl",
        "quarantine.jsonl",
        "report.json",
        "sub/report.json",
    ]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_text('{"text": "a"}\n')
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    assert [row.file for row in read(tmp_path)] == sorted([*names, "a.jsonl"])
    # Not where a list of a command says that they are its own.
    made = ["_quarantine.jsonl", "_report.json", "a.jsonl", "annual_report.json"]
    files = json.dumps({"command": "apply", "files": dict.fromkeys(made, 14)})
    (tmp_path / ".spacy_nuner.json").write_text(files)
    files = json.dumps({"command": "import", "files": {"my.quarantine.jsonl": 14}})
    (tmp_path / ".my.spacy.spacy_nuner.json").write_text(files)
    assert [row.file for row in read(tmp_path)] == [
        "a.jsonl",
        "annual_report.json",
        "incident-report.json",
        "quarantine.jsonl",
        "report.json",
        "sub/report.json",
    ]


def test_lines_of_text_are_as_they_stand_in_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"  Ana left \t\r\n\r\n \nAna\x0c\n\xc2\xa0b")
    assert [(row.number, row.text) for row in read(path)] == [
        (1, "  Ana left \t"),
        (4, "Ana\x0c"),
        (5, "\xa0b"),
    ]
    # Of paragraphs the number is that of the last line with text.
    path.write_bytes(b"\n  Ana\n left \n \n\nb\n\n\n")
    rows = read(path, unit="paragraph")
    assert [(row.number, row.text) for row in rows] == [(3, "Ana left"), (6, "b")]
    # A line that can't be read ends a paragraph.
    path.write_bytes(b"Ana\nleft\nfor \xff\nPorto\n\nb\n")
    rows = [(row.number, row.text, row.problem) for row in read(path, unit="paragraph")]
    assert [row[:2] for row in rows] == [
        (2, "Ana left"),
        (3, ""),
        (4, "Porto"),
        (6, "b"),
    ]
    assert [bool(row[2]) for row in rows] == [False, True, False, False]
