"""Documents out of every kind of source, with what was no use counted."""

import gzip
import io
import json
import lzma
import sys

import pytest

from spacy_nuner.annotate.sample import Document, read_documents
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.records import Tally

ROWS = [
    {"text": "Lisbon lies on the Tagus.\nPorto does not.", "url": "http://a"},
    {"text": "Ein Satz über Köln.", "id": 7, "source": "web"},
    {"text": "No name at all."},
]
DOCUMENTS = [
    Document("Lisbon lies on the Tagus.\nPorto does not.", "x.jsonl", "http://a"),
    Document("Ein Satz über Köln.", "web", "7"),
    Document("No name at all.", "x.jsonl", "3"),
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(source, **settings):
    tally = Tally()
    return list(read_documents(str(source), tally=tally, **settings)), tally


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_json_lines_plain_and_packed(tmp_path, suffix):
    if suffix == ".zst":
        open_packed = pytest.importorskip("smart_open").open
        pytest.importorskip("backports.zstd")
    else:
        open_packed = {"": open, ".gz": gzip.open, ".xz": lzma.open}[suffix]
    path = tmp_path / f"x.jsonl{suffix}"
    with open_packed(path, "wb") as file:
        file.write(lines(ROWS))
    documents, tally = read(path)
    assert [one._replace(source="x.jsonl") for one in documents] == [
        one._replace(source="x.jsonl") for one in DOCUMENTS
    ]
    assert documents[1].source == "web"
    assert tally.total() == 0


def test_another_field(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines([{"body": "One.", "text": 3}, {"text": "Two."}]))
    documents, tally = read(path, field="body")
    assert [one.text for one in documents] == ["One."]
    assert tally.describe() == "1 without a text in 'body' (first: x.jsonl:2)"


def test_what_holds_no_text_is_counted(tmp_path):
    path = tmp_path / "x.jsonl"
    broken = [b'{"text": "cut', b"\xff\xfe\x00", b"[1]", b"3", b"", b"[" * 100_000]
    path.write_bytes(lines(ROWS) + b"\n".join(broken) + b"\n")
    documents, tally = read(path)
    assert len(documents) == 3
    assert tally.total() == 5
    for found in (
        "2 not JSON (first: x.jsonl:4)",
        "1 not UTF-8",
        "2 not a JSON object",
    ):
        assert found in tally.describe()


def test_paragraphs_of_a_text_file(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(
        "\ufeffA sentence that\nwas wrapped.\n\n\nAnother.\n".encode() + b"\xe4\n"
    )
    documents, tally = read(path)
    assert [one.text for one in documents] == [
        "A sentence that was wrapped.",
        "Another.",
    ]
    assert [one.doc for one in documents] == ["2", "5"]
    assert tally.describe() == "1 not UTF-8 (first: book.txt:6)"
    documents, _ = read(path, by_line=True)
    assert len(documents) == 3


def test_a_folder_in_the_order_of_its_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("From text.")
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS[2:]))
    (tmp_path / "ignored.csv").write_text("no,text")
    documents, _ = read(tmp_path)
    assert [one.source for one in documents] == ["a.jsonl", "sub/b.txt"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lines(ROWS), [row["text"] for row in ROWS]),
        (b"\n\nPlain text.\nOf two lines.\n", ["Plain text. Of two lines."]),
        (b"", []),
    ],
)
def test_standard_input(monkeypatch, given, expected):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    documents, _ = read("-")
    assert [one.text for one in documents] == expected


def test_a_data_set_in_streaming(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = "configs:\n- config_name: de\n  data_files: de/*.json.gz\n"
    (tmp_path / "README.md").write_text(f"---\n{config}---\n")
    (tmp_path / "de").mkdir()
    for shard in range(3):
        with gzip.open(tmp_path / "de" / f"{shard}.json.gz", "wb") as file:
            rows = [{"text": f"{shard} {n}", "url": f"u{n}"} for n in range(5)]
            file.write(lines(rows))
    source = f"hub:{tmp_path}:de"
    documents, _ = read(source, seed=1)
    assert len(documents) == 15
    assert {one.text for one in documents} == {
        f"{shard} {n}" for shard in range(3) for n in range(5)
    }
    assert documents[0].doc.startswith("u")
    assert documents == read(source, seed=1)[0]
    assert documents != read(source, seed=2)[0]
    with pytest.raises(NunerError, match="N104"):
        read(f"hub:{tmp_path}:nl")
    # A shard that was not copied whole is met only on the way.
    (tmp_path / "de" / "2.json.gz").write_bytes(b"\x1f\x8b\x08broken")
    with pytest.raises(NunerError, match="N104"):
        read(source, seed=1)


def test_files_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(NunerError, match="N005"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NunerError, match="N201.*holds no file"):
        read(tmp_path / "empty")
    packed = gzip.compress(lines(ROWS))
    for name, content in (("cut.jsonl.gz", packed[:-20]), ("no.jsonl.gz", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NunerError, match="N109"):
            read(tmp_path / name)
    pytest.importorskip("backports.zstd")
    (tmp_path / "no.jsonl.zst").write_bytes(b"hello")
    with pytest.raises(NunerError, match="N109"):
        read(tmp_path / "no.jsonl.zst")
