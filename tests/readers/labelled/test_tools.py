"""What is particular to the files of each labelling tool."""

import gzip
import json

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_nuner.corpus.labelled_docs import import_docs, read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.forms import find_row_form, read_record
from spacy_nuner.readers.records import BadRow, Reading, Row, Source
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources

TEXT = "Ana met Bo in Rome."


def read(data, **choices):
    source = Source("x", "jsonl", reading=Reading(**choices))
    return read_record(Row(source, 1, [json.dumps(data)], 0))


def pairs(record):
    return [(one.text, one.concept) for one in record.entities]


def kinds(record):
    return [loss.kind for loss in record.losses]


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf8", newline="")
    return path


ROWS = {
    "gliner": {"tokenized_text": ["a"], "ner": []},
    "argilla": {"fields": {"t": "a"}, "responses": {}},
    "label-studio": {"data": {"t": "a"}, "annotations": []},
    "spacy2": {"raw": "a", "sentences": []},
    "tokens": {"tokens": ["a"], "tags": ["O"]},
    "gliner2": {"text": "a", "schema": {"entities": {}}},
    "gliformer": {"text": "a", "extraction": []},
    "doccano": {"text": "a", "label": []},
    "label-studio-min": {"t": "a", "ner": [{"start": 0, "end": 1, "labels": ["X"]}]},
    "prodigy": {"text": "a", "answer": "accept"},
    "spans": {"text": "a", "spans": []},
    None: {"text": "a", "entities": [], "labels": []},
}


@pytest.mark.parametrize("form", ROWS)
def test_a_row_is_recognised_by_its_content(form):
    assert find_row_form(ROWS[form]) == form


def test_doccano():
    """Rows of several releases; relations are counted."""
    triples = [[0, 3, "PER"], [14, 18, "LOC"], [3, 3, "X"], ["0", 1, "X"], [0, 1], 7]
    for key in ("label", "labels", "entities"):
        record = read({"text": TEXT, key: triples})
        assert pairs(record) == [("Ana", "PER"), ("Rome", "LOC")]
        assert kinds(record) == [
            "span outside the text",
            "offsets are not two numbers",
            *["span is not a triple of start, end and label"] * 2,
        ]
    assert pairs(read({"data": TEXT, "label": triples[:1]})) == [("Ana", "PER")]
    entity = {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}
    record = read({"text": TEXT, "entities": [entity], "relations": [{}, {}]})
    assert pairs(record) == [("Ana", "PER")] and record.passed == {"relation": 2}
    assert pairs(read({"text": TEXT, "entities": [], "relations": []})) == []


