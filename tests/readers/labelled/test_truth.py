"""One truth through every form: 96 of 96 spans with their labels and characters."""

import json

import datasets
import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.corpus.labelled_docs import import_docs, read_docs
from spacy_nuner.readers.records import Reading

from . import truth as made
from .truth import FORMS, TAG_NAMES, TRUTH, expected, found_in


def write(folder, form):
    content, name, _ = FORMS[form]
    path = folder / name
    data = content(TRUTH)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf8"))
    return path


def imported(path, folder, *args):
    output = folder / "out" / "set.spacy"
    result = CliRunner().invoke(app, ["import", str(path), str(output), *args])
    assert result.exit_code == 0, result.output
    report = json.loads(output.with_name("set.import.json").read_text("utf8"))
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    return docs, report


def check(docs, *, has_text, replace=("", "")):
    assert len(docs) == 30
    wanted = expected(TRUTH, has_text=has_text)
    wanted = [[(a, b, c.replace(*replace)) for a, b, c in spans] for spans in wanted]
    assert sum(map(len, wanted)) == 96
    assert found_in(docs) == wanted
    for doc in docs:
        assert [(e.start, e.end, e.label_) for e in doc.ents] == sorted(
            (s.start, s.end, s.label_) for s in doc.spans["concepts"]
        )


def test_the_truth():
    assert len(TRUTH) == 30
    assert sum(len(one.spans) for one in TRUTH) == 96
    assert sum(not one.spans for one in TRUTH) >= 3
    assert any(max(one.text, default="") > "\uffff" for one in TRUTH)


@pytest.mark.parametrize("form", FORMS)
def test_each_form(tmp_path, form):
    path = write(tmp_path, form)
    docs, report = imported(path, tmp_path)
    replace = (" ", "_") if form == "iob" else ("", "")
    check(docs, has_text=FORMS[form][2], replace=replace)
    assert report["annotations"]["lost"] == {}
    assert report["annotations"]["unreadable_lines"] == {}
    docs = read_docs(path)
    assert sum(len(doc.ents) for doc in docs) == 96


NAMED = {
    **{form: form for form in ("prodigy", "doccano", "label-studio", "argilla", "iob")},
    **{
        "label-studio-min": "label-studio-min",
        "conll 2003": "conll",
        "gliner": "gliner",
    },
    **{"spacy2": "spacy2", "tuples": "tuples", "python": "python", "docbin": "spacy"},
    **{"doc to_json": "spans", "tokens": "tokens", "gliner2": "gliner2"},
    **{"gliformer": "gliformer", "records": "jsonl", "tokens json": "json"},
}


@pytest.mark.parametrize("form", NAMED)
def test_a_form_by_its_name(tmp_path, form):
    path = write(tmp_path, form)
    if form not in ("tuples", "label-studio"):
        path = path.rename(tmp_path / "anything")
    docs, _ = imported(path, tmp_path, "--format", NAMED[form])
    assert sum(len(doc.ents) for doc in docs) == 96


def test_brat(tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()
    for number, one in enumerate(TRUTH):
        rows = [
            f"T{n}\t{label.replace(' ', '-')} {a} {b}\t{one.text[a:b]}\n"
            for n, (a, b, label) in enumerate(one.spans)
        ]
        rows += ["R1\tknows Arg1:T1 Arg2:T2\t\n", "#1\tAnnotatorNotes T1\tsure\n"]
        (folder / f"{number:02}.txt").write_text(one.text, encoding="utf8")
        (folder / f"{number:02}.ann").write_text("".join(rows), encoding="utf8")
    (folder / "annotation.conf").write_text("[entities]\nPER\n")
    docs, report = imported(folder, tmp_path)
    check(docs, has_text=True, replace=(" ", "-"))
    assert report["labelled"]["found"] == {"relation": 30, "note": 30}
    one, _ = imported(folder / "01.txt", tmp_path)
    again, _ = imported(folder / "01.ann", tmp_path)
    assert [doc.text for doc in one] == [doc.text for doc in again] == [TRUTH[1].text]


@pytest.fixture(scope="module")
def tagged():
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=TAG_NAMES)),
        }
    )
    rows = made.tag_rows(TRUTH, TAG_NAMES)
    return datasets.Dataset.from_list(rows, features=features)


def test_parquet_names_its_tags(tmp_path, tagged):
    tagged.to_parquet(tmp_path / "train.parquet")
    docs, _ = imported(tmp_path / "train.parquet", tmp_path)
    check(docs, has_text=False)
    docs, _ = imported(f"hub:{tmp_path}", tmp_path)
    check(docs, has_text=False)


def test_arrow_and_names_beside_json_lines(tmp_path, tagged):
    tagged.save_to_disk(tmp_path / "set")
    docs, _ = imported(tmp_path / "set", tmp_path)
    check(docs, has_text=False)
    # Without the features: the names lie beside the file.
    tagged.to_json(tmp_path / "set" / "rows.jsonl")
    docs, _ = imported(tmp_path / "set" / "rows.jsonl", tmp_path)
    check(docs, has_text=False)


def test_names_of_tags_are_given(tmp_path, tagged):
    path = tmp_path / "rows.jsonl"
    tagged.to_json(path)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(TAG_NAMES) + "\n")
    (tmp_path / "names.json").write_text(json.dumps(TAG_NAMES))
    for given in (",".join(TAG_NAMES), str(names), str(tmp_path / "names.json")):
        docs, _ = imported(path, tmp_path, "--labels", given)
        check(docs, has_text=False)
    result = CliRunner().invoke(app, ["import", str(path), str(tmp_path / "x.spacy")])
    assert result.exit_code == 1
    assert "N102" in result.output and "--labels" in result.output


@pytest.mark.parametrize("form", ["doccano", "label-studio", "gliner", "tokens"])
def test_records_come_out_too(tmp_path, form):
    output = tmp_path / "records.jsonl"
    import_docs(write(tmp_path, form), output, reading=Reading())
    docs, _ = imported(output, tmp_path)
    assert sum(len(doc.ents) for doc in docs) == 96
