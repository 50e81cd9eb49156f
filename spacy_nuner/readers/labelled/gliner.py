"""GLiNER's training data: tokens, and ranges of them that end inclusively."""

from typing import Any

from ..fields import add_loss, check_string
from ..records import BadRow, Reading, Record
from .offsets import Offsets
from .tokens import join_words


def is_gliner(data: dict[str, Any]) -> bool:
    """Tell a row of GLiNER."""
    return "tokenized_text" in data


def read_gliner(data: dict[str, Any], reading: Reading) -> Record:
    """Read a row of GLiNER.

    data (dict[str, Any]): An object with "tokenized_text", "ner" (lists of first
        token, last token and label) and perhaps "ner_labels".
    reading (Reading): Not used.
    RETURNS (Record): The entities, with what was looked for as `labels`.
    RAISES (BadRow): If there are no tokens.
    """
    words, values = data.get("tokenized_text"), data.get("ner")
    if not isinstance(words, list):
        raise BadRow("'tokenized_text' is not a list")
    if values is not None and not isinstance(values, list):
        raise BadRow("'ner' is not a list")
    tokens = join_words(words)
    record = Record(tokens.text, [], labels=get_labels(data.get("ner_labels")))
    tokens.set_words(record)
    offsets = Offsets(tokens.text, fix=False)
    for value in values or []:
        try:
            if not isinstance(value, list) or len(value) < 3:
                raise BadRow("span is not a triple of first, last and label")
            first, last, label = value[:3]
            found = tokens.find_range(first, last)
            record.entities.append(offsets.make_entity(*found, label))
        except BadRow as bad:
            add_loss(record, bad, value)
    if relations := data.get("relations"):
        record.passed["relation"] += len(relations) if type(relations) is list else 1
    return record


def get_labels(values: Any) -> list[str] | None:
    """Get the labels that were looked for, each once."""
    if not isinstance(values, list) or not values:
        return None
    labels = [label for label in values if isinstance(label, str) and label.strip()]
    for label in labels:
        check_string(label)
    return list(dict.fromkeys(labels))
