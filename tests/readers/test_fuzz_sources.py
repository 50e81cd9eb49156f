"""Files of any bytes: rows, rows for the quarantine, or a numbered error."""

import bz2
import gzip
import io
import json
import lzma
import zlib

import pyarrow
import pyarrow.parquet
import pytest
import spacy
import srsly
from hypothesis import given, reject
from hypothesis import strategies as st
from spacy.tokens import DocBin, SpanGroup

from spacy_nuner.corpus.losses import Counts, describe_losses
from spacy_nuner.corpus.row_to_doc import ConvertSettings, process
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.docbin import ShardBin, read_docbin
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources

from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
SHORT = examples(40)
MORE = examples(60)
NLP = spacy.blank("en")


def make_docbin():
    doc = NLP("Ana Lima left Lisbon.")
    doc.spans["sc"] = SpanGroup(doc, spans=[doc.char_span(0, 8, "person")])
    return DocBin(docs=[doc, doc], store_user_data=True).to_bytes()


ENTITY = {"text": "Ana", "concept": "person", "start": 0, "end": 3}
OBJECTS = [
    {"text": "Ana left", "answer": "Ana <> person <> x\nleft <> act"},
    {"id": 7, "text": "Ana left", "entities": [ENTITY]},
    {"text": "Ana left", "spans": [{"start": 0, "end": 3, "label": "PER"}]},
    {"input": "Ana left", "output": "['Ana <> person <> x']"},
    {
        "conversations": [
            {"value": "Text: Ana left"},
            {"value": "I've read this text."},
            {"value": "What describes person in the text?"},
            {"value": '["Ana"]'},
        ]
    },
]
JSONL = "\n".join(map(json.dumps, OBJECTS)).encode()
CSV = b'input,output\r\n"Ana left","[\'Ana <> person\']"\r\nx,[]\r\n'
BIO = b"Ana B-PER\nleft O\n\nLisbon B-LOC\n"


def make_arrow(write):
    """The first two objects as a table; `datasets` writes streams, others files."""
    file = io.BytesIO()
    rows = [{"text": row["text"], "answer": "Ana <> x"} for row in OBJECTS[:2]]
    write(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def write_stream(table, file):
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_file(table, file):
    with pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


PYTHON = b"TRAIN_DATA = [\n  ('Ana left', {'entities': [(0, 3, 'PER')]}),\n]\n"
VALID = {
    "a.py": PYTHON,
    "a.parquet": make_arrow(pyarrow.parquet.write_table),
    "stream.arrow": make_arrow(write_stream),
    "file.arrow": make_arrow(write_file),
    "a.jsonl": JSONL,
    "a.json": json.dumps(OBJECTS).encode(),
    "a.csv": CSV,
    "a.conll": BIO,
    "a.spacy": make_docbin(),
}
NASTY = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b"\\ud83d", b"\r", b"\n\n"),
    *(b'"', b"[" * 2000, b'{"a":' * 1500, b"9" * 5000, b"1e999", b"NaN", b"-1", b"0.5"),
    *(
        b"null",
        b'"text": 5,',
        b'"start": "0"',
        b'"end": -1',
        b'"text": "\\u0000"',
        b"]",
    ),
    *(
        b"}",
        b",",
        b"\x1b[31m",
        "\u202e".encode(),
        b'{"text": "a", "text": "b"}',
        b"true",
    ),
]


def read(path):
    """Read a file as `convert` does; what can't be read has to be told."""
    counts = Counts()
    try:
        for source in find_sources([path]):
            for row in read_rows(source):
                outcome = process(row, lambda r: NLP(r.text), ConvertSettings())
                counts.add(row, outcome)
                for loss in describe_losses(row, outcome):
                    json.dumps(loss).encode()
                shard = ShardBin()
                if outcome.doc is not None:
                    shard.add(outcome.doc, outcome.spans, outcome.descriptions)
                    docs = list(
                        DocBin().from_bytes(shard.to_bytes()).get_docs(NLP.vocab)
                    )
                    for span in docs[0].spans["concepts"]:
                        assert len(span) > 0
                        assert span.text.strip()
    except NunerError as error:
        assert str(error).startswith("[N")
    json.dumps(counts.to_json()).encode()
    assert counts.rows == counts.written + sum(
        tally.total() for tally in (counts.refused, counts.dropped)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@SHORT
@given(
    name=st.sampled_from([*VALID, "a", "a.txt"]),
    data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)),
)
def test_any_bytes(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    read(path)


@pytest.mark.parametrize("data", [b"\0\r\0", b"a,\rb", b'"' + b"a" * 131_000 + b"\n"])
def test_a_first_line_that_csv_refuses(folder, data):
    path = folder / "first.json"
    path.write_bytes(data)
    read(path)


@MORE
@given(
    name=st.sampled_from([*VALID]),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 8), st.sampled_from(NASTY)),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_files(folder, name, edits):
    data = VALID[name]
    for where, size, put in edits:
        at = int(where * len(data))
        data = data[:at] + put + data[at + size :]
    path = folder / name
    path.write_bytes(data)
    read(path)


