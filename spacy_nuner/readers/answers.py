"""Answers of the LLM: parsed, judged, divided among sentences, as records."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from .records import Entity, Loss

# The separators of the two published prompts: the paper's and the blog's.
SEPARATORS = ("<>", "-|-")
COLUMNS = 3

NO_SEPARATOR = "no separator"
EMPTY_ENTITY = "empty entity"
EMPTY_CONCEPT = "empty concept"
AMBIGUOUS = "too many columns"

Verdict = Literal["good", "truncated", "refused", "empty", "unreadable"]
GOOD: Verdict = "good"
# Python refuses to read a number of thousands of digits, which models can write.
_NUMBER = re.compile(r"\s*\[(\d{1,9})\][:.]?[ \t]*")
_FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)

_SPACED = [re.compile(rf"(?<!\S){re.escape(sep)}(?!\S)") for sep in SEPARATORS]
_BARE = [re.compile(re.escape(sep)) for sep in SEPARATORS]
# What to try in turn, by the separator that most of an answer's lines have.
_PATTERNS = {
    SEPARATORS[0]: [*_SPACED, *_BARE],
    SEPARATORS[1]: [*_SPACED[::-1], *_BARE[::-1]],
}
_MARKER = re.compile(r"(?:[-*+•·–]|\(?(\d{1,3})[.):])\s+")
_RULE = re.compile(r"[-=:|\s]*")
_WRAPPERS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'")),
    *(("“", "”"), ("‘", "’"), ("«", "»"), ("[", "]")),
)
# Models repeat the output format, or head a table with it, before they answer.
_HEADERS = {
    ("entity from the text", "entity concept"),
    ("entity", "entity concept"),
    ("entity", "concept"),
    ("text", "concept"),
}


class ParsedAnswer(NamedTuple):
    """What an answer holds.

    entities (list[Entity]): The annotations as the LLM wrote them, without blanks,
        marks and quotes around, in the order of the answer.
    losses (list[Loss]): The lines that hold no annotation, or one that can be read in
        several ways.
    """

    entities: list[Entity]
    losses: list[Loss]


def parse_answer(answer: str, *, text: str | None = None) -> ParsedAnswer:
    """Read the annotations out of an answer to the paper's or the blog's prompt.

    Blank lines, code fences, introductions that end in a colon and a repeated header
    are passed over. Numbers and bullets of a list are taken off.

    answer (str): The raw answer.
    text (str | None): The sentence that was annotated. It settles what the answer
        leaves open: whether an entity holds the separator, a number or quotes itself.
    RETURNS (ParsedAnswer): The annotations and the lines that hold none. Both are
        empty for an empty answer.
    """
    lines = [line.strip() for line in answer.split("\n")]
    lines = [line for line in lines if line and not line.startswith("```")]
    parsed = ParsedAnswer([], [])
    preferred = _usual_separator(lines)
    numbered = _is_numbered(lines, preferred)
    for line in lines:
        columns = _split(line, preferred, text)
        if columns is None:
            parsed.losses.append(Loss(AMBIGUOUS, detail=line))
        elif len(columns) == 1:
            if not line.endswith(":"):
                parsed.losses.append(Loss(NO_SEPARATOR, detail=line))
        elif not _is_header(columns):
            entity = _entity(columns[0], text, numbered=numbered)
            if not entity or not columns[1]:
                kind = EMPTY_CONCEPT if entity else EMPTY_ENTITY
                parsed.losses.append(Loss(kind, detail=line))
            else:
                description = columns[2] if len(columns) > 2 else ""
                parsed.entities.append(Entity(entity, columns[1], description or None))
    return parsed


def _usual_separator(lines: Sequence[str]) -> str:
    def uses(sep: str) -> tuple[int, int]:
        counts = [line.count(sep) for line in lines]
        return sum(map(bool, counts)), sum(counts)

    return max(SEPARATORS, key=uses)


def _split(line: str, preferred: str, text: str | None) -> list[str] | None:
    """The columns of a line; one where it has no separator, None where unclear."""
    for pattern in _PATTERNS[preferred]:
        if cuts := [match.span() for match in pattern.finditer(line)]:
            break
    else:
        return [line]
    while len(cuts) > 1 and cuts[-1][1] == len(line):
        # "Lisbon <> city <>": the last column was left empty.
        line = line[: cuts.pop()[0]].rstrip()
    whole = _entity_with_separator(line, cuts, text)
    if whole:
        cuts = cuts[whole:]
    elif len(cuts) >= COLUMNS and not _stands_in(line[: cuts[0][0]], text):
        return None
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(line)]
    columns = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    if len(columns) == 2 and preferred in columns[1]:
        # "Lisbon <> city<> large settlement": no concept's name holds a separator.
        columns[1:] = [part.strip() for part in columns[1].split(preferred)]
    return columns


def _entity_with_separator(
    line: str, cuts: Sequence[tuple[int, int]], text: str | None
) -> int:
    """How many of the first separators belong to the entity itself, going by the text.

    One must be left before the concept.
    """
    if text is None or line[slice(*cuts[0])] not in text:
        return 0
    for count in range(len(cuts) - 1, 0, -1):
        if line[: cuts[count][0]].strip() in text:
            return count
    return 0


def _stands_in(entity: str, text: str | None) -> bool:
    return text is not None and entity.strip().casefold() in text.casefold()


def _is_numbered(lines: Sequence[str], separator: str) -> bool:
    """Tell a numbered list from entities that begin with a number."""
    found = [_MARKER.match(line) for line in lines if separator in line]
    numbers = [int(match[1]) if match and match[1] else None for match in found]
    first = numbers[0] if numbers else None
    return first is not None and numbers == list(range(first, first + len(numbers)))


def _is_header(columns: Sequence[str]) -> bool:
    if all(_RULE.fullmatch(column) for column in columns):
        return any(columns)
    return (columns[0].casefold(), columns[1].casefold()) in _HEADERS


def _entity(written: str, text: str | None, *, numbered: bool) -> str:
    """Take marks and quotes off, unless the text has them too."""
    if text is not None and written in text:
        return written
    entity = written
    if marker := _MARKER.match(written):
        rest = written[marker.end() :]
        if not marker[1] or numbered or (text is not None and rest in text):
            entity = rest
    if text is not None and entity in text:
        return entity
    for left, right in _WRAPPERS:
        size = len(left)
        inside = entity[size : len(entity) - len(right)]
        if inside and entity.startswith(left) and entity.endswith(right):
            return inside.strip()
    return entity


class Sentence(NamedTuple):
    """A sentence to annotate.

    position (int): Its line in the file, which orders the export.
    id (str): Its id.
    text (str): Its text.
    """

    position: int
    id: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What the server returned for one sentence.

    content (str): The LLM's text, unchanged.
    finish_reason (str | None): Why the LLM stopped: "stop", "length", ...
    refusal (str | None): The refusal, where the server marks one.
    served (str | None): The model as the server names it.
    prompt_tokens (int | None): Tokens of the request, as the server counts them.
    completion_tokens (int | None): Tokens of the answer.
    latency (float | None): Seconds from request to answer.
    """

    content: str
    finish_reason: str | None = None
    refusal: str | None = None
    served: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency: float | None = None


