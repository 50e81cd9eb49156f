"""Whose annotation of a text counts, and how far several people agree."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..records import BadRow, Entity, Reading, Record, Row

FIRST, MAJORITY, UNION = "first", "majority", "union"
# Why a row is no gold. None of these is a fault of the file.
REJECTED = "rejected by the annotator"
IGNORED = "ignored by the annotator"
CANCELLED = "cancelled by the annotator"
NOT_ANNOTATED = "not annotated yet"
PREDICTED = "not annotated, but predicted"
BY_ANOTHER = "annotated by another"
BINARY = "one suggestion was judged, not the whole text"
OTHER_TASK = "a task of another kind, without spans"
NO_GOLD = {
    *(REJECTED, IGNORED, CANCELLED, NOT_ANNOTATED, PREDICTED, BY_ANOTHER),
    *(BINARY, OTHER_TASK),
}
# Who annotated a row: Prodigy, and Label Studio's JSON-MIN.
_KEYS = ("_annotator_id", "_session_id", "annotator")


class Vote(NamedTuple):
    """What one person found in a text.

    names (tuple[str, ...]): What the person is called: number, address, name.
    entities (list[Entity]): The entities, with offsets.
    """

    names: tuple[str, ...]
    entities: list[Entity]


def get_names(person: Any) -> tuple[str, ...]:
    """Get what a person is called, of a number, a name, or an object with several."""
    if isinstance(person, dict):
        full = f"{person.get('first_name', '')} {person.get('last_name', '')}".strip()
        found = [*(person.get(key) for key in ("id", "email", "username")), full]
    else:
        found = [person]
    return tuple(str(name) for name in found if name not in (None, ""))


def get_annotator(data: dict[str, Any]) -> tuple[str, ...]:
    """Get who annotated a row; nobody where the row does not say it."""
    return next((get_names(data[key]) for key in _KEYS if data.get(key)), ())


def set_choice(record: Record, votes: Sequence[Vote], reading: Reading) -> None:
    """Set the entities of a record to those that count.

    record (Record): The record.
    votes (Sequence[Vote]): What each person found, in the order of the file.
    reading (Reading): Whose count.
    RAISES (BadRow): If a person was named who did not annotate the text.
    """
    people: dict[tuple[str, ...] | int, dict[Entity, None]] = {}
    for number, vote in enumerate(votes):
        # Who has no name is somebody else each time.
        people.setdefault(vote.names or number, {}).update(dict.fromkeys(vote.entities))
    found = Counter(entity for entities in people.values() for entity in entities)
    if len(people) > 1:
        common = sum(count * (count - 1) for count in found.values())
        record.agreement = (common, (len(people) - 1) * found.total())
    if reading.annotators == UNION:
        record.entities = list(found)
    elif reading.annotators == MAJORITY:
        record.entities = [e for e, n in found.items() if 2 * n > len(people)]
    elif reading.annotators == FIRST:
        record.entities = list(next(iter(people.values()), ()))
    else:
        named = [vote for vote in votes if reading.annotators in vote.names]
        if not named:
            others = sorted({vote.names[0] for vote in votes if vote.names})
            raise BadRow(BY_ANOTHER, ", ".join(others))
        record.entities = list(dict.fromkeys(e for v in named for e in v.entities))


def check_annotator(data: dict[str, Any], reading: Reading) -> None:
    """Refuse a row of another annotator than the one that was asked for."""
    names = get_annotator(data)
    if reading.annotators in (FIRST, MAJORITY, UNION) or not names:
        return
    if reading.annotators not in names:
        raise BadRow(BY_ANOTHER, names[0])


def group_annotators(rows: Iterable[Row]) -> Iterator[Row]:
    """Make one row of the rows in which several people annotated the same text.

    Rows that name their annotator are held until the end of the source.

    rows (Iterable[Row]): Rows of objects, or of lines of JSON.
    YIELDS (Row): The rows.
    """
    groups: dict[str, dict[tuple[str, ...], list[Row]]] = {}
    for row in rows:
        task = _find_task(row)
        if task is None:
            yield row
        else:
            groups.setdefault(task[0], {}).setdefault(task[1], []).append(row)
    held: list[Row] = []
    for people in groups.values():
        all_rows = sorted((row for rows in people.values() for row in rows), key=_line)
        if len(people) > 1:
            first = all_rows[0]
            first.content = [value for row in all_rows for value in _values(row)]
            all_rows = [first]
        held += all_rows
    yield from sorted(held, key=_line)


def _line(row: Row) -> int:
    return row.line


def _values(row: Row) -> list[Any]:
    return row.content if isinstance(row.content, list) else []


def _find_task(row: Row) -> tuple[str, tuple[str, ...]] | None:
    """What was annotated in a row, and by whom."""
    values = _values(row)
    if row.problem is not None or len(values) != 1:
        return None
    (data,) = values
    if isinstance(data, str):
        # Most lines name nobody and need not be parsed twice.
        if not any(f'"{key}"' in data for key in _KEYS):
            return None
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return None
    if not isinstance(data, dict) or not (names := get_annotator(data)):
        return None
    key = "id" if "annotation_id" in data else "text"
    task = data.get("_input_hash") or data.get(key)
    return (f"{key} {task}", names) if task is not None else None
