"""Rows that nobody expects: each is tagged or kept aside, and counted once."""

import gzip
import io
import json
from functools import lru_cache

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from spacy_nuner.apply.parts import get_tagger
from spacy_nuner.apply.tagger import TagSettings, hash_pipeline
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.sources import PACKED
from spacy_nuner.readers.texts import read_texts
from spacy_nuner.utf8 import is_utf8

from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
ROWS = st.dictionaries(st.sampled_from(["id", "text", "other"]), VALUES)
TEXT_ROWS = st.fixed_dictionaries({"text": st.text(st.characters()), "id": VALUES})
LINES = st.one_of(
    (ROWS | TEXT_ROWS).map(lambda row: json.dumps(row).encode()), st.binary(max_size=30)
)
NAMES = ["a.json", "a.txt", "a.md.gz", "a.json.xz"]
# Pieces that lists are made of, in any order.
PIECES = [b"[", b"]", b",", b"\n", b'{"text": "In Porto."}', b'{"text": 1}', b"{}"]
ODD_LISTS = st.lists(st.sampled_from(PIECES), max_size=12).map(
    lambda pieces: b"[" + b"".join(pieces)
)
TABLE_TEXTS = (
    st.none()
    | st.binary(max_size=12)
    | st.text(max_size=12).map(lambda text: text.encode("utf8", "replace"))
)
TABLE_IDS = st.fixed_dictionaries(
    {"at": st.datetimes(), "number": st.decimals(0, 9, places=2), "bytes": st.binary()}
)


@pytest.fixture(scope="module")
def tagger(pipeline):
    name = str(pipeline)
    return get_tagger(TagSettings(name, hash_pipeline(name), "jsonl"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("odd") / "a.jsonl"


@examples(60)
@given(lines=st.lists(LINES, max_size=6))
def test_odd_lines(tagger, path, lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = list(read_texts(str(path), keep=["id"]))
    filled = [one for line in lines for one in line.split(b"\n") if one.strip()]
    assert len(rows) == len(filled)
    check(tagger, rows)


@examples(60)
@given(rows=st.lists(ROWS | TEXT_ROWS, max_size=6), indent=st.sampled_from([None, 1]))
def test_odd_lists_are_as_odd_lines(tagger, path, rows, indent):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = list(read_texts(str(path), keep=["id"]))
    path.with_suffix(".json").write_text(json.dumps(rows, indent=indent))
    found = list(read_texts(str(path.with_suffix(".json")), keep=["id"]))
    assert [row[2:3] + row[4:] for row in found] == [
        row[2:3] + row[4:] for row in expected
    ]
    check(tagger, found)


@examples(60)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_odd_files(tagger, path, data, name):
    """Whatever is in a file: rows, or a numbered error for one that is packed."""
    found = data.draw(st.binary(max_size=60) | ODD_LISTS)
    unit = data.draw(st.sampled_from(["line", "paragraph", "file"]))
    if name == "a.md.gz" and data.draw(st.booleans()):
        found = gzip.compress(found)
    file = path.with_name(name)
    file.write_bytes(found)
    try:
        rows = list(read_texts(str(file), unit=unit))
    except NunerError:
        assert file.suffix in PACKED
        return
    check(tagger, rows)


@examples(40)
@given(
    rows=st.lists(st.tuples(TABLE_TEXTS, TABLE_IDS), min_size=1, max_size=6),
    form=st.sampled_from(["parquet", "arrow"]),
)
def test_odd_tables(tagger, path, rows, form):
    texts, ids = zip(*rows, strict=True)
    strings = pa.array(texts, pa.binary()).view(pa.string())
    table = pa.table({"text": strings, "id": pa.array(ids)})
    file = path.with_name(f"a.{form}")
    if form == "parquet":
        parquet.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    found = list(read_texts(str(file), keep=["id"]))
    assert len(found) == len(rows)
    for row, text in zip(found, texts, strict=True):
        assert row.problem or row.text.encode() == text
    check(tagger, found)


@examples(60)
@given(data=st.data(), form=st.sampled_from(["parquet", "arrow"]))
def test_damaged_tables(tagger, path, data, form):
    content = bytearray(make_table(form))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    file = path.with_name(f"a.{form}")
    file.write_bytes(content)
    try:
        rows = list(read_texts(str(file), keep=["id"]))
    except NunerError:
        return
    check(tagger, rows)


@examples(15)
@given(texts=st.lists(st.text(st.characters(codec="utf8")), max_size=5))
def test_odd_texts_in_docbins_and_tables(pipeline, path, texts):
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    rows = list(read_texts(str(path), keep=["id"]))
    for form in ("docbin", "parquet"):
        name = str(pipeline)
        one = get_tagger(TagSettings(name, hash_pipeline(name), form))
        assert one.tag(rows).counts.tagged == len(texts)


def check(tagger, rows):
    """Each row is counted once, and comes through as it is."""
    tagged = tagger.tag(rows)
    counts = tagged.counts
    done = [json.loads(line) for line in tagged.data.decode().split("\n")[:-1]]
    failed = [json.loads(line) for line in tagged.failed.decode().split("\n")[:-1]]
    assert counts.rows == len(rows) == counts.tagged + counts.failed.total()
    assert len(done) == counts.tagged and len(failed) == counts.failed.total()
    expected = [row.text for row in rows if not row.problem and is_utf8(row.text)]
    assert [row["text"] for row in done] == expected
    for row in done:
        for one in (*row["entities"], *row["spans"]):
            assert row["text"][one["start"] : one["end"]] == one["text"]
    assert tagger.tag(rows) == tagged


@lru_cache
def make_table(form):
    texts = ["In Porto.", "Köln", None, "x" * 50]
    table = pa.table({"text": texts, "id": [1, 2, 3, 4]})
    file = io.BytesIO()
    if form == "parquet":
        parquet.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return file.getvalue()