def judge(answer: Answer, *, text: str, structured: bool) -> Verdict:
    """Tell whether an answer can be used.

    answer (Answer): The answer.
    text (str): The sentence.
    structured (bool): Whether JSON was asked for.
    RETURNS (Verdict): "good", or what is wrong. A truncated answer can still hold
        annotations.
    """
    if answer.refusal or answer.finish_reason == "content_filter":
        return "refused"
    if answer.finish_reason == "length":
        return "truncated"
    if not answer.content.strip():
        return "empty"
    if structured:
        entities = read_entities(answer.content)
        unreadable = entities is None
    else:
        entities, losses = parse_answer(answer.content, text=text)
        unreadable = bool(losses)
    if entities:
        return GOOD
    return "unreadable" if unreadable else "empty"


def read_entities(content: str) -> list[Entity] | None:
    """Read an answer in JSON.

    content (str): The answer.
    RETURNS (list[Entity] | None): The annotations; None if the answer is not what the
        schema asks for.
    """
    rows = _read_list(content, "entities")
    if rows is None:
        return None
    entities = []
    for row in rows:
        if not isinstance(row, dict):
            return None
        text, concept = row.get("text"), row.get("concept")
        if not isinstance(text, str) or not isinstance(concept, str):
            return None
        entities.append(Entity(text, concept, row.get("description")))
    return entities


