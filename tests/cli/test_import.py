"""`import` as people call it, and the counts of real sets as their makers give them."""

import json

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

ROWS = [
    {"text": "In Rome.", "entities": [{"text": "Rome", "concept": "city"}]},
    {"text": "In Bonn.", "spans": [{"start": 3, "end": 7, "label": "City"}, 7]},
]


@pytest.fixture
def mixed(tmp_path):
    path = tmp_path / "mixed.jsonl"
    lines = [json.dumps(row) for row in ROWS] + ["broken"]
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def run(*args):
    return CliRunner().invoke(app, ["import", *map(str, args)])


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def lines_of(result):
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_records(mixed, tmp_path):
    output = tmp_path / "out" / "records.jsonl"
    result = run(mixed, output)
    assert result.exit_code == 0, result.output
    assert [row["entities"] for row in read(output)] == [
        [{"text": "Rome", "concept": "city", "description": None}],
        [
            {
                "text": "Bonn",
                "concept": "City",
                "description": None,
                "start": 3,
                "end": 7,
            }
        ],
    ]
    for line in (
        "read 3 100.0%",
        "written 2 66.7%",
        "quarantined: malformed JSON 1 33.3%",
        "written 2",
        "unreadable: span is not an object 1",
        "concepts as written 2",
    ):
        assert line in lines_of(result)
    aside = read(output.with_name("records.quarantine.jsonl"))
    assert [(row["line"], row["reason"]) for row in aside] == [
        (2, "span is not an object"),
        (3, "malformed JSON"),
    ]
    # What was imported is read in turn; nothing is put aside this time.
    again = tmp_path / "again.jsonl"
    assert run(output, again).exit_code == 0
    assert read(again) == read(output)
    assert not (tmp_path / "again.quarantine.jsonl").exists()


def test_a_corpus(mixed, tmp_path):
    result = run(mixed, tmp_path / "corpus", "--lang", "xx")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "corpus" / "00000.spacy").is_file()
    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    assert report["settings"]["lang"] == "xx"
    assert report["concepts"]["most_frequent"] == {"city": 2}
    assert "spans written 2" in lines_of(result)


@pytest.mark.parametrize(
    ("source", "output", "number"),
    [
        ("missing.jsonl", "out.jsonl", "N005"),
        ("mixed.jsonl", "out.spacy", "N107"),
        ("mixed.jsonl", "out.jsonl.gz", "N107"),
        ("none.jsonl", "out.jsonl", "N102"),
        ("none.jsonl", "out", "N102"),
        ("set.xml", "out", "N101"),
    ],
)
def test_errors(mixed, tmp_path, monkeypatch, source, output, number):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.jsonl").write_text("nothing\n")
    (tmp_path / "set.xml").write_text("<set/>\n")
    result = run(source, output)
    assert result.exit_code == 1
    assert f"[{number}]" in result.output
    assert not (tmp_path / output).exists()


def test_a_name_of_the_hub_is_not_taken_for_a_file(tmp_path):
    result = run("numind/NuNER", tmp_path / "out")
    assert result.exit_code == 1
    assert "hub:numind/NuNER" in result.output.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "records", "annotations", "concepts"),
    [
        # One row of the published sample says that there is nothing to annotate.
        ("nuner-sample/nuner-sample-1k.csv", 994, 4326, 1848),
        ("nuner-sample/data.jsonl", 995, 4326, 1848),
        ("pile-ner-slimer/data.jsonl", 2219, 30827, 369),
        ("pile-ner-definitions/data.jsonl", 1345, 1733, 455),
        ("proggen-news-wiki/data.jsonl", 17291, 26348, 3),
        ("sec10k-gpt35/data.jsonl", 835, 12816, 351),
        ("wnut17/dev.conll", 1009, 836, 6),
    ],
)
def test_real_sets(data, tmp_path, name, records, annotations, concepts):
    output = tmp_path / "records.jsonl"
    result = run(data / name, output)
    assert result.exit_code == 0, result.output
    rows = read(output)
    assert len(rows) == records
    for line in (f"written {annotations:,}", f"concepts as written {concepts:,}"):
        assert line in lines_of(result)
    listed = [row["entities"] for row in rows if "entities" in row]
    if listed:
        assert sum(map(len, listed)) == annotations
