"""Files as they are opened, and the count of what is lost."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from spacy_nuner.corpus.labelled_docs import import_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.outputs import MANIFEST
from spacy_nuner.readers.records import Loss, Tally
from spacy_nuner.readers.sources import (
    MAX_ROW,
    find_sources,
    open_source,
    plain_suffix,
    read_lines,
    read_objects,
)


def test_a_tally_counts_by_kind_and_remembers_the_first():
    tally, later = Tally(), Tally()
    tally.add("not JSON", "a:1", "x")
    later.add("not JSON", "b:1")
    later.add("not UTF-8", "b:2")
    later.add("not UTF-8", "b:3")
    tally.update(later)
    assert tally.total() == 4
    assert tally.describe() == "2 not JSON (first: a:1), 2 not UTF-8 (first: b:2)"
    assert tally.first["not JSON"] == Loss("not JSON", "a:1", "x")
    again = Tally.from_json(json.loads(json.dumps(tally.to_json())))
    assert (again.counts, again.first) == (tally.counts, tally.first)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jsonl", ".jsonl"), ("a.JSONL.gz", ".jsonl"), ("a.x.zst", ".x"), ("a", "")],
)
def test_suffixes_without_compression(name, suffix):
    assert plain_suffix(name) == suffix


def test_objects_of_any_length(tmp_path):
    path = tmp_path / "a.jsonl"
    long = {"text": "x" * (2 * MAX_ROW)}
    lines = [
        json.dumps(long).encode(),
        b"",
        b"[1]",
        b"{",
        b'{"n": "\xe9"}',
        b'{"n": 6}',
    ]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    tally = Tally()
    assert list(read_objects(str(path), tally)) == [(1, long), (6, {"n": 6})]
    assert tally.counts == {"not a JSON object": 1, "not JSON": 1, "not UTF-8": 1}
    assert tally.first["not UTF-8"].where == f"{path}:5"


def test_standard_input(monkeypatch):
    class Input:
        buffer = io.BytesIO(b'{"n": 1}\n')

    monkeypatch.setattr("sys.stdin", Input)
    assert list(read_objects("-", Tally())) == [(1, {"n": 1})]


def test_lines_that_are_cut():
    long = b"x" * (MAX_ROW + 1)
    cut, short = read_lines(io.BytesIO(long + b"\nshort"))
    assert cut.problem.kind == "row too long" and cut.size == MAX_ROW + 2
    assert (short.number, short.data, short.problem) == (2, b"short", None)
    (whole,) = read_lines(io.BytesIO(long), limit=None)
    assert whole.data == long and whole.problem is None


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_damaged_archive(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b"no archive")
    with pytest.raises(NunerError, match="N109"), open_source(str(path)) as file:
        file.read()
    with pytest.raises(NunerError, match="N005"), open_source(f"{path}{suffix}"):
        pass


def test_the_package_that_unpacks_is_missing(tmp_path, monkeypatch):
    for name in ("backports", "compression"):  # the latter from Python 3.14 on
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"x")
    with (
        pytest.raises(NunerError, match=r"N006.*spacy-nuner\[annotate\]"),
        open_source(str(path)) as file,
    ):
        file.read()


def test_what_was_imported_from_a_file_beside_it_is_not_read_twice(tmp_path):
    row = json.dumps({"text": "Ana left", "entities": [[0, 3, "PERSON"]]}) + "\n"
    for name in ("train.jsonl", "other.jsonl"):
        (tmp_path / name).write_text(row, "utf8")
    for name in ("train", "test"):
        import_docs(tmp_path / "train.jsonl", tmp_path / f"{name}.spacy")
    # One of the user's stays, and one without what it was made of.
    (tmp_path / "other.spacy").write_bytes((tmp_path / "test.spacy").read_bytes())
    found = [Path(source.name).name for source in find_sources([tmp_path])]
    assert found == ["other.jsonl", "other.spacy", "test.spacy", "train.jsonl"]


def test_records_that_were_imported_are_not_read_twice_either(tmp_path):
    (tmp_path / "train.conll").write_text("Ana B-PER\nleft O\n", "utf8")
    import_docs(tmp_path / "train.conll", tmp_path / "train.jsonl")
    import_docs(tmp_path / "train.jsonl", tmp_path / "train.spacy")
    # The two share a report, and each may be made again.
    import_docs(tmp_path / "train.conll", tmp_path / "train.jsonl")
    found = [Path(source.name).name for source in find_sources([tmp_path])]
    assert found == ["train.conll"]


def test_what_can_be_read_once_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in (tmp_path / "pipe.jsonl", "/dev/null", "-"):
        with pytest.raises(NunerError, match="N005.*can't be read twice"):
            find_sources([name])


def test_only_a_quarantine_of_ours_is_passed_over(tmp_path):
    row = json.dumps({"text": "Ana left", "entities": []}) + "\n"
    for name in ("a.jsonl", "my_quarantine.jsonl", "quarantine.jsonl"):
        (tmp_path / name).write_text(row, "utf8")
    made = {"command": "convert", "files": {"quarantine.jsonl": len(row)}}
    (tmp_path / f".a{MANIFEST}").write_text(json.dumps(made), "utf8")
    found = [Path(source.name).name for source in find_sources([tmp_path])]
    assert found == ["a.jsonl", "my_quarantine.jsonl"]
