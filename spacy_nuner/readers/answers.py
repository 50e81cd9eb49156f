"""Answers of the LLM: parsed, judged, divided among sentences, as records."""

import html
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from ..utf8 import replace_surrogates
from .fields import check_string
from .folding import FoldedText, is_blank
from .json_values import find_values, read_nearly
from .marks import take_label_off, unmark
from .reasoning import find_answer, strip_reasoning
from .records import HEAD, BadRow, Entity, Loss

# The separators of the two published prompts: the paper's and the blog's.
SEPARATORS = ("<>", "-|-")
COLUMNS = 3

NO_SEPARATOR = "no separator"
EMPTY_ENTITY = "empty entity"
EMPTY_CONCEPT = "empty concept"
AMBIGUOUS = "too many columns"
UNFINISHED = "reasoning without an end"
BAD_ROW = "row of the answer can't be read"

Verdict = Literal[
    "good", "truncated", "refused", "empty", "unreadable", "not in the text"
]
GOOD: Verdict = "good"
TRUNCATED = "length"
# The number of a text before its part of an answer, with what models put around it.
# (Python refuses to read a number of thousands of digits.)
_CALLED = (
    r"(?:(?:entities|annotations|results?) (?:for|in|of|from) )?"
    r"(?:(?:the )?(?:text|texte|texto|testo|sentence|satz|input|answer|response"
    r"|result|output|example|passage|paragraph|document|item|number|no\.?|nr\.?|текст|文本|句子|テキスト)"
    r"[\s_]?)?"
)
_BEFORE = rf"[*_#>`•|=\s-]{{0,20}}(?:<\w{{1,6}}>)?{_CALLED}"
_NUMBER = r"#?\s?(\d{1,9})\ufe0f?\u20e3?(?:\s?(?:/|of)\s?\d{1,9})?\s?"
_AFTER = r"[*_`]{0,3}\s?[:.,：)、|]?[*_`]{0,3}(?:</\w{1,6}>)?"
_BRACKETED = re.compile(
    rf"{_BEFORE}\\?[\[［【]{{1,2}}{_CALLED}{_NUMBER}\\?[\]］】]{{1,2}}{_AFTER}",
    re.IGNORECASE,
)
_ALONE = re.compile(
    rf"{_BEFORE}[(<（]?{_CALLED}{_NUMBER}[)>）]?{_AFTER}[\s=-]{{0,20}}", re.IGNORECASE
)

_SPACED = [re.compile(rf"(?<!\S){re.escape(sep)}(?!\S)") for sep in SEPARATORS]
_BARE = [re.compile(re.escape(sep)) for sep in SEPARATORS]
_ANY = re.compile("|".join(map(re.escape, SEPARATORS)))
# As a model may write them when it minds Markdown, or does not mind.
_LOOSE = re.compile(r"\\?[<＜]\s?\\?[>＞]|(?<!\S)[-–—]\s?\\?\|\s?[-–—](?!\S)")
# One of these is in every separator, also as HTML has it.
_SIGNS = re.compile("[|<＜&]")
# What to try in turn, by the separator that most of an answer's lines have.
_PATTERNS = {
    SEPARATORS[0]: [*_SPACED, *_BARE],
    SEPARATORS[1]: [*_SPACED[::-1], *_BARE[::-1]],
}
# The most separators that an entity is taken to hold.
_MOST_CUTS = 20
_EDGES = " \t\r\f\v\ufeff\u200b\u200e\u200f\u2060"
_MARKER = re.compile(r"(?:[-*+•·–]|\(?(\d{1,3})[.):])\s+")
_RULE = re.compile(r"[-=:|\s]*")
_CELLS = re.compile(r"(?<!\\)\|")
_ROW_NUMBER = re.compile(r"#?|#?\d{1,4}[.)]?")
_WRAPPERS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'")),
    *(("“", "”"), ("‘", "’"), ("«", "»"), ("[", "]")),
)
_AROUND_LINES = (("|", "|"), ("```", "```"), *_WRAPPERS, ("(", ")"), ("<", ">"))
_AROUND_DESCRIPTIONS = (
    *(("**", "**"), ("*", "*"), ("`", "`"), ("<", ">"), ("[", "]"), ("{", "}")),
)
# Models repeat the output format, or head a table with it, before they answer.
_HEADERS = {
    ("entity from the text", "entity concept"),
    ("entity", "entity concept"),
    ("entity", "concept"),
    ("text", "concept"),
}
_ENTITY_HEADERS = {"entity", "entity from the text", "entity name", "text", "mention"}
_CONCEPT_HEADERS = {
    *("concept", "entity concept", "type", "entity type", "category", "label"),
}
# What the rows of an answer in JSON call an entity and its concept, ours first.
_TEXT_KEYS = (
    *("text", "entity", "name", "entity text", "entity name", "mention", "span"),
    *("word", "phrase", "value"),
)
_CONCEPT_KEYS = (
    *("concept", "entity concept", "type", "entity type", "label", "category"),
    *("entity group", "entity label", "class"),
)
# What an answer in lists has in their places.
_TRIPLE = ("text", "concept", "description")


