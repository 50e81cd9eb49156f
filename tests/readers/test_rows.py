"""Reading files row by row: forms, line numbers, and bytes that are broken."""

import csv
from pathlib import Path

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.readers.records import Source
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import MAX_ROW, find_sources


def rows(path):
    (source,) = find_sources([path])
    return list(read_rows(source))


def told(path):
    return [(row.line, row.problem.kind if row.problem else None) for row in rows(path)]


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.jsonl", "not even JSON", "jsonl"),
        ("a.NDJSON", "", "jsonl"),
        ("a.csv", "input,output\n", "csv"),
        ("a.conll", "Lisbon\tB-city\n", "bio"),
        ("a.iob2", "", "bio"),
        ("answers", '\n\n{"text": "x"}\n', "jsonl"),
        ("a.json", "\ufeff{}\n", "jsonl"),
        ("a.txt", "input,output\nx,y\n", "csv"),
        ("b.txt", '"id","input","output"\n', "csv"),
        ("c.txt", "Lisbon B-city\n", "bio"),
        ("d.tsv", "Lisbon\tO\n", "bio"),
    ],
)
def test_the_form_of_a_file(tmp_path, name, content, form):
    path = tmp_path / name
    path.write_text(content, encoding="utf8")
    assert find_sources([path]) == [Source(str(path), form)]


@pytest.mark.parametrize("content", ["", "# Title\n", "a\tb\tc\n", "x,y\n1,2\n"])
def test_a_form_that_is_not_known(tmp_path, content):
    path = tmp_path / "what.txt"
    path.write_text(content)
    with pytest.raises(NunerError, match="N101.*what.txt"):
        find_sources([path])


def test_a_folder_gives_its_files_in_order(tmp_path):
    for name in ("b.jsonl", "a.csv", "README.md", "c.conll"):
        (tmp_path / name).write_text("input,output\n")
    assert [Path(one.name).name for one in find_sources([tmp_path])] == [
        "a.csv",
        "b.jsonl",
        "c.conll",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NunerError, match="N101"):
        find_sources([tmp_path / "empty"])


def test_missing_files(tmp_path):
    with pytest.raises(NunerError, match="N005.*nothing.jsonl"):
        find_sources([tmp_path / "nothing.jsonl"])
    with pytest.raises(NunerError, match="N005.*can't be read twice"):
        find_sources(["-"])
    with pytest.raises(NunerError, match="N005"):
        list(read_rows(Source(str(tmp_path / "nothing.jsonl"), "jsonl")))


def test_jsonl_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    long = b'{"text": "' + b"x" * 1_000_000 + b'"}\n'
    path.write_bytes(
        b"\xef\xbb\xbf{1}\n\r\n  \n{4}\r\n" + long + b"caf\xe9\na\0b\n\xe2\x80\xa8"
    )
    assert told(path) == [
        (1, None),
        (4, None),
        (5, "row too long"),
        (6, None),
        (7, None),
        (8, None),
    ]
    found = rows(path)
    assert found[0].content == ["{1}\n"]
    assert found[2].size == len(long)
    assert len(found[2].content[0]) < 1000
    # Bytes that are not UTF-8 are kept for read_record to refuse.
    assert found[3].content == ["caf\udce9\n"]
    assert found[4].content == ["a\0b\n"]
    # A line separator of Unicode inside a string ends no line.
    assert found[5].content == ["\u2028"]


@pytest.mark.parametrize("excess", [-1, 0, 1, MAX_ROW])
def test_the_longest_line(tmp_path, excess):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (MAX_ROW + excess - 1) + b"\ny\n")
    assert told(path) == [(1, "row too long" if excess > 0 else None), (2, None)]


def test_csv_line_numbers_and_quotes(tmp_path):
    path = tmp_path / "a.csv"
    written = [
        ("plain", "['a <> b']"),
        ('with "quotes", and\na line\r\nand another', "['x\ny <> z']"),
        ("after", "[]"),
    ]
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("input", "output"))
        writer.writerows(written)
    found = rows(path)
    assert [tuple(row.content) for row in found] == written
    assert [row.line for row in found] == [2, 3, 7]


def test_csv_columns_go_by_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",output,input\n0,\"['a <> b']\",text\n")
    assert rows(path)[0].content == ["text", "['a <> b']"]
    path.write_text("text,labels\nx,y\n")
    with pytest.raises(NunerError, match=r"N101.*\['text', 'labels'\]"):
        rows(path)


def test_a_stray_quote_costs_its_own_row_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "input,output\n"
        "one,['a <> b']\n"
        "\"two,['a <> b']\n"  # line 3: its quote closes at the next one
        "\"three, quoted\",['a <> b']\n"
        "four,['a <> b'],more\n"
        "\n"
        "\"five\" x,['a <> b']\n"
        "six,\"['a <> b']\n"  # line 8: its quote never closes
        "seven,['a <> b']\n"
        "eight,['a <> b']\n"
    )
    assert told(path) == [
        (2, None),
        (3, "malformed CSV"),
        (4, None),
        (5, "wrong number of cells"),
        (7, "malformed CSV"),
        (8, "malformed CSV"),
        (9, None),
        (10, None),
    ]
    assert rows(path)[2].content == ["three, quoted", "['a <> b']"]


def test_broken_bytes_in_csv(tmp_path):
    path = tmp_path / "a.csv"
    long = b'"' + b"x" * 1_000_000 + b'",[]\n'
    lines = [b"input,output", b"a\0b,[]", b"caf\xe9,[]", long[:-1], b"fine,[]"]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert told(path) == [(2, None), (3, None), (4, "row too long"), (5, None)]
    assert [row.content[0] for row in rows(path)[:2]] == ["a\udc00b", "caf\udce9"]


def test_many_stray_quotes_take_bounded_time(tmp_path):
    path = tmp_path / "a.csv"
    # Each of these opens a quote that nothing closes within the longest row.
    block = '"x,[]\n' + "y,[]\n" * 30_000
    path.write_text("input,output\n" + block * 3)
    found = told(path)
    assert [line for line, problem in found if problem] == [2, 30_003, 60_004]
    assert len(found) == 90_003


def test_bio_sentences(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("\nIn O\nLisbon B-city\n\n \nIt O\n\n\n" + "word O\n" * 20_000)
    assert told(path) == [(2, None), (6, None), (9, "row too long")]
    assert rows(path)[0].content.words == ["In", "Lisbon"]


def test_sizes_add_up_to_the_file(tmp_path, data):
    for name in ("nuner-sample/data.jsonl", "wnut17/dev.conll"):
        path = data / name
        blank = sum(1 for line in path.open("rb") if not line.strip())
        assert sum(row.size for row in rows(path)) == path.stat().st_size - blank
