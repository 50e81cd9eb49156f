"""Texts with spans, as Prodigy, spacy-llm and `Doc.to_json` have them."""

from collections.abc import Iterator
from typing import Any

from ..fields import add_loss, get_offsets, get_string
from ..records import BadRow, Entity, Record

# What an annotator may say of a task in Prodigy, besides "accept".
REFUSALS = {"reject": "rejected by the annotator", "ignore": "ignored by the annotator"}


def read_spans(data: dict[str, Any], text: str) -> Record:
    """Read the spans of a text.

    data (dict[str, Any]): An object with "spans" (a list, or lists by the key of a
        span group), "ents" (a list), or both; a task of Prodigy may have neither. Each
        span has "start", "end" (character offsets, end exclusive) and "label", and
        perhaps a "description".
    text (str): Its text.
    RETURNS (Record): The spans; one that is under both keys counts once.
    RAISES (BadRow): If the annotator refused the text, or there is no list.
    """
    verdict = data.get("answer")
    if isinstance(verdict, str) and verdict in REFUSALS:
        raise BadRow(REFUSALS[verdict])
    found: dict[Entity, None] = {}
    record = Record(text, [])
    for value in _values(data):
        try:
            found.setdefault(_entity_of_span(value, text))
        except BadRow as bad:
            add_loss(record, bad, value)
    record.entities = list(found)
    return record


def _values(data: dict[str, Any]) -> Iterator[Any]:
    spans, ents = data.get("spans"), data.get("ents")
    groups = list(spans.values()) if isinstance(spans, dict) else [spans]
    for name, group in [*(("spans", one) for one in groups), ("ents", ents)]:
        if isinstance(group, list):
            yield from group
        elif group is not None:
            raise BadRow(f"'{name}' is not a list")


def _entity_of_span(value: Any, text: str) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("span is not an object")
    label = get_string(value, "label")
    if not label or not label.strip():
        raise BadRow("span without a label")
    start, end = get_offsets(value)
    if start is None or end is None or not 0 <= start < end <= len(text):
        raise BadRow("span outside the text")
    if not text[start:end].strip():
        raise BadRow("span of blanks alone")
    description = get_string(value, "description")
    return Entity(text[start:end], label, description, start, end)