def test_several_labels_and_what_is_no_span_in_label_studio():
    result = [
        {"type": "labels", "value": {"start": 0, "end": 3, "labels": ["A", "B"]}},
        {"type": "labels", "value": {"start": 8, "end": 10, "labels": []}},
        {"type": "choices", "value": {"choices": ["good"]}},
        # Of one region, which is there as a span besides.
        {"type": "choices", "value": {"start": 0, "end": 3, "choices": ["sure"]}},
        {"type": "textarea", "value": {"start": 0, "end": 3, "text": ["a note"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    task = {"data": {"t": TEXT, "n": 7}, "annotations": [{"result": result}]}
    record = read(task)
    assert pairs(record) == [("Ana", "A"), ("Ana", "B")]
    assert kinds(record) == ["span without a label"]
    assert record.passed == {"choices": 2, "textarea": 1, "relation": 1}
    with pytest.raises(BadRow, match="no text"):
        read({"data": {"n": 7}, "annotations": [{"result": []}]})


def test_the_text_is_where_the_words_are():
    """Not in the longest field, and not in the first."""
    value = {"start": 0, "end": 3, "text": "Ana", "labels": ["PER"]}
    fields = {"a": "Bo", "long": "x" * 99, "mine": TEXT}
    task = {"data": fields, "annotations": [{"result": [{"value": value}]}]}
    assert read(task).text == TEXT
    assert read({**fields, "ner": [value]}).text == TEXT
    assert read({"data": {**fields, "text": "short"}, "annotations": [{}]}).text == (
        "short"
    )


def test_a_text_that_nothing_points_to_is_not_guessed():
    fields = {"title": "The Countess of Berlin", "body": "Ana met the Countess there."}
    span = {"start": 0, "end": 3, "label": "PER"}
    argilla = {"fields": fields, "responses": {"q": [{"value": [span]}]}}
    flat = {"id": "1", "status": "completed", **fields, "q.responses": [[span]]}
    rows = [argilla, flat, {"data": fields, "annotations": [{"result": []}]}]
    for row in rows:
        with pytest.raises(BadRow, match="--field") as caught:
            read(row)
        assert caught.value.kind.startswith("several texts")
        assert read(row, field="body").text == fields["body"]
        with pytest.raises(BadRow, match="no text"):
            read(row, field="other")
    # One alone that has a blank, one called "text", and twice the same are no question.
    for more in ({"url": "a.b/" + "c" * 99}, {"text": "Ana"}, {"copy": fields["body"]}):
        row = {**argilla, "fields": {"body": fields["body"], **more}}
        assert read(row).text == more.get("text", fields["body"])


def test_gliner_ends_inclusively_and_says_what_it_looked_for():
    ner = [[0, 0, "PER"], [2, 3, "LOC"], [3, 4, "X"], [2, 1, "X"], ["0", 1, "X"], [1]]
    words = ["Ana", "in", "New", "York"]
    row = {"tokenized_text": words, "ner": ner, "ner_labels": ["PER", "LOC", "DATE"]}
    record = read(row)
    assert record.words == words and record.labels == ["PER", "LOC", "DATE"]
    assert pairs(record) == [("Ana", "PER"), ("New York", "LOC")]
    assert kinds(record) == [
        *["span outside the tokens"] * 2,
        "offsets are not two numbers",
        "span is not a triple of first, last and label",
    ]
    with pytest.raises(BadRow, match="a token is not a string"):
        read({"tokenized_text": ["a", 7], "ner": []})


@pytest.mark.parametrize("suffix", [".spacy", ".jsonl"])
def test_what_was_looked_for_is_kept(tmp_path, suffix):
    row = {"tokenized_text": ["Ana", "sat"], "ner": [[0, 0, "PER"]]}
    rows = [
        {**row, "ner_labels": ["PER", "DATE"]},
        {**row, "ner": [], "ner_labels": ["DATE"]},
        row,
        {"input": TEXT, "output": {"entities": {"DATE": [], "PER": ["Ana"]}}},
        {"text": TEXT, "extraction": [{"all_labels": ["DATE"], "ner": [["Bo", "A"]]}]},
    ]
    path = write(tmp_path, "a.json", json.dumps(rows))
    import_docs(path, tmp_path / f"first{suffix}")
    import_docs(tmp_path / f"first{suffix}", tmp_path / "again.spacy")
    docs = (
        DocBin().from_disk(tmp_path / "again.spacy").get_docs(spacy.blank("en").vocab)
    )
    found = [doc.spans["concepts"].attrs.get("labels") for doc in docs]
    assert found == [["PER", "DATE"], ["DATE"], None, ["DATE", "PER"], ["DATE"]]


def test_words_without_offsets():
    output = {
        "entities": {"person": ["Ana", "Bo", 7, ""], "city": "Rome", "date": []},
        "entity_descriptions": {"city": "a large place"},
        "classifications": [{}],
    }
    record = read({"input": TEXT, "output": output})
    assert pairs(record) == [("Ana", "person"), ("Bo", "person"), ("Rome", "city")]
    assert record.entities[2].description == "a large place"
    assert record.passed == {"classifications": 1} and len(record.losses) == 2
    tasks = [{"ner": [["Ana", "person"], ["Bo"]]}, {"name": "other"}]
    record = read({"text": TEXT, "extraction": tasks})
    assert pairs(record) == [("Ana", "person")]
    assert kinds(record) == ["span is not a pair of words and label"]
    with pytest.raises(BadRow, match="no annotation"):
        read({"input": TEXT, "output": {"json_structures": []}})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"ner_tags": ["O"]}, "not a tag for each token"),
        ({"ner_tags": [0, 1]}, "tags are numbers without names"),
        ({"ner_tags": ["B-X", "y"]}, "not a tag"),
        ({"ner_tags": [None, "O"]}, "a tag is neither a name nor a number"),
        ({"ner_tags": [True, "O"]}, "a tag is neither a name nor a number"),
        ({"ner_tags": "OO"}, "tokens and tags are not lists"),
    ],
)
def test_tags_that_are_none(row, reason):
    with pytest.raises(BadRow) as caught:
        read({"tokens": ["a", "b"], **row}, form="tokens")
    assert caught.value.kind == reason


