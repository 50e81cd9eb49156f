"""Rows that nobody expects: each is tagged or kept aside, and counted once."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_nuner.apply.parts import get_tagger
from spacy_nuner.apply.tagger import TagSettings, hash_pipeline
from spacy_nuner.readers.texts import read_texts

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


@pytest.fixture(scope="module")
def tagger(pipeline):
    name = str(pipeline)
    return get_tagger(TagSettings(name, hash_pipeline(name), "jsonl"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("odd") / "a.jsonl"


@settings(max_examples=60)
@given(lines=st.lists(LINES, max_size=6))
def test_odd_lines(tagger, path, lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = list(read_texts(str(path), keep=["id"]))
    filled = [one for line in lines for one in line.split(b"\n") if one.strip()]
    assert len(rows) == len(filled)
    tagged = tagger.tag(rows)
    counts = tagged.counts
    done = [json.loads(line) for line in tagged.data.decode().split("\n")[:-1]]
    failed = [json.loads(line) for line in tagged.failed.decode().split("\n")[:-1]]
    assert counts.rows == len(rows) == counts.tagged + counts.failed.total()
    assert len(done) == counts.tagged and len(failed) == counts.failed.total()
    # Whatever they hold, the texts come through as they are.
    expected = [row.text for row in rows if not row.problem and _has_utf8(row.text)]
    assert [row["text"] for row in done] == expected
    for row in done:
        for one in (*row["entities"], *row["spans"]):
            assert row["text"][one["start"] : one["end"]] == one["text"]
    assert tagger.tag(rows) == tagged


@settings(max_examples=15)
@given(texts=st.lists(st.text(st.characters(codec="utf8")), max_size=5))
def test_odd_texts_in_docbins_and_tables(pipeline, path, texts):
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    rows = list(read_texts(str(path), keep=["id"]))
    for form in ("docbin", "parquet"):
        name = str(pipeline)
        one = get_tagger(TagSettings(name, hash_pipeline(name), form))
        assert one.tag(rows).counts.tagged == len(texts)


def _has_utf8(text):
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True
