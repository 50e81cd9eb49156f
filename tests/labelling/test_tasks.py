"""What is written for a tool comes back from it: texts, spans and labels."""

import json
import warnings

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_nuner.corpus.labelled_docs import import_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.labelling.tasks import FORMS, Mark, Task, check_name, get_config_path
from spacy_nuner.readers.records import Reading

from ..readers.labelled.truth import TRUTH

# brat's labels have no blanks.
NO_BLANKS = {"work of art": "work_of_art"}
USER = "0a1b"
SCORES = {"a": 4.0, "b": 2.0, "c": 0.5}


def make_tasks(form):
    tasks = []
    for one in TRUTH:
        marks = [
            Mark(a, b, NO_BLANKS.get(label, label) if form == "brat" else label, 0.5)
            for a, b, label in one.spans
        ]
        spaces = [bool(token.whitespace_) for token in one.doc]
        tasks.append(Task(one.text, one.words, spaces, marks, 1.0, "because", "s", "d"))
    return tasks


def as_prodigy(text):
    """Accepted as they are: `ner.manual` adds hashes and the verdict."""
    rows = [json.loads(line) for line in text.splitlines()]
    for number, row in enumerate(rows):
        for span, token in ((s, row["tokens"][s["token_start"]]) for s in row["spans"]):
            assert span["start"] == token["start"]
            assert span["end"] == row["tokens"][span["token_end"]]["end"]
        row |= {"_input_hash": number, "_task_hash": -number, "answer": "accept"}
        row |= {"_view_id": "ner_manual", "_session_id": None}
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_doccano(text):
    """Exported: each row has a number, and its metadata stays."""
    rows = [json.loads(line) for line in text.splitlines()]
    rows = [{"id": i, **row, "Comments": []} for i, row in enumerate(rows, 1)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_label_studio(text):
    """Submitted as they are: the regions of the prediction become an annotation."""
    rows = json.loads(text)
    for number, row in enumerate(rows, 1):
        (prediction,) = row["predictions"]
        regions = [
            {**{k: v for k, v in region.items() if k != "score"}, "origin": "manual"}
            for region in prediction["result"]
        ]
        row["id"] = number
        row["annotations"] = [
            {"id": number, "completed_by": 1, "was_cancelled": False, "result": regions}
        ]
    return json.dumps(rows)


def as_argilla(text):
    """Submitted as they are, as `records.to_list(flatten=True)` has them."""
    rows = []
    for row in json.loads(text):
        value = row["suggestions"]["spans"]["value"]
        flat = {"id": row["id"], "_server_id": "x", **row["fields"], **row["metadata"]}
        flat |= {"spans.responses": [value], "spans.responses.users": [USER]}
        flat |= {"spans.responses.status": ["submitted"], "spans.suggestion": value}
        rows.append({**flat, "spans.suggestion.agent": "spacy_nuner"})
    return json.dumps(rows)


RETURNS = {"prodigy": as_prodigy, "doccano": as_doccano}
RETURNS |= {"label-studio": as_label_studio, "argilla": as_argilla}


def write(form, folder):
    path = folder / f"tasks{FORMS[form].suffix}"
    labels = sorted({mark.label for task in make_tasks(form) for mark in task.marks})
    FORMS[form].write(make_tasks(form), labels, path)
    return path


def read(path, folder, **reading):
    import_docs(path, folder / "back.spacy", reading=Reading(**reading))
    docs = DocBin().from_disk(folder / "back.spacy").get_docs(Vocab())
    return {
        doc.text: [(s.start_char, s.end_char, s.label_) for s in doc.spans["concepts"]]
        for doc in docs
    }


def expect(form):
    return {task.text: [mark[:3] for mark in task.marks] for task in make_tasks(form)}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_lost_on_the_way_through_a_tool(form, tmp_path):
    path = write(form, tmp_path)
    if form in RETURNS:
        path.write_text(RETURNS[form](path.read_text("utf8")), encoding="utf8")
    expected = expect(form)
    assert sum(map(len, expected.values())) == 96
    # A sentence without entities is one: its person has seen it.
    assert read(path, tmp_path) == expected


@pytest.mark.parametrize("form", ["label-studio", "argilla", "prodigy"])
def test_predictions_are_none_of_a_person(form, tmp_path):
    path = write(form, tmp_path)
    with pytest.raises(NunerError, match="N102"):
        read(path, tmp_path)
    assert read(path, tmp_path, predictions=True) == expect(form)


@pytest.mark.parametrize("form", ["argilla", "doccano"])
def test_warned_of_characters_that_a_tool_counts_twice(tmp_path, form):
    tasks = [Task(text, [text], [False], []) for text in ("🚀 rocket", "rocket", "𝒂")]
    with pytest.warns(UserWarning, match="W712.*2 texts of 'a.json'"):
        FORMS[form].write(tasks, [], tmp_path / "a.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FORMS[form].write(tasks[1:2], [], tmp_path / "a.json")


def test_label_studio_gets_its_configuration(tmp_path):
    config = get_config_path(write("label-studio", tmp_path)).read_text("utf8")
    assert '<Label value="work of art"/>' in config
    assert '<Text name="text" value="$text"/>' in config


def test_brat_gets_its_configuration_and_parts_at_line_breaks(tmp_path):
    task = Task("New\nYork", ["New", "\n", "York"], [False] * 3, [Mark(0, 8, "CITY")])
    FORMS["brat"].write([task], ["CITY"], tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.ann")
    assert path.read_text("utf8").startswith("T1\tCITY 0 3;4 8\tNew York\n")
    assert "[entities]\nCITY\n" in (tmp_path / "out/annotation.conf").read_text("utf8")
    assert read(tmp_path / "out", tmp_path) == {"New\nYork": [(0, 8, "CITY")]}
    # brat would write each as another label, the last two as the same.
    for label in ("work of art", "Größe", "R&D", "地点", "人物"):
        with pytest.raises(NunerError, match=f"N712.*{label}"):
            FORMS["brat"].write([task], [label], tmp_path / "other")


def test_brat_has_no_note_without_words(tmp_path):
    marks = [Mark(0, 3, "CITY"), Mark(4, 8, "CITY")]
    task = Task("New York", ["New", "York"], [True, False], marks, reason="why")
    FORMS["brat"].write([task], ["CITY"], tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.ann")
    notes = [line for line in path.read_text("utf8").splitlines() if line[0] == "#"]
    assert notes == ["#1\tAnnotatorNotes T1\twhy"]


@pytest.mark.parametrize("form", ["doccano", "prodigy"])
def test_spans_over_each_other_are_warned_of(form, tmp_path):
    words = ["New", "York", "City"]
    marks = [Mark(0, 13, "CITY"), Mark(0, 8, "STATE")]
    apart = Task("New York City", words, [True, True, False], marks[:1])
    task = Task("New York City", words, [True, True, False], marks)
    with pytest.warns(UserWarning, match="W713.*1 sentences of 'a.jsonl'"):
        FORMS[form].write([task, apart], ["CITY", "STATE"], tmp_path / "a.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FORMS[form].write([apart], ["CITY"], tmp_path / "a.jsonl")


def test_label_studio_takes_no_score_above_one(tmp_path):
    tasks = [Task(word, [word], [False], [], score) for word, score in SCORES.items()]
    FORMS["label-studio"].write(tasks, [], tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text("utf8"))
    assert [row["predictions"][0]["score"] for row in rows] == [1.0, 0.5, 0.125]
    FORMS["label-studio"].write(tasks[2:], [], tmp_path / "a.json")
    (row,) = json.loads((tmp_path / "a.json").read_text("utf8"))
    assert row["predictions"][0]["score"] == 0.5


def test_scores_and_reasons_go_along(tmp_path):
    rows = json.loads(write("argilla", tmp_path).read_text("utf8"))
    assert rows[0]["suggestions"]["spans"]["score"] == [0.5, 0.5]
    assert rows[0]["metadata"]["reason"] == "because"
    (first, *_) = DocBin().from_disk(write("spacy", tmp_path)).get_docs(Vocab())
    assert first.spans["concepts"].attrs["scores"] == [0.5, 0.5]
    assert first.user_data["reason"] == "because"
    row = json.loads(write("prodigy", tmp_path).read_text("utf8").split("\n")[0])
    assert row["meta"]["reason"] == "because" and row["spans"][0]["score"] == 0.5
    row = json.loads(write("doccano", tmp_path).read_text("utf8").split("\n")[0])
    assert row["reason"] == "because" and row["scores"] == [0.5, 0.5]
    (first, *_) = sorted(write("brat", tmp_path).glob("*.ann"))
    notes = [line for line in first.read_text("utf8").splitlines() if line[0] == "#"]
    assert notes == [
        "#1\tAnnotatorNotes T1\t0.5000 because",
        "#2\tAnnotatorNotes T2\t0.5000",
    ]


def test_the_name_of_the_file_fits_its_form(tmp_path):
    for form, name in (("jsonl", "a.json"), ("argilla", "a"), ("spacy", "a.jsonl")):
        with pytest.raises(NunerError, match="N107"):
            check_name(tmp_path / name, form)
    assert check_name(tmp_path / "a", "brat") == []