class ParsedAnswer(NamedTuple):
    """What an answer holds.

    entities (list[Entity]): The annotations as the LLM wrote them, without blanks,
        marks and quotes around, in the order of the answer.
    losses (list[Loss]): The lines that hold no annotation, or one that can be read in
        several ways, and thoughts that came to no end.
    """

    entities: list[Entity]
    losses: list[Loss]


def parse_answer(answer: str, *, text: str | None = None) -> ParsedAnswer:
    """Read the annotations out of an answer to the paper's or the blog's prompt.

    What the model thought before it answered is left out. Blank lines, code fences,
    introductions that end in a colon and a repeated header are passed over. Numbers,
    bullets, quotes, bars of a table and other marks are taken off, unless the text has
    them too.

    answer (str): The raw answer.
    text (str | None): The sentence that was annotated. It settles what the answer
        leaves open: whether an entity holds the separator, a number or quotes itself.
    RETURNS (ParsedAnswer): The annotations and the lines that hold none. Both are
        empty for an empty answer.
    """
    content, finished = strip_reasoning(answer, text=text)
    lines = [line.strip(_EDGES) for line in re.split(r"[\r\n]+", content)]
    lines = [line for line in lines if line and not _is_fence(line)]
    folded = FoldedText.of(text, searches=len(lines))
    parsed = ParsedAnswer([], [])
    marked = [line for line in lines if _ANY.search(line)]
    preferred = _usual_separator(marked)
    numbered = _is_numbered(marked, preferred)
    for line in lines:
        columns = _split(line, preferred, folded)
        if columns is None:
            parsed.losses.append(Loss(AMBIGUOUS, detail=line))
        elif len(columns) == 1:
            if not line.endswith(":"):
                parsed.losses.append(Loss(NO_SEPARATOR, detail=line))
        elif not _is_header(columns, folded):
            entity = _entity(columns[0], folded, numbered=numbered)
            concept = take_label_off(columns[1], of="concept")
            if not entity or not concept:
                kind = EMPTY_CONCEPT if entity else EMPTY_ENTITY
                parsed.losses.append(Loss(kind, detail=line))
            else:
                description = _describe(columns[2]) if len(columns) > 2 else ""
                parsed.entities.append(Entity(entity, concept, description or None))
    if not finished:
        parsed.losses.append(Loss(UNFINISHED, detail=answer[:HEAD]))
    return parsed


def _is_fence(line: str) -> bool:
    return line.startswith(("```", "~~~")) and not _ANY.search(line)


def _usual_separator(lines: Sequence[str]) -> str:
    def uses(sep: str) -> tuple[int, int]:
        counts = [line.count(sep) for line in lines]
        return sum(map(bool, counts)), sum(counts)

    return max(SEPARATORS, key=uses)


