"""Whose annotation counts, and what is no gold."""

import json

import pytest

from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.labelled.annotators import NO_GOLD, group_annotators
from spacy_nuner.readers.records import BadRow, Reading, Row, Source

TEXT = "Ana met Bo in Rome."
ANA, BO, ROME = ((0, 3, "PER"), (8, 10, "PER"), (14, 18, "LOC"))
VOTES = {"7": [ANA, BO], "eve@x.org": [ANA, BO, ROME], "9": [ANA, (14, 18, "ORG")]}
CHOICES = {
    "first": [ANA, BO],
    "majority": [ANA, BO],
    "union": [ANA, BO, ROME, (14, 18, "ORG")],
    "eve@x.org": [ANA, BO, ROME],
    "9": [ANA, (14, 18, "ORG")],
}


def spans(triples, key="label"):
    keys = ("start", "end", key)
    made = [dict(zip(keys, triple, strict=True)) for triple in triples]
    if key == "labels":
        made = [{**one, "labels": [one["labels"]]} for one in made]
    return made


def label_studio(votes, **more):
    annotations = []
    for name, triples in votes.items():
        who = int(name) if name.isdigit() else {"id": 8, "email": name}
        result = [{"value": value} for value in spans(triples, "labels")]
        annotations.append({"completed_by": who, "result": result, **more})
    return [{"data": {"text": TEXT}, "annotations": annotations}]


def argilla(votes):
    responses = [{"value": spans(v), "user_id": name} for name, v in votes.items()]
    return [{"fields": {"text": TEXT}, "responses": {"ner": responses}}]


def prodigy(votes):
    return [
        {"text": TEXT, "spans": spans(v), "answer": "accept", "_annotator_id": name}
        for name, v in votes.items()
    ]


def json_min(votes):
    return [
        {"id": 3, "t": TEXT, "ner": spans(v, "labels"), "annotator": name}
        | {"annotation_id": n}
        for n, (name, v) in enumerate(votes.items())
    ]


def read(rows, **choices):
    source = Source("x", "jsonl", reading=Reading(**choices))
    rows = [Row(source, n, [json.dumps(row)], 0) for n, row in enumerate(rows, 1)]
    (row,) = group_annotators(rows)
    return read_record(row)


@pytest.mark.parametrize("form", [label_studio, argilla, prodigy, json_min])
@pytest.mark.parametrize("choice", CHOICES)
def test_several_annotators(form, choice):
    record = read(form(VOTES), annotators=choice)
    found = [(one.start, one.end, one.concept) for one in record.entities]
    assert sorted(found) == sorted(CHOICES[choice])
    # 7 spans by 3 people; ANA by all, BO by two of them: pairs with 3 + 1 in common.
    assert record.agreement == (2 * (3 + 1), 2 * 7)


@pytest.mark.parametrize("form", [label_studio, argilla, prodigy, json_min])
def test_one_annotator_or_one_who_is_not_there(form):
    record = read(form({"7": [ANA]}))
    assert [one.text for one in record.entities] == ["Ana"]
    assert record.agreement is None
    with pytest.raises(BadRow, match="annotated by another"):
        read(form({"7": [ANA]}), annotators="nobody")


def test_argilla_says_of_responses_or_of_records_what_was_submitted():
    (record,) = argilla({"7": [ANA]})
    # `to_json` writes no status of responses, later releases that of the record.
    assert read([{**record, "status": "completed"}]).entities
    with pytest.raises(BadRow, match="not annotated yet"):
        read([{**record, "status": "pending"}])
    (response,) = record["responses"]["ner"]
    for status, reason in (("draft", "not annotated"), ("discarded", "cancelled")):
        responses = {"ner": [{**response, "status": status}]}
        for suggestions in ({}, SUGGESTED):
            row = {**record, "responses": responses, "suggestions": suggestions}
            with pytest.raises(BadRow, match=reason):
                read([{**row, "status": "completed"}])
    # Of several people those count who submitted.
    drafted = {**response, "user_id": "8", "value": spans([BO]), "status": "draft"}
    submitted = {**response, "status": "submitted"}
    responses = {"ner": [drafted, submitted]}
    found = read([{**record, "responses": responses, "status": "pending"}])
    assert [one.text for one in found.entities] == ["Ana"]