def test_numbers_of_tags():
    row = {"words": ["a", "b", "c"], "labels": [0, 1, 2]}
    assert pairs(read(row, labels=("O", "film", "art-x"))) == [
        ("b", "film"),
        ("c", "art-x"),
    ]
    with pytest.raises(BadRow, match="a tag's number has no name"):
        read(row, labels=("O", "X"))
    assert pairs(read({"tokens": ["a", "", "b"], "tags": ["B-X", "I-X", "I-X"]})) == [
        ("a b", "X")
    ]


def test_tags_without_a_label():
    row = {"tokens": ["a", "b", "c", "d"], "ner_tags": ["B", "I", "O", "B"]}
    assert pairs(read(row)) == [("a b", "ENTITY"), ("d", "ENTITY")]
    row = {"tokens": ["a", "b"], "ner_tags": [0, 1]}
    assert pairs(read(row, labels=("O", "B", "I"))) == [("b", "ENTITY")]


def test_spacy2():
    """Text as written; tokens without a tag; nothing annotated; several sentences."""

    def paragraph(tags, raw=None):
        tokens = [{"orth": w, "ner": t} for w, t in zip("ab,", tags, strict=True)]
        return {"raw": raw, "sentences": [{"tokens": tokens}] * 2}

    record = read(paragraph(["B-X", "L-X", "O"], "a b,\na b,"))
    assert (record.text, pairs(record)) == ("a b,\na b,", [("a b", "X")] * 2)
    assert record.words == ["a", "b", ",", "\n", "a", "b", ","]
    assert record.spaces == [True, False, False, False, True, False, False]
    record = read(paragraph(["U-X", "-", "O"]))
    assert (record.text, record.passed) == ("a b , a b ,", {"token without a tag": 2})
    record = read(paragraph(["U-X", "O", "O"], "other"))
    assert record.text == "a b , a b ,"
    assert record.passed == {"tokens that do not fit the text": 1}
    with pytest.raises(BadRow, match="not annotated yet"):
        read(paragraph(["-", "-", "-"]))


def test_a_document_is_cut_into_its_paragraphs(tmp_path):
    one = {"sentences": [{"tokens": [{"orth": "Ana", "ner": "U-PER"}]}]}
    path = write(tmp_path, "a.json", json.dumps([{"paragraphs": [one, one, 7]}]))
    (source,) = find_sources([path])
    rows = list(read_rows(source))
    assert [row.line for row in rows] == [1, 1, 1]
    assert [pairs(read_record(row)) for row in rows[:2]] == [[("Ana", "PER")]] * 2
    with pytest.raises(NunerError, match="N606.*line 1: not a JSON object"):
        read_docs(path)


def test_tuples_of_the_annotator_for_spacy(tmp_path):
    rows = [[TEXT, {"entities": [[0, 3, "PER"]]}], None]
    data = {"classes": ["PER"], "annotations": rows}
    (doc,) = read_docs(write(tmp_path, "a.json", json.dumps(data, indent=1)))
    assert [ent.text for ent in doc.ents] == ["Ana"]
    # In a folder as well, beside what is no set.
    write(tmp_path, "dataset_info.json", json.dumps({"features": {}}))
    (doc,) = read_docs(tmp_path)
    assert [ent.text for ent in doc.ents] == ["Ana"]


