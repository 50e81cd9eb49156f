"""`import` as people call it, and the counts of real sets as their makers give them."""

import json

import pytest
import spacy
from spacy.tokens import DocBin, Span
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
        "line: span is not an object 1",
        "concepts 2",
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


def test_a_labelled_set(tmp_path):
    """All annotations are spans, those that do not overlap entities too."""
    spans = [
        {"start": 0, "end": 10, "label": "SCHOOL"},
        {"start": 5, "end": 10, "label": "Place_Name", "description": "a place"},
    ]
    rows = [
        {"text": "Univ Porto is old", "spans": spans},
        {"text": "Nothing here.", "spans": []},
        {"text": "In Rome.", "entities": [{"text": "Rome", "concept": "entity"}]},
        {"text": "In Bonn.", "entities": [{"text": "Oslo", "concept": "city"}]},
        {"text": "In Bonn.", "answer": "Bonn <> City"},
    ]
    path, output = tmp_path / "a.jsonl", tmp_path / "out" / "a.spacy"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    result = run(path, output)
    assert result.exit_code == 0, result.output
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert [
        (
            [(ent.text, ent.label_) for ent in doc.ents],
            [(span.text, span.label_) for span in doc.spans["concepts"]],
        )
        for doc in docs
    ] == [
        (
            [("Univ Porto", "SCHOOL")],
            [("Univ Porto", "SCHOOL"), ("Porto", "Place_Name")],
        ),
        ([], []),
        ([("Rome", "entity")], [("Rome", "entity")]),
        ([("Bonn", "City")], [("Bonn", "City")]),
    ]
    described = docs[0].spans["concepts"].attrs["descriptions"]
    assert described == {"Place_Name": "a place"}
    assert all(token.ent_iob for doc in docs for token in doc)
    for line in (
        "read 6 100.0%",
        "written 4 66.7%",
        "quarantined: malformed JSON 1 16.7%",
        "dropped: no annotation left 1 16.7%",
        "matched given offsets 2 40.0%",
        "matched at token boundaries 2 40.0%",
        "lost: not in the text 1 20.0%",
        "spans written 4",
    ):
        assert line in lines_of(result)
    lost = read(output.with_name("a.quarantine.jsonl"))
    assert [(one["line"], one["reason"]) for one in lost] == [
        (4, "not in the text"),
        (6, "malformed JSON"),
    ]
    report = json.loads(output.with_name("a.import.json").read_text(encoding="utf8"))
    assert report["records"]["written"] == 4
    assert report["inputs"][0]["file"] == str(path)


def test_a_docbin_stays_what_it_is(tmp_path):
    doc = spacy.blank("en")("Ada met Bo")
    doc.ents = [Span(doc, 0, 1, "PERSON", kb_id="Q7259")]
    doc.cats = {"meeting": 1.0}
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    assert run(tmp_path / "a.spacy", tmp_path / "b.spacy").exit_code == 0
    (found,) = DocBin().from_disk(tmp_path / "b.spacy").get_docs(doc.vocab)
    assert [(ent.text, ent.kb_id_) for ent in found.ents] == [("Ada", "Q7259")]
    assert found.cats == {"meeting": 1.0}
    assert [span.label_ for span in found.spans["concepts"]] == ["PERSON"]


def test_a_form_that_the_suffix_does_not_tell(tmp_path):
    (tmp_path / "a.dat").write_text("Rome city\nBonn city\nOslo O\n")
    output = tmp_path / "a.spacy"
    assert run(tmp_path / "a.dat", output, "--format", "bio").exit_code == 0
    (doc,) = DocBin().from_disk(output).get_docs(spacy.blank("en").vocab)
    assert [ent.text for ent in doc.ents] == ["Rome Bonn"]
    result = run(tmp_path / "a.dat", output, "--format", "xml")
    assert result.exit_code == 1 and "N601" in result.output


def test_what_import_did_not_make_is_left_alone(mixed, tmp_path):
    output = tmp_path / "train.spacy"
    output.write_text("mine")
    result = run(mixed, output)
    assert result.exit_code == 1 and "N110" in result.output
    assert output.read_text() == "mine"
    output.unlink()
    for _ in range(2):
        assert run(mixed, output).exit_code == 0