def _split(line: str, preferred: str, text: FoldedText | None) -> list[str] | None:
    """The columns of a line; one where it has no separator, None where unclear."""
    if not _SIGNS.search(line):
        return [line]
    if _ANY.search(line):
        line = _unwrap_line(line, text)
        patterns = _PATTERNS[preferred]
    elif line.startswith("|"):
        return _split_cells(line, text)
    else:
        line, patterns = html.unescape(line), [*_PATTERNS[preferred], _LOOSE]
    for pattern in patterns:
        if cuts := [match.span() for match in pattern.finditer(line)]:
            break
    else:
        # A table without bars at its edges.
        return _split_cells(line, text) if " | " in line else [line]
    end = len(line)
    while len(cuts) > 1 and not line[cuts[-1][1] : end].strip():
        # "Lisbon <> city <>": the last column was left empty.
        end = cuts.pop()[0]
    line = line[:end]
    whole = _entity_with_separator(line, cuts, text)
    if whole:
        cuts = cuts[whole:]
    elif len(cuts) >= COLUMNS and not _stands_in(line[: cuts[0][0]], text):
        return None
    cuts = cuts[:COLUMNS]
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(line)]
    columns = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    if len(columns) == 2:
        # "Lisbon <> city<> large settlement", "Lisbon <> city -|- large settlement",
        # "Lisbon -|- city <> large settlement": no concept's name holds a separator.
        at = 1 if _ANY.search(columns[1]) or _stands_in(columns[0], text) else 0
        columns[at : at + 1] = map(str.strip, _ANY.split(columns[at], COLUMNS))
    return columns


def _split_cells(line: str, text: FoldedText | None) -> list[str]:
    """The columns of a row of a table, if the first of its cells stands in the text."""
    cells = [cell.strip() for cell in _CELLS.split(line.strip("|"), COLUMNS + 1)]
    if len(cells) < 2 or text is None:
        return [line]
    numbered = len(cells) > 2 and _ROW_NUMBER.fullmatch(cells[0])
    # A number may be the entity: "| 2019 | year | a year |".
    if numbered and (unmark(cells[0], text) is None or unmark(cells[1], text)):
        del cells[0]
    if _is_header(cells, text) or unmark(cells[0], text) is not None:
        return cells
    return [line]


def _unwrap_line(line: str, text: FoldedText | None) -> str:
    """Take off what stands around a whole line: quotes, bars, a fence."""
    marker = _MARKER.match(line)
    begin = marker.end() if marker else 0
    inside = (
        line[begin:].removesuffix(",") if line.endswith(('",', "',")) else line[begin:]
    )
    for left, right in _AROUND_LINES:
        if not inside.startswith(left) or not inside.endswith(right):
            continue
        words = inside[len(left) : len(inside) - len(right)]
        cut = _ANY.search(words)
        first = words[: cut.start()] if cut else words
        if cut and right not in first and not _stands_in(left + first, text):
            return line[:begin] + words.strip()
    return line.removesuffix("|").removesuffix("```").rstrip()


def _entity_with_separator(
    line: str, cuts: Sequence[tuple[int, int]], text: FoldedText | None
) -> int:
    """How many of the first separators belong to the entity itself, going by the text.

    One must be left before the concept.
    """
    if text is None or line[slice(*cuts[0])] not in text.text:
        return 0
    for count in range(min(len(cuts) - 1, _MOST_CUTS), 0, -1):
        if line[: cuts[count][0]].strip() in text.text:
            return count
    return 0


def _stands_in(entity: str, text: FoldedText | None) -> bool:
    return text is not None and entity.strip().casefold() in text.case


def _is_numbered(lines: Sequence[str], separator: str) -> bool:
    """Tell a numbered list from entities that begin with a number."""
    found = [_MARKER.match(line) for line in lines if separator in line]
    numbers = [int(match[1]) if match and match[1] else None for match in found]
    first = numbers[0] if numbers else None
    return first is not None and numbers == list(range(first, first + len(numbers)))


