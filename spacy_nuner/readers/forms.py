"""Rows of every source we know -> records. `read_record` is a pure function of its row.

Objects, in JSONL, in one JSON list or on the hub: our own with raw answers or parsed
entities (which is also the form of ProgGen and others), the columns of numind/NuNER,
conversations of Pile-NER, and those of labelling tools, each in `labelled`.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..concept_names import MAX_NAME
from .answers import BAD_ROW, parse_answer
from .fields import (
    NOT_PARSED,
    add_loss,
    check_bytes,
    check_string,
    get_offsets,
    get_string,
)
from .folding import is_blank
from .labelled.annotators import NO_GOLD, Vote, get_annotator, set_choice
from .labelled.argilla import is_argilla, read_argilla
from .labelled.doccano import is_doccano, read_doccano
from .labelled.gliner import get_labels, is_gliner, read_gliner
from .labelled.gliner2 import is_gliformer, is_gliner2, read_gliformer, read_gliner2
from .labelled.label_studio import (
    is_json_min,
    is_label_studio,
    read_json_min,
    read_label_studio,
)
from .labelled.ner_tags import is_ner_tags, read_ner_tags
from .labelled.offsets import OUTSIDE, WRONG_OFFSETS, Offsets
from .labelled.spacy2 import is_spacy2, read_spacy2
from .labelled.spans import has_spans, is_prodigy, read_spans
from .records import MAX_ROW, BadRow, Entity, Reading, Record, Row, too_long

_QUESTION = re.compile(r"\s*What describes (.+) in the text\?\s*", re.DOTALL)
_PREFIX = "Text: "
# A list of strings as Python writes it, where nothing in them had to be escaped.
_STRING = r"""(?:'[^'\\\r\n]*'|"[^"\\\r\n]*")"""
_PLAIN_LIST = re.compile(rf"\[(?:{_STRING}(?:, {_STRING})*)?\]")
_PLAIN_STRING = re.compile(_STRING)
_BREAKS = str.maketrans("\r\n", "  ")
# What an entity's concept is called: ours, those of GLiNER and of pipelines of
# `transformers`.
_CONCEPT_KEYS = ("concept", "label", "type", "entity_group")
EXPECTED = (
    "'answer', 'entities', 'spans' or 'ents' with 'text', 'input' and 'output', or "
    "'conversations'"
)


class RowForm(NamedTuple):
    """A form of rows that is an object.

    claims (Callable): Whether an object has it.
    read (Callable): Makes a record of the object.
    """

    claims: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any], Reading], Record]


# Forms of labelled sets by name. The first that claims a row reads it.
ROW_FORMS = {
    "gliner": RowForm(is_gliner, read_gliner),
    "argilla": RowForm(is_argilla, read_argilla),
    "label-studio": RowForm(is_label_studio, read_label_studio),
    "spacy2": RowForm(is_spacy2, read_spacy2),
    "tokens": RowForm(is_ner_tags, read_ner_tags),
    "gliner2": RowForm(is_gliner2, read_gliner2),
    "gliformer": RowForm(is_gliformer, read_gliformer),
    "doccano": RowForm(is_doccano, read_doccano),
    "tuples": RowForm(is_doccano, read_doccano),
    "label-studio-min": RowForm(is_json_min, read_json_min),
    "prodigy": RowForm(is_prodigy, read_spans),
    "spans": RowForm(has_spans, read_spans),
}


def read_record(row: Row) -> Record:
    """Interpret a row.

    row (Row): The row.
    RETURNS (Record): The record. Annotations that can't be read are in `losses`.
    RAISES (BadRow): If nothing in the row can be used.
    """
    if row.problem is not None:
        raise row.problem
    if isinstance(row.content, Record):
        record = _checked(row.content)
    elif row.source.format == "csv":
        for cell in row.content:
            check_bytes(cell)
        record = _from_csv(row.content)
    else:
        objects = [_parse(value) for value in row.content]
        record = _from_objects(objects, row.source.reading)
    if not record.text.strip():
        raise BadRow("empty text")
    if len(record.text) > MAX_ROW:
        # Of sources whose rows have no bytes; spaCy takes no longer text.
        raise too_long(len(record.text))
    if record.losses:
        where = row.where()
        record.losses = [loss._replace(where=where) for loss in record.losses]
    return record