def _read_list(content: str, key: str) -> list[Any] | None:
    """The list under a key of an answer in JSON; None if it has another form."""
    fenced = _FENCE.match(content)
    try:
        data = json.loads(fenced[1] if fenced else content)
    except (ValueError, RecursionError):
        return None
    rows = data.get(key) if isinstance(data, dict) else None
    return rows if isinstance(rows, list) else None


def share(answer: Answer, count: int, *, structured: bool) -> dict[int, Answer]:
    """Divide an answer among the sentences of its request.

    answer (Answer): The whole answer.
    count (int): How many sentences were asked about.
    structured (bool): Whether JSON was asked for.
    RETURNS (dict[int, Answer]): Answers by the index of their sentence, from 0. Those
        that the answer passes over, or of which it has two in JSON, have none. The sum
        of the tokens stays right; of a truncated answer only the last part is
        truncated.
    """
    if count == 1:
        return {0: answer}
    cut = _cut_json if structured else _cut_lines
    parts = sorted(cut(answer.content, count).items())
    shared = {}
    for part, (index, content) in enumerate(parts):
        whole = answer.finish_reason == "length" and part < len(parts) - 1
        shared[index] = replace(
            answer,
            content=content,
            finish_reason="stop" if whole else answer.finish_reason,
            prompt_tokens=_share_of(answer.prompt_tokens, part, len(parts)),
            completion_tokens=_share_of(answer.completion_tokens, part, len(parts)),
        )
    return shared


def _cut_lines(content: str, count: int) -> dict[int, str]:
    parts: dict[int, list[str]] = {}
    current = 0
    for line in content.split("\n"):
        match = _NUMBER.match(line)
        # Numbers rise; any other number in brackets is the text's own.
        if match and current < int(match[1]) <= count:
            current = int(match[1])
            line = line[match.end() :]
            parts[current - 1] = []
        if current:
            parts[current - 1].append(line)
    return {index: "\n".join(lines).strip() for index, lines in parts.items()}


def _cut_json(content: str, count: int) -> dict[int, str]:
    parts: dict[int, str] = {}
    twice = set()
    for row in _read_list(content, "texts") or []:
        number = row.get("number") if isinstance(row, dict) else None
        if not isinstance(number, int) or not 1 <= number <= count:
            continue
        if number - 1 in parts:
            twice.add(number - 1)
        entities = {"entities": row.get("entities")}
        parts[number - 1] = json.dumps(entities, ensure_ascii=False)
    return {index: part for index, part in parts.items() if index not in twice}


def _share_of(total: int | None, part: int, count: int) -> int | None:
    if total is None:
        return None
    each, rest = divmod(total, count)
    return each + (part < rest)


def to_record(
    sentence: Sentence, answer: Answer, *, structured: bool
) -> dict[str, Any]:
    """Make the record that goes to the corpus.

    sentence (Sentence): The sentence.
    answer (Answer): Its answer.
    structured (bool): Whether JSON was asked for.
    RETURNS (dict[str, Any]): `{"id", "text", "entities"}` for JSON that can be read,
        else `{"id", "text", "answer"}`. The last line of a truncated answer is left
        out: where it ends, no one knows.
    """
    record: dict[str, Any] = {"id": sentence.id, "text": sentence.text}
    entities = read_entities(answer.content) if structured else None
    if entities is not None:
        return record | {"entities": [entity.to_json() for entity in entities]}
    content = answer.content
    if answer.finish_reason == "length" and not structured:
        content = content.rpartition("\n")[0]
    return record | {"answer": content}