@pytest.mark.parametrize(
    ("source", "output", "number"),
    [
        ("missing.jsonl", "out.jsonl", "N005"),
        ("mixed.jsonl", "out", "N107"),
        ("mixed.jsonl", "out.jsonl.gz", "N107"),
        ("none.jsonl", "out.jsonl", "N102"),
        ("none.jsonl", "out.spacy", "N102"),
        ("set.xml", "out.spacy", "N101"),
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
    result = run("numind/NuNER", tmp_path / "out.spacy")
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
    report = json.loads((tmp_path / "records.import.json").read_text(encoding="utf8"))
    assert report["annotations"]["read"] == annotations
    assert report["concepts"]["distinct"] == concepts
    listed = [row["entities"] for row in rows if "entities" in row]
    if listed:
        assert sum(map(len, listed)) == annotations


LINES = {
    "a": {
        "text": "In Rome.",
        "label": [[3, 7, "City"], [3, 7, "City"], [3, 7, "Town"]],
    },
    "b": {"text": "In Bonnland, Bo.", "label": [[3, 7, "City"], [13, 15, "Person"]]},
    "c": {"text": "In Rome.", "label": [[3, 7, "City"], [3, 7, "Town"]]},
    "d": {"text": "In Rome.", "label": [[0, 7, "Phrase"], [3, 7, "City"]]},
    "e": {"text": "In Oslo.", "label": []},
}


def test_what_is_found_besides(tmp_path):
    path, output = tmp_path / "a.jsonl", tmp_path / "a.spacy"
    path.write_text("".join(json.dumps(row) + "\n" for row in LINES.values()))
    result = run(path, output)
    assert result.exit_code == 0, result.output
    for line in (
        "lost: repeated 1 11.1%",
        "text that occurs before, with the same annotations 1",
        "text that occurs before, with the other annotations 1",
        "span with more than one label 2",
        "span over a longer or earlier one 3",
        "span expanded to whole tokens 1",
    ):
        assert line in lines_of(result)
    report = json.loads((tmp_path / "a.import.json").read_text())
    assert report["labelled"]["found"]["span with more than one label"] == 2


@pytest.mark.parametrize(
    ("mode", "spans", "lost"),
    [("expand", ["Bonnland", "Bo"], {}), ("strict", ["Bo"], {"begins or ends": 1})],
)
def test_spans_that_fit_no_token(tmp_path, mode, spans, lost):
    path, output = tmp_path / "a.jsonl", tmp_path / "a.spacy"
    alone = {"text": "In Bonnland.", "label": [[3, 7, "City"]]}
    path.write_text(f"{json.dumps(LINES['b'])}\n{json.dumps(alone)}\n")
    result = run(path, output, "--alignment-mode", mode)
    assert result.exit_code == 0, result.output
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert [ent.text for ent in docs[0].ents] == spans
    # A text whose only span is left out is no text without one.
    assert len(docs) == (2 if mode == "expand" else 1)
    report = json.loads((tmp_path / "a.import.json").read_text())
    expected = {"begins or ends inside a token": 2} if lost else {}
    assert report["annotations"]["lost"] == expected


def test_agreement_is_told(tmp_path):
    result = [{"value": {"start": 3, "end": 7, "labels": ["City"]}}]
    annotations = [{"result": result}, {"result": []}, {"result": result}]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps([{"data": {"t": "In Rome."}, "annotations": annotations}])
    )
    done = run(path, tmp_path / "a.spacy", "--annotators", "majority")
    assert done.exit_code == 0, done.output
    assert "Annotators agree by 50.0 F1" in done.output
    report = json.loads((tmp_path / "a.import.json").read_text())
    assert report["labelled"]["agreement"] == 0.5
    assert report["annotations"]["spans"] == 1


def test_predictions_and_offsets_on_request(tmp_path):
    value = {"start": 3, "end": 6, "text": "Rome", "labels": ["City"]}
    task = {"data": {"t": "In Rome."}, "predictions": [{"result": [{"value": value}]}]}
    path, output = tmp_path / "a.json", tmp_path / "a.spacy"
    path.write_text(json.dumps([task]))
    done = run(path, output)
    assert done.exit_code == 1 and "but predicted (1)" in " ".join(lines_of(done))
    done = run(path, output, "--predictions")
    assert done.exit_code == 1 and "no annotation left" in " ".join(lines_of(done))
    done = run(path, output, "--predictions", "--fix-offsets")
    assert done.exit_code == 0, done.output
    assert "offsets mended: the end belongs to the span 1" in lines_of(done)


@pytest.mark.parametrize("content", ["", "[1, 2]", "[", "\n \n"])
def test_names_of_tags_that_are_none(tmp_path, content):
    (tmp_path / "names.txt").write_text(content)
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a"], "ner_tags": [0]}\n')
    done = run(
        *(tmp_path / "a.jsonl", tmp_path / "a.spacy", "--labels"),
        tmp_path / "names.txt",
    )
    assert done.exit_code == 1 and "[N641]" in done.output


def test_the_form_that_was_recognised_is_told(tmp_path):
    row = {"text": "Ana sat", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    rows = [{**row, "answer": "accept", "_task_hash": 1}, row]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    result = CliRunner().invoke(app, ["import", str(path), str(tmp_path / "a.spacy")])
    assert "Read as prodigy (1), spans (1)" in result.output
    report = json.loads((tmp_path / "a.import.json").read_text("utf8"))
    assert report["labelled"]["forms"] == {"prodigy": 1, "spans": 1}
