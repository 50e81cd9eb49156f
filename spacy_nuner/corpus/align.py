"""The spans of an entity in its text.

The LLM gives no offsets, so the words are searched for, each step only where the one
before found nothing: as written at token boundaries; as written inside tokens, which
are then taken whole; ignoring case; ignoring case, blanks, what can't be seen and the
form of quotes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple

from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc

from ..readers.folding import fold_character, fold_form, is_blank, is_unseen
from ..readers.labelled.offsets import WRONG_OFFSETS
from ..readers.records import Entity

# First and end, of characters or tokens.
_Range = tuple[int, int]
Occurrences = Literal["all", "first", "in_order"]

GIVEN = "given offsets"
BOUNDARIES = "at token boundaries"
INSIDE = "inside tokens"
IGNORING_CASE = "ignoring case"
IGNORING_FORM = "ignoring case, blanks and quotes"
STEPS = (GIVEN, BOUNDARIES, INSIDE, IGNORING_CASE, IGNORING_FORM)

NOT_IN_TEXT = "not in the text"
BLANK = "offsets hold nothing but blanks"
TOO_OFTEN = "too often in the text"
# The most spans of a text. It bounds memory and time where one letter is repeated;
# the densest passage of eight public sets has 297.
MAX_SPANS = 10_000
# What stands no more often is found even where others have used that up.
RARE = 50
TOO_MANY = "too many entities for so long a text"
# The most characters that are gone through for the entities of a text, which takes some
# seconds: 4,000 searches in a megabyte, and more than an answer has lines in a passage.
MAX_SEARCHED = 4_000_000_000


@dataclass(slots=True)
class Match:
    """The spans of an entity, or why it can't be found.

    entity (Entity): The entity.
    spans (list[tuple[int, int]]): Token ranges, end exclusive, left to right, not
        overlapping each other.
    how (str): The step that found it, or the reason why none did.
    several (bool): Whether it occurs more than once in the text.
    """

    entity: Entity
    spans: list[_Range]
    how: str
    several: bool = False


def align(
    doc: Doc,
    entities: Iterable[Entity],
    *,
    text: str | None = None,
    occurrences: Occurrences = "all",
    ignore_case: bool = True,
) -> list[Match]:
    """Find entities in a text. Offsets that an entity brings along are checked.

    doc (Doc): The text, tokenised.
    entities (Iterable[Entity]): The entities, in the order of the answer.
    text (str | None): The text of the doc, where the caller has it: spaCy puts it
        together anew each time that it is asked for.
    occurrences (str): Which occurrences of an entity count: "all", the "first", or
        "in_order": the next one after the entity before it in the answer, else the
        first one that is not taken by the same words.
    ignore_case (bool): Whether the last two steps are tried.
    RETURNS (list[Match]): A match for each entity.
    """
    where = _Text(doc, doc.text if text is None else text)
    matches = []
    cursor = 0
    taken: dict[str, set[_Range]] = {}
    for entity in entities:
        several = False
        if entity.start is not None and entity.end is not None:
            spans, how = where.at(entity.text, entity.start, entity.end)
        else:
            spans, how = where.find(entity.text.strip(), ignore_case=ignore_case)
            several = len(spans) > 1
            if several and occurrences == "first":
                spans = spans[:1]
            elif several and occurrences == "in_order":
                used = taken.setdefault(entity.text, set())
                spans = [_next(spans, used, cursor)]
                used.add(spans[0])
        if spans:
            cursor = spans[0][1]
        matches.append(Match(entity, spans, how, several))
    return matches


def _next(spans: list[_Range], used: set[_Range], cursor: int) -> _Range:
    """The next span that is free, else the first one that is, else the next of all."""
    following = bisect_left(spans, (cursor, 0))
    if len(used) < len(spans):
        for i in chain(range(following, len(spans)), range(following)):
            if spans[i] not in used:
                return spans[i]
    return spans[following % len(spans)]


class _Folded(NamedTuple):
    """A text to search, and where its characters come from.

    text (str): The text after folding.
    origin (list[int] | None): For each character its index before folding, and the
        length at the end. None where folding moves nothing.
    """

    text: str
    origin: list[int] | None

    def find(self, words: str, *, most: int) -> list[_Range]:
        """Occurrences of `words`, as offsets before folding; one more than `most`
        where there are more."""
        found: list[_Range] = []
        start = self.text.find(words) if words else -1
        while start >= 0 and len(found) <= most:
            end = start + len(words)
            if self.origin is None:
                found.append((start, end))
            elif self._is_whole(start) and self._is_whole(end):
                found.append((self.origin[start], self.origin[end - 1] + 1))
            start = self.text.find(words, start + 1)
        return found

    def _is_whole(self, cut: int) -> bool:
        """Whether a cut does not part what one character was folded to ("ß": "ss")."""
        return (
            cut == 0 or self.origin is None or self.origin[cut] != self.origin[cut - 1]
        )


class _Text:
    """A tokenised text, indexed; it is folded only for the entities that need it."""

    def __init__(self, doc: Doc, text: str) -> None:
        self.text = text
        offsets = doc.to_array([IDX, LENGTH])
        self.starts = offsets[:, 0].tolist()
        ends = (offsets[:, 0] + offsets[:, 1]).tolist()
        self.first = {start: i for i, start in enumerate(self.starts)}
        self.end = {end: i for i, end in enumerate(ends, 1)}
        # What was looked up, by step and words: models repeat themselves.
        self._known: dict[tuple[str, str], tuple[list[_Range], str]] = {}
        self._count = 0
        self._searched = 0

    @cached_property
    def as_written(self) -> _Folded:
        return _Folded(self.text, None)

    @cached_property
    def without_case(self) -> _Folded:
        return _fold_case(self.text)

    @cached_property
    def without_form(self) -> _Folded:
        return _fold_form(self.text)

    def at(self, words: str, start: int, end: int) -> tuple[list[_Range], str]:
        if not 0 <= start < end <= len(self.text) or self.text[start:end] != words:
            return [], WRONG_OFFSETS
        if is_blank(words):
            return [], BLANK
        start += len(words) - len(words.lstrip())
        end -= len(words) - len(words.rstrip())
        spans = self._inside([(start, end)])
        return spans, GIVEN if spans else WRONG_OFFSETS

    def find(self, words: str, *, ignore_case: bool) -> tuple[list[_Range], str]:
        spans, how = self._look_up(self.as_written, words, BOUNDARIES)
        if how == INSIDE and ignore_case:
            # "art" stands in "party", and is meant where "Art" stands by itself.
            found = self.without_case.find(words.casefold(), most=RARE)
            if len(found) <= RARE and (whole := self._at_boundaries(found)):
                return whole, IGNORING_CASE
        if how == NOT_IN_TEXT and ignore_case:
            folded = words.casefold()
            spans, how = self._look_up(self.without_case, folded, IGNORING_CASE)
        if how == NOT_IN_TEXT and ignore_case:
            folded = fold_form(words)
            spans, how = self._look_up(self.without_form, folded, IGNORING_FORM)
        return spans, how

    def _look_up(
        self, text: _Folded, words: str, step: str
    ) -> tuple[list[_Range], str]:
        """The spans of words in a form of the text, and how they were found."""
        known = self._known.get((step, words))
        if known is None:
            known = self._known[step, words] = self._search(text, words, step)
        return known

    def _search(self, text: _Folded, words: str, step: str) -> tuple[list[_Range], str]:
        if is_blank(words):
            return [], NOT_IN_TEXT
        self._searched += len(text.text)
        if self._searched > MAX_SEARCHED:
            return [], TOO_MANY
        most = max(MAX_SPANS - self._count, RARE)
        found = text.find(words, most=most)
        self._count += len(found)
        if len(found) > most:
            return [], TOO_OFTEN
        if spans := self._at_boundaries(found):
            return spans, step
        # Without blanks, much occurs somewhere inside.
        if step != IGNORING_FORM and (spans := self._inside(found)):
            return spans, INSIDE if step == BOUNDARIES else step
        return [], NOT_IN_TEXT

    def _at_boundaries(self, found: list[_Range]) -> list[_Range]:
        """The token ranges of what begins and ends with a token."""
        spans = []
        for start, end in found:
            first = self.first.get(start)
            if first is None:
                first = self.first.get(self._skip_unseen(start, -1))
            last = self.end.get(end)
            if last is None:
                last = self.end.get(self._skip_unseen(end, 1))
            if first is not None and last is not None:
                spans.append((first, last))
        return _apart(spans) if len(spans) > 1 else spans

    def _skip_unseen(self, cut: int, by: int) -> int:
        """Move an end of words behind the soft hyphens and joiners at it."""
        text, ahead = self.text, min(by, 0)
        while 0 <= cut + ahead < len(text):
            char = text[cut + ahead]
            if char.isspace() or not is_unseen(char):
                break
            cut += by
        return cut

    def _inside(self, found: list[_Range]) -> list[_Range]:
        return _apart(span for span in map(self._cover, found) if span[0] < span[1])

    def _cover(self, chars: _Range) -> _Range:
        """The tokens that hold a range of characters."""
        start, end = chars
        return bisect_right(self.starts, start) - 1, bisect_left(self.starts, end)


def _apart(spans: Iterable[_Range]) -> list[_Range]:
    """Of spans from left to right those that do not overlap one before."""
    chosen: list[_Range] = []
    for span in spans:
        if not chosen or span[0] >= chosen[-1][1]:
            chosen.append(span)
    return chosen


def _fold_case(text: str) -> _Folded:
    folded = text.casefold()
    if len(folded) == len(text):
        # No character folds to less than one, so none moved.
        return _Folded(folded, None)
    return _by_character(text, [char.casefold() for char in text])


def _fold_form(text: str) -> _Folded:
    return _by_character(text, [fold_character(char) for char in text])


def _by_character(text: str, pieces: list[str]) -> _Folded:
    origin = [i for i, piece in enumerate(pieces) for _ in piece]
    return _Folded("".join(pieces), [*origin, len(text)])