def test_a_list_of_labels_before_the_one_of_sentences(tmp_path):
    content = (
        'LABELS = ["PER", "ORG"]\n'
        'TRAIN_DATA = [("Ana sat", {"entities": [(0, 3, "PER")]})]\n'
    )
    (doc,) = read_docs(write(tmp_path, "train.py", content))
    assert [ent.text for ent in doc.ents] == ["Ana"]


def test_a_python_file_is_not_run(tmp_path):
    good = '("Ana sat", {"entities": [(0, 3, "PER")]})'
    bad = 'open("made", "w")'
    content = f'import os\nx = 7\nDATA = [\n{good},\n{bad},\n("a", {bad}),\n]\n{bad}\n'
    path = write(tmp_path, "train.py", content)
    report = import_docs(path, tmp_path / "a.spacy")
    assert report["records"]["quarantined"] == {"not a literal": 2}
    assert report["records"]["written"] == 1
    names = (path.name for path in tmp_path.iterdir() if path.name[0] != ".")
    assert sorted(names) == [
        *("a.import.json", "a.quarantine.jsonl", "a.spacy", "train.py")
    ]
    for text in (
        "x = 1\n",
        "DATA = [",
        "DATA = " + "[" * 1000,
        "x=" + "-" * 9999 + "1",
    ):
        with pytest.raises(NunerError):
            import_docs(write(tmp_path, "b.py", text), tmp_path / "b.spacy")
    # Keys and values that JSON has not are no traceback.
    odd = '[{1: 2, "a": 3}, {(1, 2): 3}, ("a", {1}), {"text": "x", "output": {3: 4}}]'
    path = write(tmp_path, "odd.py", f"DATA = [{good}, {odd[1:]}")
    report = import_docs(path, tmp_path / "odd.spacy")
    assert report["records"]["written"] == 1
    assert sum(report["records"]["quarantined"].values()) == 4
    one = write(tmp_path, "c.txt", f"TRAIN_DATA = [{good}]")
    assert [doc.ents[0].text for doc in read_docs(one)] == ["Ana"]


def test_iob_of_spacy(tmp_path):
    content = "I|PRP|O like|VBP|O New|B-GPE York|I-GPE\n\n||O a|b\nx|O\n"
    path = write(tmp_path, "a.iob", content)
    (source,) = find_sources([path])
    assert source.format == "iob"
    first, bad, last = read_rows(source)
    assert pairs(read_record(first)) == [("New York", "GPE")]
    assert (bad.line, bad.problem.kind) == (3, "not a word and its tag")
    assert read_record(last).text == "x"


def test_packed_annotations_of_brat(tmp_path):
    write(tmp_path, "a.txt", "Ana met Bo.")
    packed = tmp_path / "a.ann.gz"
    packed.write_bytes(gzip.compress(b"T1\tPER 0 3\tAna\nT2\tPER 8 10\tBo\n"))
    (doc,) = read_docs(packed)
    assert [ent.text for ent in doc.ents] == ["Ana", "Bo"]