def _is_header(columns: Sequence[str], text: FoldedText | None) -> bool:
    if all(_RULE.fullmatch(column) for column in columns):
        return any(columns)
    first, second = (one.strip(" *_`'\"|<>[]:").casefold() for one in columns[:2])
    if (first, second) in _HEADERS:
        return True
    named = first in _ENTITY_HEADERS and second in _CONCEPT_HEADERS
    return named and not _stands_in(first, text)


def _entity(written: str, text: FoldedText | None, *, numbered: bool) -> str:
    """Take marks and quotes off, unless the text has them too."""
    if text is not None and written in text.text:
        return written
    entity = written
    if marker := _MARKER.match(written):
        rest = written[marker.end() :]
        if not marker[1] or numbered or (text is not None and rest in text.text):
            entity = rest
    if text is not None and entity in text.text:
        return entity
    entity = _unwrap(entity, _WRAPPERS)
    if text is None or text.holds(entity):
        return entity
    return unmark(written, text) or entity


def _describe(written: str) -> str:
    words = take_label_off(written, of="description")
    inside = _unwrap(words, _AROUND_DESCRIPTIONS)
    # "<a> or <b>" stays as it is.
    return words if re.search(r"[*`<>\[\]{}]", inside) else inside


def _unwrap(written: str, wrappers: Sequence[tuple[str, str]]) -> str:
    for left, right in wrappers:
        inside = written[len(left) : len(written) - len(right)]
        if inside and written.startswith(left) and written.endswith(right):
            return inside.strip()
    return written


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
    RETURNS (Verdict): "good", or what is wrong: "not in the text" where none of the
        entities stands there. A truncated answer can still hold annotations.
    """
    if answer.refusal or answer.finish_reason == "content_filter":
        return "refused"
    if answer.finish_reason == TRUNCATED:
        return "truncated"
    if not answer.content.strip():
        return "empty"
    if structured:
        found = _read_json(answer.content, text)
        unfinished, unreadable = not found.finished, found.rows is None
        entities = found.entities
    else:
        entities, losses = parse_answer(answer.content, text=text)
        unfinished = any(loss.kind == UNFINISHED for loss in losses)
        unreadable = bool(losses)
    if unfinished:
        return "truncated"
    if entities:
        folded = FoldedText(text)
        stands = any(folded.holds(entity.text) for entity in entities)
        return GOOD if stands else "not in the text"
    return "unreadable" if unreadable else "empty"


class _ReadJson(NamedTuple):
    """What an answer in JSON holds.

    rows (list[Any] | None): What stands in the place of annotations; None if the
        answer has another form, or no row can be read.
    entities (list[Entity]): The rows that can be read.
    bad (list[Any]): The others.
    finished (bool): Whether the model came to an end with its thoughts.
    """

    rows: list[Any] | None
    entities: list[Entity]
    bad: list[Any]
    finished: bool


def read_entities(content: str, *, text: str | None = None) -> list[Entity] | None:
    """Read an answer in JSON, with words or thoughts around it or none.

    content (str): The answer.
    text (str | None): The sentence, for marks around the entities.
    RETURNS (list[Entity] | None): The annotations; None if the answer holds no list
        of annotations, or none that can be read.
    """
    found = _read_json(content, text)
    return None if found.rows is None else found.entities


def _read_json(content: str, text: str | None) -> _ReadJson:
    values, finished = _find_json(content, text)
    lists = [found for found in map(_rows_of, values) if found is not None]
    rows = [row for one in lists for row in one] if lists else None
    folded = FoldedText.of(text, searches=len(rows or []))
    entities, bad = [], []
    for row in rows or []:
        try:
            entities.append(_read_row(row, folded))
        except BadRow:
            bad.append(row)
    return _ReadJson(None if bad and not entities else rows, entities, bad, finished)


def _find_json(content: str, text: str | None) -> tuple[list[Any], bool]:
    """The objects and lists of an answer, and whether the model ended its thoughts."""
    try:
        value = json.loads(content.strip(_EDGES + "\n"), strict=False)
        if not isinstance(value, str):
            return [value], True
        # JSON as a string of JSON.
        content = value
    except (ValueError, RecursionError):
        pass
    found = find_values(content)
    quoted = [(one.start, one.end) for one in found]
    ranges, finished = find_answer(content, text=text, quoted=quoted)
    begins = [start for start, _ in ranges]
    values = [
        one.value
        for one in found
        if (part := bisect_right(begins, one.start)) and one.end <= ranges[part - 1][1]
    ]
    if all(_is_row(value) or _rows_of(value) is None for value in values):
        # Rows alone: perhaps of a list that is not quite JSON.
        nearly = read_nearly("".join(content[start:end] for start, end in ranges))
        if _rows_of(nearly) is not None:
            return [nearly], finished
    return values, finished


def _rows_of(value: Any, *, depth: int = 4) -> list[Any] | None:
    """The rows of annotations in a value; None if it holds something else."""
    if isinstance(value, list):
        if value and all(map(_is_triple, value)):
            return [dict(zip(_TRIPLE, one, strict=False)) for one in value]
        if value and not any(isinstance(one, dict) for one in value):
            return None
        inside = [None if _is_row(one) else _rows_below(one, depth) for one in value]
        pairs = zip(value, inside, strict=True)
        return [row for one, more in pairs for row in ([one] if more is None else more)]
    if _is_row(value):
        return [value]
    return _rows_below(value, depth)


def _rows_below(value: Any, depth: int) -> list[Any] | None:
    if not isinstance(value, dict) or not value or not depth:
        return None
    rows = value.get("entities")
    if isinstance(rows, list):
        inside = _rows_of(rows, depth=depth - 1)
        return rows if inside is None else inside
    lists = [[one] if isinstance(one, str) else one for one in value.values()]
    if list in map(type, value.values()) and all(map(_are_strings, lists)):
        # By concept: {"city": ["Lisbon", "Porto"]}.
        return [
            {"text": words, "concept": concept}
            for concept, one in zip(value, lists, strict=True)
            for words in one
        ]
    inside_each = (_rows_of(one, depth=depth - 1) for one in value.values())
    found = [one for one in inside_each if one is not None]
    return [row for one in found for row in one] if found else None


def _is_triple(value: Any) -> bool:
    return _are_strings(value) and 1 < len(value) <= len(_TRIPLE)


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, str) for one in values)


def _is_row(value: Any) -> bool:
    fields = _fields(value)
    return not fields.keys().isdisjoint(_TEXT_KEYS) and not fields.keys().isdisjoint(
        _CONCEPT_KEYS
    )


def _fields(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        return {}
    return {str(key).casefold().replace("_", " "): row[key] for key in row}


def _read_row(row: Any, text: FoldedText | None) -> Entity:
    fields = _fields(row)
    words, concept = (
        next((fields[key] for key in keys if isinstance(fields.get(key), str)), None)
        for keys in (_TEXT_KEYS, _CONCEPT_KEYS)
    )
    if words is None or concept is None or is_blank(words):
        raise BadRow(BAD_ROW)
    check_string(words)
    check_string(concept)
    if text is not None:
        words = _entity(words, text, numbered=False)
    description = fields.get("description")
    description = (
        replace_surrogates(description) if isinstance(description, str) else None
    )
    return Entity(words, concept, description)


def _show(row: Any) -> str:
    """The beginning of a row that can't be read, as characters of ASCII."""
    try:
        return json.dumps(row, default=str)[:HEAD]
    except RecursionError:
        return "nested too deeply"


