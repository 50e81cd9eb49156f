"""Rows with the words of entities and no offsets: GLiNER2 and GLiFormer."""

from collections.abc import Iterator
from typing import Any

from ..fields import add_loss, check_string, get_string
from ..records import BadRow, Entity, Reading, Record
from .gliner import get_labels

_KEYS = (("input", "output"), ("text", "schema"))


def is_gliner2(data: dict[str, Any]) -> bool:
    """Tell a row of GLiNER2, in either of its spellings."""
    return any(text in data and type(data.get(out)) is dict for text, out in _KEYS)


def is_gliformer(data: dict[str, Any]) -> bool:
    """Tell a row of GLiFormer."""
    return "text" in data and isinstance(data.get("extraction"), list)


def read_gliner2(data: dict[str, Any], reading: Reading) -> Record:
    """Read a row of GLiNER2.

    data (dict[str, Any]): An object with "input" and, in "output", "entities" (lists
        of words by label) and perhaps "entity_descriptions".
    reading (Reading): Not used.
    RETURNS (Record): The entities without offsets, to be looked for in the text as
        answers are; labels, those without an entity too.
    RAISES (BadRow): If there are no entities by label.
    """
    names = next((keys for keys in _KEYS if keys[0] in data and keys[1] in data), None)
    output = data[names[1]] if names else None
    text = get_string(data, names[0]) if names else None
    if text is None or not isinstance(output, dict):
        raise BadRow("no text", f"found {sorted(data)}")
    entities = output.get("entities")
    if not isinstance(entities, dict):
        raise BadRow(
            "no annotation", f"found {sorted(output)} in '{(names or [''])[1]}'"
        )
    described = output.get("entity_descriptions")
    described = described if isinstance(described, dict) else {}
    record = Record(text, [], labels=get_labels(list(entities)))
    for label, found in entities.items():
        meaning = described.get(label)
        for words in found if isinstance(found, list) else [found]:
            _add(record, words, label, meaning if isinstance(meaning, str) else None)
    for key in sorted({*output} - {"entities", "entity_descriptions"}):
        record.passed[key] += 1
    return record


def read_gliformer(data: dict[str, Any], reading: Reading) -> Record:
    """Read a row of GLiFormer.

    data (dict[str, Any]): An object with "text" and "extraction", a list of tasks with
        "ner" (pairs of words and label) and "all_labels".
    reading (Reading): Not used.
    RETURNS (Record): The entities without offsets, as of GLiNER2.
    RAISES (BadRow): If there is no text.
    """
    text = get_string(data, "text")
    if text is None:
        raise BadRow("no text", f"found {sorted(data)}")
    record = Record(text, [])
    labels: list[Any] = []
    for task, pairs in _tasks(data, record):
        names = task.get("all_labels")
        labels += names if isinstance(names, list) else []
        for pair in pairs:
            if isinstance(pair, list) and len(pair) >= 2:
                _add(record, pair[0], pair[1], None)
            else:
                add_loss(record, BadRow("span is not a pair of words and label"), pair)
    record.labels = get_labels(labels)
    return record


def _tasks(
    data: dict[str, Any], record: Record
) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    tasks = data.get("extraction")
    for task in tasks if isinstance(tasks, list) else []:
        if isinstance(task, dict) and isinstance(task.get("ner"), list):
            yield task, task["ner"]
        else:
            record.passed["extraction without 'ner'"] += 1


def _add(record: Record, words: Any, label: Any, description: str | None) -> None:
    try:
        if isinstance(words, dict):
            # With its confidence or its offsets.
            words = words.get("text")
        if not isinstance(words, str) or not isinstance(label, str):
            raise BadRow("words and label are not strings")
        if not words.strip() or not label.strip():
            raise BadRow("entity without text or concept")
        for value in (words, label, description or ""):
            check_string(value)
        record.entities.append(Entity(words, label, description))
    except BadRow as bad:
        add_loss(record, bad, {str(label): words})