def test_brat_parts_and_other_lines(tmp_path):
    text = "Ana Lima\nSouto met Bo and Eva."
    write(tmp_path, "a.txt", text)
    lines = [
        "T1\tPER 0 8;9 14\tAna Lima Souto",  # over a line break: brat writes parts
        "T2\tPER 19 21;26 29\tBo Eva",  # really discontinuous
        "T3\tPER 26 29",  # the words may be missing
        "T4\tPER 26 99\tEva",
        "T5\tPER 0 x\tAna",
        "T6 PER 0 3 Ana",
        "T7\tPER 0 2\tAna",
        *("R1\tknows Arg1:T1 Arg2:T2", "E1\tMeet:T1", "A1\tSure T1", "*\tEquiv T1 T2"),
        *("N1\tReference T1 x:1\tAna", "#1\tAnnotatorNotes T1\tx", "", "?"),
    ]
    path = write(tmp_path, "a.ann", "\r\n".join(lines))
    (source,) = find_sources([tmp_path])
    (row,) = read_rows(source)
    record = read_record(row)
    assert pairs(record) == [("Ana Lima\nSouto", "PER"), ("Eva", "PER")]
    assert kinds(record) == [
        "discontinuous span",
        "offsets hold something else",
        *["not a line of brat"] * 2,
        "offsets: the end belongs to the span (--fix-offsets mends them)",
    ]
    assert record.passed == {
        **{"relation": 2, "event": 1, "attribute": 1, "normalisation": 1, "note": 1},
        "line of another kind": 1,
    }
    report = import_docs(path, tmp_path / "o" / "a.spacy")
    assert report["annotations"]["spans"] == 2
    assert report["inputs"][0]["text"]["file"] == str(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(NunerError, match="N608.*no text beside"):
        read_docs(path)


def test_a_discontinuous_span_does_not_refuse_a_set(tmp_path):
    write(tmp_path, "a.txt", "Ana met Bo.")
    lines = "T1\tPER 0 3\tAna\nT2\tPER 0 3;8 10\tAna Bo\n"
    write(tmp_path, "a.ann", lines)
    with pytest.warns(UserWarning, match="W101.*1 discontinuous span"):
        (doc,) = read_docs(tmp_path)
    assert [ent.text for ent in doc.ents] == ["Ana"]


def test_a_task_of_prodigy_without_spans_is_a_negative(tmp_path):
    rows = [
        {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "PER"}]},
        {"text": TEXT, "answer": "accept"},
        {"text": TEXT, "spans": None, "answer": "accept", "_task_hash": 4},
        {"text": TEXT, "spans": None},
        {"text": TEXT, "_input_hash": 7},
        {"text": TEXT, "spans": [], "answer": "reject"},
        {"text": TEXT, "answer": "ignore"},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.warns(UserWarning, match="1 rejected.*1 ignored"):
        docs = read_docs(path)
    assert [len(doc.ents) for doc in docs] == [1, 0, 0, 0, 0]
    assert all(token.ent_iob == 2 for token in docs[1]), "annotated as outside"