def test_what_was_checked_comes_first():
    (task,) = label_studio(VOTES)
    task["annotations"][2]["ground_truth"] = True
    assert [one.concept for one in read([task]).entities] == ["PER", "ORG"]


def test_of_one_person_the_last_annotation_counts_or_the_true_one():
    (task,) = label_studio({"7": [(0, 3, "ORG")], "8": [BO]})
    first, other = task["annotations"]
    corrected = {**first, "result": [{"value": one} for one in spans([ANA], "labels")]}
    task["annotations"] = [first, corrected, other]
    found = read([task])
    assert [one.concept for one in found.entities] == ["PER"]
    assert found.passed == {"earlier annotation of the same person": 1}
    # They are two people, not three.
    assert found.agreement == (0, 2)
    task["annotations"] = [{**first, "ground_truth": True}, corrected, other]
    assert [one.concept for one in read([task]).entities] == ["ORG"]


def test_a_damaged_row_of_one_costs_that_row_alone():
    one, other = (row for row in prodigy({"7": [ANA], "8": [BO]}))
    record = read([one, {**other, "spans": {"x": 5}}])
    assert [loss.kind for loss in record.losses] == ["'spans' is not a list"]
    assert len(record.entities) == 1 and record.text == TEXT
    with pytest.raises(BadRow, match="is not a list"):
        read([{**one, "spans": {"x": 5}}, {**other, "spans": {"x": 5}}])


def test_rows_of_one_annotator_stay_what_they_are():
    source = Source("x", "jsonl")
    rows = [*prodigy({"7": [ANA]}), *prodigy({"7": [BO]})]
    rows = [Row(source, n, [row], 0) for n, row in enumerate(rows, 1)]
    other = Row(source, 9, ["broken"], 0)
    assert list(group_annotators([*rows, other])) == [other, *rows]


PREDICTED = [{"model_version": "m", "result": [{"value": spans([ROME], "labels")[0]}]}]
SUGGESTED = {"ner": {"value": spans([ROME]), "score": 0.9, "agent": "m"}}
NONE = {
    "not annotated yet": [
        {"data": {"t": TEXT}, "annotations": []},
        {"fields": {"t": TEXT}, "responses": {}, "suggestions": {}},
        {"fields": {"t": TEXT}, "responses": {"q": [{"value": "good"}]}},
        {
            "fields": {"t": TEXT},
            "responses": {"q": [{"value": spans([ROME]), "status": "draft"}]},
        },
    ],
    "cancelled by the annotator": [
        *label_studio(VOTES, was_cancelled=True),
        {"data": {"image": 7}, "annotations": [{"was_cancelled": True}]},
        {
            "data": {"t": TEXT},
            "annotations": [{"was_cancelled": True}],
            "predictions": PREDICTED,
        },
    ],
    "not annotated, but predicted": [
        {"data": {"t": TEXT}, "annotations": [], "predictions": PREDICTED},
        {"fields": {"t": TEXT}, "responses": {}, "suggestions": SUGGESTED},
    ],
    "rejected by the annotator": [{"text": TEXT, "answer": "reject"}],
    "ignored by the annotator": [{"text": TEXT, "spans": None, "answer": "ignore"}],
}


@pytest.mark.parametrize("reason", NONE)
def test_what_is_no_gold(reason):
    assert reason in NO_GOLD
    for row in NONE[reason]:
        with pytest.raises(BadRow) as caught:
            read([row])
        assert caught.value.kind == reason
        if "cancelled" in reason:
            with pytest.raises(BadRow, match=reason):
                read([row], predictions=True)
        if "predicted" in reason:
            (found,) = read([row], predictions=True, annotators="7").entities
            assert found.text == "Rome"


def test_an_answer_wins_over_what_was_predicted():
    (record,) = argilla({"7": [ANA]})
    found = read([{**record, "suggestions": SUGGESTED}], predictions=True)
    assert [one.text for one in found.entities] == ["Ana"]
    # To mark nothing is an answer too.
    (record,) = argilla({"7": []})
    assert read([{**record, "suggestions": SUGGESTED}], predictions=True).entities == []
    (task,) = label_studio({"7": []})
    task["predictions"] = PREDICTED
    assert read([task], predictions=True).entities == []
