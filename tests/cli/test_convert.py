"""`convert` as people call it: options, table, exit codes."""

import json

import pytest
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

ROWS = [
    {"text": "Love in Rome.", "answer": "Love <> Concept\nRome <> city"},
    {"text": "In Rome and Rome.", "answer": "rome <> city\nIn <> object\nBonn <> x"},
]


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    lines = [json.dumps(row) for row in ROWS] + ["broken"]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def convert(*args):
    return CliRunner().invoke(app, ["convert", *map(str, args)])


def read_report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf8"))


def test_the_table_tells_every_loss(answers, tmp_path):
    result = convert(answers, tmp_path / "corpus")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    for line in (
        "read 3 100.0%",
        "written 1 33.3%",
        "quarantined: malformed JSON 1 33.3%",
        "dropped: refused concept in the sentence 1 33.3%",
        "matched ignoring case 1 20.0%",
        "lost: not in the text 1 20.0%",
        "lost: empty type 1 20.0%",
        "spans written 2",
    ):
        assert line in lines
    assert "quarantine.jsonl" in result.output
    assert len(DocBin().from_disk(tmp_path / "corpus" / "00000.spacy")) == 1


@pytest.mark.parametrize(
    ("options", "written", "spans"),
    [
        ([], 1, 2),
        (["--occurrences", "first"], 1, 1),
        (["--keep-concept-sentences"], 2, 3),
        (["--keep-empty-types"], 1, 3),
        (["--keep-empty-types", "--keep-concept-sentences"], 2, 5),
        (["--keep-empty-types", "--match-case"], 1, 1),
        (["--lang", "xx"], 1, 2),
    ],
)
def test_options(answers, tmp_path, options, written, spans):
    result = convert(answers, tmp_path / "corpus", *options)
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "corpus")
    assert report["records"]["written"] == written
    assert report["annotations"]["spans"] == spans


def test_the_shipped_annotations(assets, tmp_path):
    result = convert(assets / "annotations", tmp_path / "corpus")
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "corpus")
    # As assets/README.md says.
    assert report["records"]["written"] == report["records"]["read"] == 2700
    assert report["annotations"]["read"] == 15869
    assert report["concepts"]["distinct"] == 7607
    assert report["annotations"]["lost"] == {"empty type": 5}
    assert (tmp_path / "corpus" / "quarantine.jsonl").read_text() == ""


@pytest.mark.parametrize("name", ["missing.jsonl", "unusable.jsonl", "strange.xml"])
def test_errors_exit_with_1_and_a_number(tmp_path, name):
    if name != "missing.jsonl":
        (tmp_path / name).write_text("<xml>")
    result = convert(tmp_path / name, tmp_path / "corpus")
    assert result.exit_code == 1
    number = {"m": "N005", "u": "N102", "s": "N101"}[name[0]]
    assert f"[{number}]" in result.output
    assert name in result.output.replace("\n", "")
    assert not (tmp_path / "corpus").exists()


def test_a_data_set_of_the_hub(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for split in ("train", "dev"):
        (tmp_path / "set" / f"{split}.jsonl").write_text(lines)
    name = f"hub:{tmp_path / 'set'}"
    result = convert(name, tmp_path / "corpus")
    assert result.exit_code == 1 and "N104" in result.output
    result = convert(f"{name}::train", tmp_path / "corpus")
    assert result.exit_code == 0, result.output
    report = read_report(tmp_path / "corpus")
    assert report["records"]["read"] == 2 and report["annotations"]["spans"] == 2


def test_a_corpus_is_no_file(answers, tmp_path):
    result = convert(answers, tmp_path / "corpus.spacy")
    assert result.exit_code == 1 and "N107" in result.output
    assert not (tmp_path / "corpus.spacy").exists()


def test_both_places_must_be_named(answers):
    assert convert(answers).exit_code == 2