def test_half_a_surrogate_pair_is_told_with_its_line(tmp_path):
    good = {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    half = "Ana \ud83d sat"
    for bad in (
        {"text": half, "spans": []},
        {"text": TEXT, "id": half, "spans": []},
        {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": half}]},
        {"tokens": ["a", half], "tags": ["O", "O"]},
        {"tokens": ["a"], "tags": [f"B-{half}"]},
        {"data": {"t": half}, "annotations": [{"result": []}]},
        {"fields": {"t": half}, "responses": {"q": [{"value": []}]}},
        {"input": TEXT, "output": {"entities": {half: ["Ana"]}}},
        {"tokenized_text": ["a"], "ner": [], "ner_labels": [half]},
        {"text": half, "label": []},
        {"raw": half, "sentences": [{"tokens": [{"orth": "a", "ner": "O"}]}]},
    ):
        path = write(tmp_path, "a.jsonl", f"{json.dumps(good)}\n{json.dumps(bad)}\n")
        if "raw" not in bad:  # words that do not fit are joined instead
            with pytest.raises(NunerError, match="N606.*line 2.*half a surrogate"):
                read_docs(path)
        report = import_docs(path, tmp_path / "o" / "a.spacy")
        assert report["records"]["read"] == 2
        assert report["annotations"]["spans"] == 1


def test_json_of_any_layout(tmp_path):
    """One object, a list over many lines, and broken ones among them."""
    good = {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    for indent in (None, 1, 4):
        text = json.dumps(good, indent=indent)
        for name in ("a.json", "a.jsonl", "a"):
            assert len(read_docs(write(tmp_path, name, text))) == 1
            assert len(read_docs(write(tmp_path, name, f"[{text}, {text}]"))) == 2
    spread = '{"text": "Ana left",\n "spans": [{"start": 0, "end": 3, "label": "A"}]}'
    assert len(read_docs(write(tmp_path, "c.json", spread))) == 1
    lines = json.dumps([good] * 5, indent=2).split("\n")
    starts = [n for n, line in enumerate(lines) if line == "  {"]
    lines[starts[1]] += '"a" "b"'
    lines[starts[3] + 1] = lines[starts[3] + 1].replace(",", "")
    path = write(tmp_path, "b.json", "\n".join(lines))
    report = import_docs(path, tmp_path / "o" / "b.spacy")
    assert report["records"]["written"] == 3
    assert report["records"]["quarantined"] == {"malformed JSON": 2}


def test_only_rows_of_a_folder_are_read(tmp_path):
    good = {"text": TEXT, "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    write(tmp_path, "a.json", json.dumps(good, indent=2))
    write(tmp_path, "b.json", json.dumps(good) + "\n" + json.dumps(good))
    write(tmp_path, "dataset_info.json", json.dumps({"features": {}}))
    write(tmp_path, "x.import.json", json.dumps({"version": 1}, indent=2))
    write(tmp_path, "setup.py", "x = [1]")
    write(tmp_path, "notes.txt", "x")
    assert len(read_docs(tmp_path)) == 3


def test_files_of_columns_that_are_damaged(tmp_path):
    for name, content in (("a.parquet", b"PAR1xxPAR1"), ("a.arrow", b"\xff" * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NunerError, match="N640"):
            read_docs(tmp_path / name)


def test_a_docbin_whose_docs_are_damaged(tmp_path):
    doc = spacy.blank("en")(TEXT)
    docbin = DocBin(docs=[doc])
    docbin.tokens[0] = docbin.tokens[0] * 7 + 1
    docbin.to_disk(tmp_path / "a.spacy")
    for act in (read_docs, lambda path: import_docs(path, tmp_path / "o.spacy")):
        with pytest.raises(NunerError, match="N607"):
            act(tmp_path / "a.spacy")


def test_other_files_of_columns(tmp_path):
    """Arrow files with a footer, and rows of another form in Parquet."""
    import pyarrow
    from pyarrow import feather, parquet

    rows = {"tokens": [["Ana", "sat"]], "ner_tags": [["B-PER", "O"]]}
    feather.write_feather(pyarrow.table(rows), str(tmp_path / "a.arrow"))
    row = {"text": "Ana sat", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "b.parquet")
    for name in ("a.arrow", "b.parquet"):
        (doc,) = read_docs(tmp_path / name)
        assert [ent.text for ent in doc.ents] == ["Ana"]
    row = {"text": "x" * 1_000_001, "spans": []}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "b.parquet")
    with pytest.raises(NunerError, match="N606.*line 1: row too long"):
        read_docs(tmp_path / "b.parquet")


def test_comments_before_a_sentence(tmp_path):
    content = "# id 7\tdomain=en\nAna\t_\t_\tB-PER\n#\tO\n\n# x\nsat\tO\n"
    path = write(tmp_path, "a.conll", content)
    first, second = read_docs(path)
    assert ([token.text for token in first], second.text.strip()) == (
        ["Ana", "#"],
        "sat",
    )
    path = write(tmp_path, "a.conll", "Ana\tB-PER\n# id 7\n")
    with pytest.raises(NunerError, match="N604.*line 2"):
        read_docs(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.conll", "a.json", "a.txt"])
def test_utf16_is_told(tmp_path, name):
    (tmp_path / name).write_bytes("Ana O\n".encode("utf-16"))
    with pytest.raises(NunerError, match="N101.*UTF-16"):
        read_docs(tmp_path / name)


def test_a_byte_order_mark_before_a_text_of_brat(tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()
    write(folder, "a.txt", "\ufeffAna met Bo.")
    write(folder, "a.ann", "T1\tPER 0 3\tAna\nT2\tPER 8 10\tBo\n")
    report = import_docs(
        folder, tmp_path / "o.spacy", reading=Reading(fix_offsets=True)
    )
    assert report["annotations"]["spans"] == 2


FOUND = [("Ana", "PER"), ("Rome", "LOC")]
SPANS = [
    {"start": 0, "end": 3, "label": "PER"},
    {"start": 14, "end": 18, "label": "LOC"},
]


@pytest.mark.parametrize(
    "data",
    [
        # Argilla: columns of `to_datasets`, and by person as its server has them.
        {
            "status": "completed",
            "text": TEXT,
            "span.responses": [SPANS],
            "span.responses.users": ["u"],
            "span.responses.status": ["submitted"],
            "span.suggestion": None,
        },
        {
            "fields": {"text": TEXT},
            "responses": [
                {"values": {"span": {"value": SPANS}}, "status": "submitted"},
                {"values": {"span": {"value": []}}, "status": "discarded"},
            ],
        },
        # Label Studio without words: an address is no text, however long.
        {
            "data": {"my_text": TEXT, "url": "http://example.org/" + "x" * 99},
            "annotations": [
                {
                    "result": [
                        {"value": {**one, "labels": [one["label"]]}} for one in SPANS
                    ]
                }
            ],
        },
        {"text": TEXT, "spans": [list(one.values()) for one in SPANS]},
        # What pipelines of `transformers` and others return.
        {
            "text": TEXT,
            "entities": [
                {"entity_group": "PER", "score": 0.9, "word": "ana", **SPANS[0]},
                {"type": "LOC", "start": 14, "end": 18},
            ],
        },
        {
            "input": TEXT,
            "output": {
                "entities": {"PER": [{"text": "Ana", "confidence": 1}], "LOC": ["Rome"]}
            },
        },
    ],
)
def test_rows_as_tools_write_them(data):
    assert pairs(read(data)) == FOUND


@pytest.mark.parametrize("tags", [["1", "0", "3"], [1.0, 0.0, 3.0]])
def test_numbers_of_tags_as_other_types(tags):
    row = {"tokens": ["Ana", "in", "Rome"], "ner_tags": tags}
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert pairs(read(row, labels=labels)) == FOUND
    with pytest.raises(BadRow, match="tags are numbers without names"):
        read(row)


def test_a_document_on_one_line_is_cut_too(tmp_path):
    row = [TEXT, {"entities": [[0, 3, "PER"], [14, 18, "LOC"]]}]
    data = {"classes": ["PER"], "annotations": [row, None, row]}
    (first, second) = read_docs(write(tmp_path, "a.json", json.dumps(data)))
    for doc in (first, second):
        assert [(ent.text, ent.label_) for ent in doc.ents] == FOUND


@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_that_is_longer_than_a_row_may_be(tmp_path, indent):
    rows = [
        [f"{TEXT} {'x' * 900} {i}", {"entities": [[0, 3, "PER"]]}] for i in range(1200)
    ]
    text = json.dumps({"classes": ["PER"], "annotations": rows}, indent=indent)
    assert len(text) > 1_000_000
    write(tmp_path, "train.json", text)
    write(tmp_path, "dev.json", json.dumps({"classes": [], "annotations": rows[:1]}))
    assert len(read_docs(tmp_path / "train.json")) == 1200
    # In a folder nothing is left out.
    assert len(read_docs(tmp_path)) == 1201


@pytest.mark.parametrize("label", ["PER", "B_PER"])
def test_comments_are_no_words_where_tags_have_other_forms(tmp_path, label):
    sentence = f"Ana {label}\nsat O\n"
    comments = "# sent_id = 3\n# text = Ana sat in Berlin\n"
    path = write(tmp_path, "a.conll", f"{comments}{sentence}\n# 12\n{sentence}")
    docs = read_docs(path)
    assert [doc.text.strip() for doc in docs] == ["Ana sat"] * 2
    assert all([ent.label_ for ent in doc.ents] == ["PER"] for doc in docs)
