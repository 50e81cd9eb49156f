"""Tasks of Label Studio: its JSON, and JSON-MIN."""

from collections.abc import Iterator, Sequence
from typing import Any

from ..fields import add_loss
from ..records import BadRow, Entity, Reading, Record
from .annotators import (
    CANCELLED,
    FIRST,
    NOT_ANNOTATED,
    PREDICTED,
    Vote,
    check_annotator,
    get_names,
    set_choice,
)
from .offsets import Offsets, choose_text, refuse

# The types of results that are spans, and where these have their labels.
LABELS = ("labels", "hypertextlabels")
# Keys of JSON-MIN beside those of the user's data and controls.
_OWN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def is_label_studio(data: dict[str, Any]) -> bool:
    """Tell a task of Label Studio's JSON."""
    lists = (data.get(key) for key in ("annotations", "completions", "predictions"))
    return isinstance(data.get("data"), dict) and any(type(x) is list for x in lists)


def is_json_min(data: dict[str, Any]) -> bool:
    """Tell a row of JSON-MIN. Nothing of the control is in it where nobody marked."""
    return "annotation_id" in data or bool(_find_controls(data))


def read_label_studio(data: dict[str, Any], reading: Reading) -> Record:
    """Read the annotations of a task.

    data (dict[str, Any]): The task: "data" with the text under a key of the user's,
        and "annotations" with "result", each a span under "value".
    reading (Reading): What to take.
    RETURNS (Record): The entities of the annotations that count.
    RAISES (BadRow): If there is none, or all were cancelled; what `choose_text` raises.
    """
    task = data.get("data")
    if not isinstance(task, dict):
        raise BadRow("no text", f"found {sorted(data)}")
    given = _objects(data.get("annotations") or data.get("completions"))
    annotations = [one for one in given if not one.get("was_cancelled")]
    # What was checked and marked as true comes first.
    annotations.sort(key=lambda one: one.get("ground_truth") is not True)
    if not annotations:
        if given:
            raise refuse(CANCELLED, task)
        predictions = _objects(data.get("predictions"))
        if not reading.predictions or not predictions:
            raise BadRow(PREDICTED if predictions else NOT_ANNOTATED)
        annotations = predictions[:1]
        # A model is none of the annotators to choose from.
        reading = reading._replace(annotators=FIRST)
    values = [
        [
            (one, value)
            for one in _objects(annotation.get("result"))
            if isinstance(value := one.get("value"), dict)
        ]
        for annotation in annotations
    ]
    text = choose_text(task, [value for found in values for _, value in found], reading)
    record = Record(text, [])
    offsets = Offsets(text, fix=reading.fix_offsets)
    votes = []
    for annotation, found in zip(annotations, values, strict=True):
        entities: list[Entity] = []
        for one, value in found:
            if not _is_span(one, value):
                record.passed[str(one.get("type") or "result without a span")] += 1
            else:
                entities += _read_value(value, offsets, record)
        relations = len(_objects(annotation.get("result"))) - len(found)
        if relations:
            record.passed["relation"] += relations
        votes.append(Vote(get_names(annotation.get("completed_by")), entities))
    record.passed += offsets.passed
    counted = _take_last(votes, annotations)
    if more := len(votes) - len(counted):
        record.passed["earlier annotation of the same person"] += more
    set_choice(record, counted, reading)
    return record


def _is_span(result: dict[str, Any], value: dict[str, Any]) -> bool:
    """Whether a result is a span, and no choice or note that is made about one."""
    if "start" not in value and "end" not in value:
        return False
    kind = result.get("type")
    return kind is None or kind in LABELS or any(key in value for key in LABELS)


def _take_last(
    votes: Sequence[Vote], annotations: Sequence[dict[str, Any]]
) -> list[Vote]:
    """Of each person what was marked as true, else the last one: it is the corrected.

    Who has no name is somebody else each time.
    """
    taken: dict[Any, Vote] = {}
    true: set[Any] = set()
    for number, (vote, one) in enumerate(zip(votes, annotations, strict=True)):
        person = vote.names or number
        if one.get("ground_truth") is True and person not in true:
            true.add(person)
            taken[person] = vote
        elif person not in true:
            taken[person] = vote
    return list(taken.values())


def read_json_min(data: dict[str, Any], reading: Reading) -> Record:
    """Read a row of JSON-MIN.

    data (dict[str, Any]): The row: the text under a key of the user's, and a list of
        spans under the name of the control.
    reading (Reading): What to take.
    RETURNS (Record): The entities.
    RAISES (BadRow): If there is no text, or somebody else annotated it.
    """
    check_annotator(data, reading)
    controls = _find_controls(data)
    values = [value for name in controls for value in _objects(data[name])]
    own = {*_OWN, *controls}
    fields = {k: v for k, v in data.items() if k not in own}
    text = choose_text(fields, values, reading)
    record = Record(text, [])
    offsets = Offsets(text, fix=reading.fix_offsets)
    for value in values:
        record.entities += _read_value(value, offsets, record)
    record.passed += offsets.passed
    return record


def _find_controls(data: dict[str, Any]) -> list[str]:
    def is_span(value: Any) -> bool:
        return isinstance(value, dict) and {"start", "end", "labels"} <= set(value)

    return [
        name
        for name, values in data.items()
        if isinstance(values, list) and any(map(is_span, values[:1]))
    ]


def _objects(values: Any) -> list[dict[str, Any]]:
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict)]


def _read_value(
    value: dict[str, Any], offsets: Offsets, record: Record
) -> Iterator[Entity]:
    """Yield an entity for each label of a span."""
    labels = next((value[key] for key in LABELS if value.get(key)), None)
    for label in labels if isinstance(labels, list) and labels else [None]:
        try:
            yield offsets.make_entity(
                value.get("start"), value.get("end"), label, words=value.get("text")
            )
        except BadRow as bad:
            add_loss(record, bad, value)
