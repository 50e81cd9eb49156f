"""A sentence for a person to correct, and the files that labelling tools import.

The spans of a pipeline stand in them as what each tool has for that: predictions,
suggestions, or labels that are set already. `import` reads what comes back.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from ..errors import Errors, NunerError, Warnings


class TaskFormat(StrEnum):
    """What the sentences are written as."""

    jsonl = "jsonl"
    prodigy = "prodigy"
    doccano = "doccano"
    label_studio = "label-studio"
    argilla = "argilla"
    brat = "brat"
    spacy = "spacy"


# What the controls and questions are called in Label Studio's configuration and in
# Argilla's settings.
CONTROL, TEXT, QUESTION = "label", "text", "spans"
# A score has no more digits that mean anything.
DIGITS = 4
# brat writes "_" for every other character of a label.
_BRAT_LABEL = re.compile(r"[A-Za-z0-9_-]+")


class Mark(NamedTuple):
    """A span that is set in a task.

    start (int): Its first character.
    end (int): The character behind its last.
    label (str): Its label.
    score (float | None): How sure the pipeline is of it, from 0 to 1.
    """

    start: int
    end: int
    label: str
    score: float | None = None


@dataclass(frozen=True)
class Task:
    """A sentence for a person to correct.

    text (str): The sentence.
    words (list[str]): Its tokens.
    spaces (list[bool]): Whether a blank follows each of them.
    marks (list[Mark]): The spans that are set in it.
    score (float): How much it is worth to be looked at; comparable within a file.
    reason (str): Why it was chosen.
    source (str): The file or data set that it comes from.
    doc (str): The document inside it.
    copy (int): How many tasks of the same text there are before it.
    id (str): Made of the text, and of `copy` where that is not 0.
    """

    text: str
    words: list[str]
    spaces: list[bool]
    marks: list[Mark]
    score: float = 0.0
    reason: str = ""
    source: str = ""
    doc: str = ""
    copy: int = 0
    id: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()
        # Argilla overwrites a record by another of its id.
        number = f"-{self.copy}" if self.copy else ""
        object.__setattr__(self, "id", digest + number)

    @property
    def meta(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): What is known of it besides, for the tools."""
        data = {"score": round(self.score, DIGITS), "reason": self.reason}
        for key, name in (("source", self.source), ("doc", self.doc)):
            # The name of a file may hold bytes that are not UTF-8.
            shown = name.encode("utf8", "backslashreplace").decode("utf8")
            data |= {key: shown} if shown else {}
        return data

    def get_ranges(self) -> list[tuple[int, int]]:
        """RETURNS (list[tuple[int, int]]): First character and end of each token."""
        ranges, start = [], 0
        for word, space in zip(self.words, self.spaces, strict=True):
            ranges.append((start, start + len(word)))
            start += len(word) + space
        return ranges

    def get_spans(self) -> list[dict[str, Any]]:
        """RETURNS (list[dict[str, Any]]): Its marks as objects, with their words."""
        spans = []
        for one in self.marks:
            span: dict[str, Any] = {"start": one.start, "end": one.end}
            span |= {"text": self.text[one.start : one.end], "label": one.label}
            if one.score is not None:
                span["score"] = round(one.score, DIGITS)
            spans.append(span)
        return spans


