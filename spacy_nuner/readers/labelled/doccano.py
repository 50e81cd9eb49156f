"""Texts with triples of start, end and label: doccano, and the tuples of spaCy 2."""

from typing import Any

from ..fields import add_loss
from ..records import BadRow, Reading, Record
from .offsets import Offsets

# doccano writes "label"; older releases wrote "labels"; spaCy 2 has "entities".
_KEYS = ("label", "labels", "entities")


def is_doccano(data: dict[str, Any]) -> bool:
    """Tell a row of doccano: with relations its entities are objects."""
    entities = data.get("entities")
    if _find_text(data) is None:
        return False
    if isinstance(entities, list) and entities:
        first = entities[0]
        return _is_triple(first) or (type(first) is dict and "start_offset" in first)
    if entities is not None:
        return "relations" in data
    return any(
        isinstance(data.get(key), list) and all(map(_is_triple, data[key][:1]))
        for key in ("label", "labels")
    )


def read_doccano(data: dict[str, Any], reading: Reading) -> Record:
    """Read the triples of a text.

    data (dict[str, Any]): An object with "text" and, under "label", "labels" or
        "entities", lists of start, end and label, or objects with "start_offset",
        "end_offset" and "label".
    reading (Reading): What to take.
    RETURNS (Record): The entities.
    RAISES (BadRow): If there is no list.
    """
    text = _find_text(data)
    values = next((data[key] for key in _KEYS if data.get(key) is not None), None)
    if text is None or not isinstance(values, list):
        raise BadRow("no annotation", f"found {sorted(data)}")
    record = Record(text, [])
    offsets = Offsets(text, fix=reading.fix_offsets)
    for value in values:
        try:
            if isinstance(value, dict):
                keys = ("start_offset", "end_offset", "label")
                start, end, label = (value.get(key) for key in keys)
                words = value.get("text")
            elif _is_triple(value):
                (start, end, label), words = value, None
            else:
                raise BadRow("span is not a triple of start, end and label")
            record.entities.append(offsets.make_entity(start, end, label, words=words))
        except BadRow as bad:
            add_loss(record, bad, value)
    if relations := data.get("relations"):
        record.passed["relation"] += len(relations) if type(relations) is list else 1
    record.passed += offsets.passed
    return record


def _find_text(data: dict[str, Any]) -> str | None:
    # Some releases of doccano wrote "data".
    found = [data.get("text"), data.get("data")]
    return next((text for text in found if isinstance(text, str)), None)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3