def _checked(record: Record) -> Record:
    check_bytes(record.text)
    entities, record.entities = record.entities, []
    for entity in entities:
        try:
            check_bytes(entity.concept)
            _check_entity(entity)
            record.entities.append(entity)
        except BadRow as bad:
            add_loss(record, bad, entity.to_json())
    return record


def _check_entity(entity: Entity) -> None:
    """Refuse an annotation that marks or says nothing."""
    named = entity.concept.strip() or (entity.description or "").strip()
    if is_blank(entity.text) or not named:
        raise BadRow("entity without text or concept")


def _parse(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        check_bytes(value)
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRow("malformed JSON", str(error)) from None
        except RecursionError:
            raise BadRow("malformed JSON", "nested too deeply") from None
    if is_tuple(value):
        return {"text": value[0], "entities": value[1].get("entities")}
    if not isinstance(value, dict):
        detail = "a list of them has to be a line for each"
        raise BadRow("not a JSON object", detail if isinstance(value, list) else "")
    return value


def is_tuple(value: Any) -> bool:
    """Tell a text with its annotations, as spaCy 2 took them for training."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], dict)
    )


def find_row_form(data: dict[str, Any]) -> str | None:
    """Recognise the form of a labelled row.

    data (dict[str, Any]): The row.
    RETURNS (str | None): A name of `ROW_FORMS`; None if it has none of them.
    """
    return next((name for name, form in ROW_FORMS.items() if form.claims(data)), None)


def _from_objects(objects: list[dict[str, Any]], reading: Reading) -> Record:
    data = objects[0]
    if reading.form is None and "conversations" in data:
        record = _from_conversations(objects)
    elif len(objects) > 1:
        record = _from_several(objects, reading)
    else:
        record = _from_object(data, reading)
    name = data.get("id")
    record.id = None if name is None else str(name)
    if record.id is not None:
        check_string(record.id)
    return record


def _from_object(data: dict[str, Any], reading: Reading) -> Record:
    # Most rows of a conversion are our own, and need not be tried as all others.
    name = reading.form or (None if _is_own(data) else find_row_form(data))
    if name is not None:
        record = ROW_FORMS[name].read(data, reading)
        record.form = name
        check_string(record.text)
        return record
    if "text" not in data and "input" in data and "output" in data:
        return _from_csv([get_string(data, key) or "" for key in ("input", "output")])
    text = get_string(data, "text")
    if text is None:
        raise BadRow("no text", f"found the keys {sorted(data)}")
    return _from_text(data, text, reading)


def _is_own(data: dict[str, Any]) -> bool:
    entities = data.get("entities")
    first = entities[0] if isinstance(entities, list) and entities else None
    return isinstance(first, dict) and "concept" in first


def _from_several(objects: Sequence[dict[str, Any]], reading: Reading) -> Record:
    """Read what several people found in one text, a row for each of them."""
    votes: list[Vote] = []
    record: Record | None = None
    refused: BadRow | None = None
    damaged: list[tuple[BadRow, dict[str, Any]]] = []
    for data in objects:
        try:
            found = _from_object(data, reading._replace(annotators="first"))
        except BadRow as bad:
            if bad.kind not in NO_GOLD:
                damaged.append((bad, data))
            refused = refused or bad
            continue
        votes.append(Vote(get_annotator(data), found.entities))
        if record is None:
            record = found
        else:
            record.losses += found.losses
            record.passed += found.passed
    if record is None:
        raise damaged[0][0] if damaged else refused or BadRow("no annotation")
    # Those of the others count.
    for problem, data in damaged:
        add_loss(record, problem, data)
    set_choice(record, votes, reading)
    return record


def _from_text(data: dict[str, Any], text: str, reading: Reading) -> Record:
    entities = data.get("entities")
    if entities is None:
        if data.get("answer") is not None:
            return _from_answer(text, get_string(data, "answer") or "")
        raise BadRow("no annotation", f"found {sorted(data)}, expected {EXPECTED}")
    if not isinstance(entities, list):
        raise BadRow("'entities' is not a list")
    record = Record(text, [], labels=get_labels(data.get("labels")))
    offsets = Offsets(text, fix=reading.fix_offsets)
    for value in entities:
        try:
            record.entities.append(_get_entity(value, offsets))
        except BadRow as bad:
            add_loss(record, bad, value)
    rows = data.get("unreadable")
    for value in rows if isinstance(rows, list) else []:
        add_loss(record, BadRow(BAD_ROW), value)
    record.passed = offsets.passed
    return record


def _get_entity(value: Any, offsets: Offsets) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("entity is not an object")
    text, description = get_string(value, "text"), get_string(value, "description")
    named = (get_string(value, key) for key in _CONCEPT_KEYS)
    concept = next((name for name in named if name and name.strip()), "")
    start, end = get_offsets(value)
    if text is None and start is not None and end is not None:
        return offsets.make_entity(start, end, concept, description=description)
    entity = Entity(text or "", concept, description, start, end)
    _check_entity(entity)
    if start is None or end is None:
        return entity
    size = len(entity.text)
    if 0 <= start == end - size and offsets.text.startswith(entity.text, start):
        return entity
    try:
        found = offsets.make_entity(start, end, concept or "?", words=text)
    except BadRow as bad:
        if bad.kind not in (WRONG_OFFSETS, OUTSIDE):
            raise
        # Reported when the entity is looked for in the tokens.
        return entity
    return found._replace(concept=concept, description=description)


def _from_answer(text: str, answer: str) -> Record:
    parsed = parse_answer(answer, text=text)
    if not parsed.entities and not parsed.losses:
        raise BadRow("empty answer")
    if not parsed.entities:
        raise BadRow("no annotation in the answer", parsed.losses[0].kind)
    return Record(text, parsed.entities, parsed.losses, answer)


def _from_csv(cells: list[str]) -> Record:
    """The published set keeps an answer as the literal of the list of its lines."""
    text, literal = cells
    try:
        lines = _parse_literal(literal.strip())
    except NOT_PARSED as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise BadRow("list does not parse", detail) from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow("not a list of strings")
    answer = "\n".join(line.translate(_BREAKS) for line in lines)
    check_string(answer)
    return _from_answer(text, answer)


def _from_conversations(objects: list[dict[str, Any]]) -> Record:
    """An empty answer, to a type that is not in the text, is no annotation."""
    conversations = [_turns(data) for data in objects]
    record = Record(str(conversations[0][0]).removeprefix(_PREFIX), [])
    asked = 0
    for turns in conversations:
        for question, answer in zip(turns[1:], turns[2:], strict=False):
            if found := _QUESTION.fullmatch(str(question)):
                asked += 1
                _add_answer(record, found[1].strip(), answer)
    if not asked:
        raise BadRow("no question in the conversation")
    return record


def _turns(data: dict[str, Any]) -> list[str | list[Any]]:
    turns = data["conversations"]
    if not isinstance(turns, list) or not turns:
        raise BadRow("'conversations' is not a list of turns")
    values: list[str | list[Any]] = []
    for turn in turns:
        value = turn.get("value") if isinstance(turn, dict) else None
        if isinstance(value, str):
            check_string(value)
        elif not isinstance(value, list) or not values:
            raise BadRow("a turn without a text")
        values.append(value)
    return values


def _add_answer(record: Record, asked: str, answer: str | list[Any]) -> None:
    # A definition is too long for a name, but it can stand for one.
    name, definition = (asked, None) if len(asked) <= MAX_NAME else ("", asked)
    try:
        values = answer if isinstance(answer, list) else _parse_list(answer)
    except BadRow as bad:
        add_loss(record, bad, {asked: answer})
        return
    for value in values:
        try:
            if not isinstance(value, str) or not value.strip():
                raise BadRow("answer is not a list of strings")
            check_string(value)
            record.entities.append(Entity(value, name, definition))
        except BadRow as bad:
            add_loss(record, bad, {asked: value})


def _parse_list(answer: str) -> list[Any]:
    # What a model wrote can be a list of Python in place of one of JSON.
    for parse in (json.loads, _parse_literal):
        try:
            values = parse(answer.strip())
        except NOT_PARSED:
            continue
        if isinstance(values, list):
            return values
    raise BadRow("answer is not a list")


def _parse_literal(text: str) -> Any:
    """Evaluate a literal of Python. A backslash that escapes nothing stays as it is."""
    # A quarter of the time that the compiler takes.
    if _PLAIN_LIST.fullmatch(text):
        return [string[1:-1] for string in _PLAIN_STRING.findall(text)]
    if "\\" not in text:
        return ast.literal_eval(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.literal_eval(text)