def write_prodigy(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write tasks for Prodigy's `ner.manual` and `spans.manual`.

    Warns (W713) of spans over each other, which the first can't show.
    """
    _warn_of_overlaps(tasks, path)
    _write_lines(map(_to_prodigy, tasks), path)


def _to_prodigy(task: Task) -> dict[str, Any]:
    ranges = task.get_ranges()
    starts = {start: i for i, (start, _) in enumerate(ranges)}
    ends = {end: i for i, (_, end) in enumerate(ranges)}
    tokens = [
        {"text": word, "start": start, "end": end, "id": i, "ws": space}
        for i, (word, space, (start, end)) in enumerate(
            zip(task.words, task.spaces, ranges, strict=True)
        )
    ]
    spans = [
        # The last token belongs to the span.
        {**span, "token_start": starts[span["start"]], "token_end": ends[span["end"]]}
        for span in task.get_spans()
    ]
    meta = {"id": task.id, **task.meta}
    return {"text": task.text, "tokens": tokens, "spans": spans, "meta": meta}


def write_doccano(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write JSON Lines for doccano; other keys than these become metadata.

    Warns (W713) of spans over each other, of which it takes one alone by default, and
    (W712) of texts that its interface counts in another way.
    """
    _warn_of_overlaps(tasks, path)
    _warn_of_wide(tasks, path)
    rows = []
    for task in tasks:
        label = [[one.start, one.end, one.label] for one in task.marks]
        row = {"text": task.text, "label": label, "task": task.id, **task.meta}
        if scores := _list_scores(task):
            row["scores"] = scores
        rows.append(row)
    _write_lines(rows, path)


def write_jsonl(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write texts with spans, for a tool of one's own."""
    _write_lines(
        (
            {
                "id": task.id,
                "text": task.text,
                "spans": task.get_spans(),
                "meta": task.meta,
            }
            for task in tasks
        ),
        path,
    )


def write_label_studio(
    tasks: Sequence[Task], labels: Sequence[str], path: Path
) -> None:
    """Write tasks with predictions, and beside them the labelling configuration."""
    rows = []
    # It refuses a file with a score above 1.
    highest = max([1.0, *(task.score for task in tasks)])
    for task in tasks:
        result = []
        for number, span in enumerate(task.get_spans()):
            keys = {"start": span["start"], "end": span["end"], "text": span["text"]}
            region = {
                "id": f"{task.id}-{number}",
                "from_name": CONTROL,
                "to_name": TEXT,
                "type": "labels",
                "value": {**keys, "labels": [span["label"]]},
            }
            region |= {"score": span["score"]} if "score" in span else {}
            result.append(region)
        prediction: dict[str, Any] = {"model_version": "spacy_nuner", "result": result}
        # Sorted by it in the data manager, the first task is that of the file.
        prediction["score"] = round(task.score / highest, DIGITS)
        data = {"text": task.text, "task": task.id, **task.meta}
        # The score is that of the prediction.
        del data["score"]
        rows.append({"data": data, "predictions": [prediction]})
    _write_json(rows, path)
    lines = ["<View>", f'  <Labels name="{CONTROL}" toName="{TEXT}">']
    lines += [f"    <Label value={quoteattr(label)}/>" for label in labels]
    lines += ["  </Labels>", f'  <Text name="{TEXT}" value="$text"/>', "</View>", ""]
    get_config_path(path).write_text("\n".join(lines), encoding="utf8")


def _warn_of_wide(tasks: Sequence[Task], path: Path) -> None:
    """Warn of characters that have two of the UTF-16 units which browsers count."""
    if wide := sum(any(char > "\uffff" for char in task.text) for task in tasks):
        message = Warnings.W712.format(count=wide, path=path.name)
        warnings.warn(message, stacklevel=3)


def get_config_path(path: Path) -> Path:
    """RETURNS (Path): Where Label Studio's configuration goes."""
    return path.with_suffix(".xml")


def write_argilla(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write records with suggestions, for `dataset.records.from_json`.

    Warns (W712) of texts that its interface counts in another way.
    """
    _warn_of_wide(tasks, path)
    rows = []
    for task in tasks:
        value = [
            {"start": one.start, "end": one.end, "label": one.label}
            for one in task.marks
        ]
        suggestion: dict[str, Any] = {"value": value, "agent": "spacy_nuner"}
        if scores := _list_scores(task):
            suggestion["score"] = scores
        rows.append(
            {
                "id": task.id,
                "fields": {"text": task.text},
                "metadata": task.meta,
                "suggestions": {QUESTION: suggestion},
                "responses": {},
                "vectors": {},
            }
        )
    _write_json(rows, path)


def write_brat(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write a folder with a text and its annotations for each task."""
    check_labels(TaskFormat.brat, labels)
    path.mkdir(exist_ok=True)
    width = len(str(len(tasks)))
    for number, task in enumerate(tasks, 1):
        lines = []
        for i, one in enumerate(task.marks, 1):
            parts = _cut_at_breaks(task.text, one.start, one.end)
            offsets = ";".join(f"{start} {end}" for start, end in parts)
            words = " ".join(task.text[start:end] for start, end in parts)
            lines.append(f"T{i}\t{one.label} {offsets}\t{words}\n")
            notes = [] if one.score is None else [f"{one.score:.{DIGITS}f}"]
            # A note belongs to a span: that of the sentence to the first.
            notes += [] if i > 1 else task.reason.split()
            if notes:
                lines.append(f"#{i}\tAnnotatorNotes T{i}\t{' '.join(notes)}\n")
        # In the order in which brat lists them.
        name = path / f"{number:0{width}}-{task.id}"
        # Line ends as they are: offsets count them.
        for suffix, content in ((".txt", task.text), (".ann", "".join(lines))):
            name.with_suffix(suffix).write_text(content, encoding="utf8", newline="")
    names = "".join(f"{label}\n" for label in labels)
    content = f"[entities]\n{names}\n[relations]\n\n[events]\n\n[attributes]\n"
    (path / "annotation.conf").write_text(content, encoding="utf8")


def _cut_at_breaks(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut a span at line breaks: brat has a part for each line."""
    parts = []
    for line in text[start:end].split("\n"):
        if line.strip():
            parts.append((start, start + len(line)))
        start += len(line) + 1
    return parts


def write_spacy(tasks: Sequence[Task], labels: Sequence[str], path: Path) -> None:
    """Write a DocBin: spans with scores, and entities where they do not overlap."""
    # The command line knows the formats, and takes no spaCy with it.
    from spacy.tokens import Doc, DocBin
    from spacy.util import filter_spans
    from spacy.vocab import Vocab

    from ..readers.docbin import SPANS_KEY

    vocab = Vocab()
    docbin = DocBin(store_user_data=True)
    for task in tasks:
        doc = Doc(vocab, words=task.words, spaces=task.spaces)
        # Marks are spans of these tokens, so there is one for each.
        spans: list[Any] = [
            doc.char_span(one.start, one.end, one.label) for one in task.marks
        ]
        doc.spans[SPANS_KEY] = spans
        scores = [one.score for one in task.marks]
        if scores and None not in scores:
            doc.spans[SPANS_KEY].attrs["scores"] = scores
        doc.ents = filter_spans(spans)
        doc.user_data = {"id": task.id, **task.meta}
        docbin.add(doc)
    docbin.to_disk(path)


class TaskForm(NamedTuple):
    """A form of files.

    suffix (str): How the name of the file ends; "" for a folder.
    write (Callable): Writes tasks, whose labels are given, to a path.
    """

    suffix: str
    write: Callable[[Sequence[Task], Sequence[str], Path], None]


FORMS = {
    TaskFormat.jsonl: TaskForm(".jsonl", write_jsonl),
    TaskFormat.prodigy: TaskForm(".jsonl", write_prodigy),
    TaskFormat.doccano: TaskForm(".jsonl", write_doccano),
    TaskFormat.label_studio: TaskForm(".json", write_label_studio),
    TaskFormat.argilla: TaskForm(".json", write_argilla),
    TaskFormat.brat: TaskForm("", write_brat),
    TaskFormat.spacy: TaskForm(".spacy", write_spacy),
}


def check_name(output: Path, form: TaskFormat) -> list[Path]:
    """Check the name of an output before anything is read.

    output (Path): The output.
    form (TaskFormat): Its form.
    RETURNS (list[Path]): The files that are written; none for a folder.
    RAISES (NunerError): N107 if the name ends in another way.
    """
    suffix = FORMS[form].suffix
    if not suffix:
        return []
    if output.suffix != suffix:
        expected = f"a name that ends in {suffix} for the format {form}"
        raise NunerError(Errors.N107, path=output, expected=expected)
    return [
        output,
        *([get_config_path(output)] if form == TaskFormat.label_studio else []),
    ]


def check_labels(form: TaskFormat, labels: Sequence[str]) -> None:
    """Check whether a form can hold labels, before anything is tagged.

    form (TaskFormat): The form.
    labels (Sequence[str]): The labels.
    RAISES (NunerError): N712 if a label has characters that brat replaces.
    """
    wrong = [label for label in labels if not _BRAT_LABEL.fullmatch(label)]
    if form == TaskFormat.brat and wrong:
        raise NunerError(Errors.N712, labels=", ".join(wrong))


def _list_scores(task: Task) -> list[float]:
    """The score of each mark; nothing where one is not known."""
    scores = [one.score for one in task.marks if one.score is not None]
    if len(scores) < len(task.marks):
        return []
    return [round(score, DIGITS) for score in scores]


def _warn_of_overlaps(tasks: Sequence[Task], path: Path) -> None:
    count = sum(map(_has_overlap, tasks))
    if count:
        message = Warnings.W713.format(count=count, path=path.name)
        warnings.warn(message, stacklevel=3)


def _has_overlap(task: Task) -> bool:
    end = 0
    for mark in sorted(task.marks):
        if mark.start < end:
            return True
        end = max(end, mark.end)
    return False


def _write_lines(rows: Any, path: Path) -> None:
    with path.open("w", encoding="utf8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_json(rows: list[dict[str, Any]], path: Path) -> None:
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf8")