def share(answer: Answer, count: int, *, structured: bool) -> dict[int, Answer]:
    """Divide an answer among the sentences of its request.

    answer (Answer): The whole answer.
    count (int): How many sentences were asked about.
    structured (bool): Whether JSON was asked for.
    RETURNS (dict[int, Answer]): Answers by the index of their sentence, from 0, without
        what the model thought. Those that the answer passes over, or of which it has
        two in JSON, have none. The sum of the tokens stays right; of truncated lines
        only the part that was written last is truncated, and of JSON none.
    """
    if count == 1:
        return {0: answer}
    cut = _cut_json if structured else _cut_lines
    divided, finished = cut(answer.content, count)
    # In JSON a part whose end is missing is none.
    last = None if structured else next(reversed(divided), None)
    parts = sorted(divided.items())
    shared = {}
    for part, (index, content) in enumerate(parts):
        reason = answer.finish_reason
        if index == last and not finished:
            reason = TRUNCATED
        elif index != last and reason == TRUNCATED:
            reason = "stop"
        shared[index] = replace(
            answer,
            content=content,
            finish_reason=reason,
            prompt_tokens=_share_of(answer.prompt_tokens, part, len(parts)),
            completion_tokens=_share_of(answer.completion_tokens, part, len(parts)),
        )
    return shared


