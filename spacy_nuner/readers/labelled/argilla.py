"""Records of Argilla 2."""

import re
from itertools import zip_longest
from typing import Any

from ..fields import add_loss
from ..records import BadRow, Entity, Reading, Record
from .annotators import (
    CANCELLED,
    FIRST,
    NOT_ANNOTATED,
    PREDICTED,
    Vote,
    get_names,
    set_choice,
)
from .offsets import Offsets, choose_text, refuse

_FLAT = re.compile(r"(.+)\.(responses|suggestion)")
# What may be the status of a response.
SUBMITTED, DISCARDED = "submitted", "discarded"
# Keys of a flat record beside those of the user's fields.
_OWN = {"id", "status", "_server_id"}


def is_argilla(data: dict[str, Any]) -> bool:
    """Tell a record of Argilla, nested or flat."""
    nested = isinstance(data.get("fields"), dict) and (
        "responses" in data or "suggestions" in data
    )
    return nested or any(map(_FLAT.fullmatch, data))


def read_argilla(data: dict[str, Any], reading: Reading) -> Record:
    """Read what people answered to the questions that ask for spans.

    data (dict[str, Any]): The record: "fields" with the text under a key of the
        user's, "responses" with a list of answers by question, each with "value" and
        "user_id", and "suggestions" with one by question; or the same in columns, as
        its `to_list(flatten=True)` and `to_datasets` have it. Where answers have no
        "status" that of the record counts: what is "pending" nobody submitted.
    reading (Reading): What to take. Suggestions are predictions.
    RETURNS (Record): The entities of the responses that count.
    RAISES (BadRow): If nobody answered; what `choose_text` raises.
    """
    if "fields" not in data:
        data = _nest(data)
    fields = data.get("fields")
    if not isinstance(fields, dict):
        raise BadRow("no text", f"found {sorted(data)}")
    responses = _find_responses(data.get("responses"))
    # `to_json` writes no status of responses.
    default = None if data.get("status") == "pending" else SUBMITTED
    known = [(names, values, status or default) for names, values, status in responses]
    answers = [(names, values) for names, values, one in known if one == SUBMITTED]
    if not answers and any(status == DISCARDED for _, _, status in known):
        raise refuse(CANCELLED, fields)
    if not answers:
        suggestions = [
            suggestion["value"]
            for suggestion in _by_question(data.get("suggestions"))
            if isinstance(suggestion, dict) and _is_spans(suggestion.get("value"))
        ]
        if not suggestions or not reading.predictions:
            raise BadRow(PREDICTED if suggestions else NOT_ANNOTATED)
        answers = [(("suggestion",), value) for value in suggestions]
        reading = reading._replace(annotators=FIRST)
    spans = [value for _, values in answers for value in values]
    text = choose_text(fields, spans, reading)
    record = Record(text, [])
    offsets = Offsets(text, fix=reading.fix_offsets)
    votes = []
    for names, values in answers:
        entities: list[Entity] = []
        for value in values:
            try:
                entities.append(
                    offsets.make_entity(
                        *(value.get(key) for key in ("start", "end", "label")),
                        words=value.get("text"),
                    )
                )
            except BadRow as bad:
                add_loss(record, bad, value)
        votes.append(Vote(names, entities))
    record.passed += offsets.passed
    set_choice(record, votes, reading)
    return record


def _nest(data: dict[str, Any]) -> dict[str, Any]:
    """Nest the columns of a flat record: "QUESTION.responses.users" and others."""
    responses, suggestions = {}, {}
    for key, value in data.items():
        found = _FLAT.fullmatch(key)
        if not found or not isinstance(value, list):
            continue
        if found[2] == "suggestion":
            suggestions[found[1]] = {"value": value}
            continue
        users, states = data.get(f"{key}.users"), data.get(f"{key}.status")
        responses[found[1]] = [
            {"value": one, "user_id": user, "status": status}
            for one, user, status in zip_longest(
                value,
                users if isinstance(users, list) else [],
                states if isinstance(states, list) else [],
            )
        ]
    fields = {key: one for key, one in data.items() if key not in _OWN}
    fields = {key: one for key, one in fields.items() if "." not in key}
    nested = {"fields": fields, "responses": responses, "suggestions": suggestions}
    return {**nested, "status": data.get("status")}


def _find_responses(values: Any) -> list[tuple[tuple[str, ...], list[Any], Any]]:
    """Who answered, with which spans, and whether they were submitted."""
    if isinstance(values, list):
        # By person, as its server has them.
        values = {
            (number, question): [{**person, **answer}]
            for number, person in enumerate(values)
            if isinstance(person, dict) and isinstance(person.get("values"), dict)
            for question, answer in person["values"].items()
            if isinstance(answer, dict)
        }
    answers = []
    for question in _by_question(values):
        for response in question if isinstance(question, list) else [question]:
            if not isinstance(response, dict) or not _is_spans(response.get("value")):
                continue
            names = get_names(response.get("user_id"))
            answers.append((names, response["value"], response.get("status")))
    return answers


def _by_question(values: Any) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else []


def _is_spans(value: Any) -> bool:
    """Whether an answer is one of spans; other questions ask for other things."""
    return isinstance(value, list) and all(
        isinstance(one, dict) and "label" in one for one in value
    )