def test_arrow_that_points_outside_of_itself(folder):
    """It ended the process: its offsets were taken as they are."""
    data = VALID["stream.arrow"]
    at = data.rindex(b"\x08\0\0\0\x10\0\0\0")
    path = folder / "outside.arrow"
    path.write_bytes(data[:at] + b"\xff\xff\xff\x0f" * 2 + data[at + 8 :])
    (source,) = find_sources([path])
    with pytest.raises(NunerError, match="N640"):
        list(read_rows(source))


@pytest.mark.parametrize("groups", [None, 3, []])
def test_span_groups_that_are_none(folder, groups):
    content = srsly.msgpack_loads(zlib.decompress(VALID["a.spacy"]))
    content["span_groups"] = groups
    path = folder / "groups.spacy"
    path.write_bytes(zlib.compress(srsly.msgpack_dumps(content)))
    with pytest.raises(NunerError, match="N607"):
        list(read_docbin(path))


@SHORT
@given(data=st.data())
def test_damage_inside_of_docbins(folder, data):
    """Of what is packed; damage of the whole is found by its checksum."""
    content = srsly.msgpack_loads(zlib.decompress(VALID["a.spacy"]))
    key = data.draw(st.sampled_from(sorted(content)))
    value = content[key]
    if isinstance(value, bytes):
        at = data.draw(st.integers(0, len(value)))
        put = data.draw(st.binary(max_size=9))
        content[key] = value[:at] + put + value[at + len(put) :]
    else:
        content[key] = data.draw(VALUES)
    try:
        packed = srsly.msgpack_dumps(content)
    except (OverflowError, UnicodeEncodeError):
        # MessagePack has no such numbers and texts.
        reject()
    path = folder / "a.spacy"
    path.write_bytes(zlib.compress(packed))
    read(path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([1 << 70, -1, 0, 3, "Ana", "", " ", "\u200b", "\ud83d", "a\0b"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "concept", "start", "end", "label", "value", "spans"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@MORE
@given(
    base=st.sampled_from(OBJECTS),
    more=st.dictionaries(
        st.sampled_from(
            [
                "id",
                "text",
                "answer",
                "entities",
                "spans",
                "ents",
                "unreadable",
                "labels",
            ]
            + ["conversations", "input", "output", "tokens", "meta", "_task_hash"]
        ),
        VALUES,
        min_size=1,
        max_size=3,
    ),
    suffix=st.sampled_from(["jsonl", "json"]),
)
def test_fields_of_any_type(folder, base, more, suffix):
    path = folder / f"fields.{suffix}"
    rows = [base | more, base]
    text = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf8")
    read(path)


@MORE
@given(start=VALUES, end=VALUES, words=VALUES, text=st.text(max_size=12))
def test_offsets_of_any_type(folder, start, end, words, text):
    entity = {"text": words, "concept": "x", "start": start, "end": end}
    path = folder / "offsets.jsonl"
    path.write_text(json.dumps({"text": "Ana " + text, "entities": [entity]}))
    read(path)


@SHORT
@given(
    pack=st.sampled_from([("gz", gzip.compress), ("bz2", bz2.compress)])
    | st.just(("xz", lzma.compress)),
    name=st.sampled_from([*VALID]),
    where=st.floats(0, 1),
    put=st.sampled_from([b"", b"\0", b"\xff" * 9]),
    cut=st.booleans(),
)
def test_damaged_archives(folder, pack, name, where, put, cut):
    suffix, compress = pack
    data = compress(VALID[name])
    at = int(where * len(data))
    data = data[:at] + put + (b"" if cut else data[at + len(put) :])
    path = folder / f"{name}.{suffix}"
    path.write_bytes(data)
    read(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
@pytest.mark.parametrize("name", [*VALID, "a"])
def test_other_encodings(folder, name, encoding):
    path = folder / name
    text = VALID[name if name != "a" else "a.jsonl"].decode("latin-1") + "é"
    path.write_bytes(text.encode(encoding))
    read(path)
