"""An LLM's answer, `entity <> concept <> description` a line, as annotations.

Answers are kept raw and parsed when they are used, so a better parser needs no new
call. What a line means is taken only where it is unambiguous; the rest is handed back
with a reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# The separators of the two published prompts (FACTS: paper v1.0 and blog v0.1).
SEPARATORS = ("<>", "-|-")
COLUMNS = 3

NO_SEPARATOR = "no separator"
EMPTY_ENTITY = "empty entity"
EMPTY_CONCEPT = "empty concept"
AMBIGUOUS = "too many columns"

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


class Item(NamedTuple):
    """An annotation as the LLM wrote it, without blanks, marks and quotes around."""

    text: str
    concept: str
    description: str | None


class BadLine(NamedTuple):
    """A line that holds no annotation, or one that can be read in several ways."""

    line: str
    reason: str


@dataclass
class ParsedAnswer:
    """What an answer holds.

    items (list[Item]): The annotations, in the order of the answer.
    bad (list[BadLine]): The lines that could not be taken, with reasons.
    """

    items: list[Item] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


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
    parsed = ParsedAnswer()
    preferred = _usual_separator(lines)
    numbered = _is_numbered(lines, preferred)
    for line in lines:
        columns = _split(line, preferred, text)
        if columns is None:
            parsed.bad.append(BadLine(line, AMBIGUOUS))
        elif len(columns) == 1:
            if not line.endswith(":"):
                parsed.bad.append(BadLine(line, NO_SEPARATOR))
        elif not _is_header(columns):
            entity = _entity(columns[0], text, numbered=numbered)
            if not entity or not columns[1]:
                reason = EMPTY_CONCEPT if entity else EMPTY_ENTITY
                parsed.bad.append(BadLine(line, reason))
            else:
                description = columns[2] if len(columns) > 2 else ""
                parsed.items.append(Item(entity, columns[1], description or None))
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