def _cut_lines(content: str, count: int) -> tuple[dict[int, str], bool]:
    answer, finished = strip_reasoning(content)
    parts: dict[int, list[str]] = {}
    current = 0
    for line in answer.split("\n"):
        number, rest = _read_number(line)
        # Numbers rise, or have a line of their own; any other number in brackets is
        # the text's own.
        if current < number <= count or (0 < number <= count and not rest):
            current = number
            # The one that was written last stands last.
            part = parts.pop(current - 1, [])
            parts[current - 1] = part
            part += [rest] if rest else []
        elif current:
            parts[current - 1].append(line)
    divided = {index: "\n".join(lines).strip() for index, lines in parts.items()}
    return divided, finished


def _read_number(line: str) -> tuple[int, str]:
    """The number of a text that begins a line, 0 if none does, and what follows it."""
    line = line.strip(_EDGES)
    if found := _BRACKETED.match(line):
        rest = line[found.end() :].strip(_EDGES)
        if not _ANY.match(rest):
            return int(found[1]), rest
    elif found := _ALONE.fullmatch(line):
        return int(found[1]), ""
    return 0, line


def _cut_json(content: str, count: int) -> tuple[dict[int, str], bool]:
    values, finished = _find_json(content, None)
    parts: dict[int, str] = {}
    twice = set()
    for row in (row for value in values for row in _numbered_rows(value)):
        number = row.get("number")
        if isinstance(number, str) and re.fullmatch(r"\d{1,9}", number):
            number = int(number)
        if type(number) is not int or not 1 <= number <= count:
            continue
        if number - 1 in parts:
            twice.add(number - 1)
        try:
            part = json.dumps({"entities": row.get("entities")}, ensure_ascii=False)
        except RecursionError:
            continue
        parts[number - 1] = replace_surrogates(part)
    divided = {index: part for index, part in parts.items() if index not in twice}
    return divided, finished


def _numbered_rows(value: Any) -> list[dict[str, Any]]:
    """The answers to several texts, which a server may give as a bare list too."""
    if isinstance(value, dict) and isinstance(value.get("texts"), list | dict):
        value = value["texts"]
    if isinstance(value, dict) and all(map(str.isdecimal, value)):
        return [
            {**(one if isinstance(one, dict) else {"entities": one}), "number": number}
            for number, one in value.items()
        ]
    rows = value if isinstance(value, list) else [value]
    return [row for row in rows if isinstance(row, dict)]


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
        with the rows in it that can't be as "unreadable"; else `{"id", "text",
        "answer"}`. What the model thought and the last line of a truncated answer are
        left out: where that line ends, no one knows.
    """
    record: dict[str, Any] = {"id": sentence.id, "text": sentence.text}
    if structured:
        found = _read_json(answer.content, sentence.text)
        if found.rows is not None:
            record["entities"] = [entity.to_json() for entity in found.entities]
            if found.bad:
                record["unreadable"] = list(map(_show, found.bad))
            return record
    content = answer.content
    if answer.finish_reason == TRUNCATED and not structured:
        content = content.rpartition("\n")[0]
    content, _ = strip_reasoning(content, text=sentence.text)
    return record | {"answer": content.strip("\n")}
