"""Offsets of spans, checked against the words that the file has for them.

Tools differ in what they count: characters, UTF-16 units (whatever runs in a browser),
bytes, and whether the end belongs to the span. Where the file has a span's words, they
show what was counted.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from ..fields import check_string
from ..records import BadRow, Entity, Reading

OUTSIDE = "span outside the text"
BLANK = "span of blanks alone"
WRONG_OFFSETS = "offsets hold something else"
TOO_MANY = "too many spans over each other"
NO_LABEL = "span without a label"
SEVERAL_TEXTS = "several texts, and nothing says which was annotated"
INCLUSIVE = "the end belongs to the span"
# How wide a character is in what is counted, if not by characters. A text that UTF-8
# can't hold is refused once its spans are read.
_WIDTHS: dict[str, Callable[[str], int]] = {
    "UTF-16 units are counted": lambda char: 1 + (char > "\uffff"),
    "bytes of UTF-8 are counted": lambda char: len(
        char.encode("utf8", "surrogatepass")
    ),
    "carriage returns are not counted": lambda char: int(char != "\r"),
    "a byte order mark is not counted": lambda char: int(char != "\ufeff"),
}
# The spans of a text have at most so many times its characters, which bounds memory.
MAX_COVER = 100


class Offsets:
    """Makes entities of offsets in one text.

    passed (Counter[str]): What was mended, by what was found.
    """

    def __init__(self, text: str, *, fix: bool, checked: bool = True) -> None:
        """Prepare for a text.

        text (str): The text.
        fix (bool): Mend offsets that the words show to be counted in another way.
        checked (bool): Refuse labels that UTF-8 can't hold; False where that is done
            later.
        """
        self.text = text
        self.checked = checked
        self.fix = fix
        self.passed: Counter[str] = Counter()
        self._left = MAX_COVER * len(text)
        self._counted: str | None = None
        self._ends: dict[str, list[int]] = {}

    def make_entity(
        self,
        start: Any,
        end: Any,
        label: Any,
        *,
        words: Any = None,
        description: str | None = None,
    ) -> Entity:
        """Make an entity of what the file has.

        start (Any): Where it begins, in characters.
        end (Any): Where it ends, exclusive.
        label (Any): Its label.
        words (Any): Its words, where the file has them.
        description (str | None): What the label means.
        RETURNS (Entity): The entity, with the words that stand in the text.
        RAISES (BadRow): If it marks nothing or something else than its words.
        """
        if not isinstance(label, str) or not label.strip():
            raise BadRow(NO_LABEL)
        if self.checked:
            check_string(label)
        if start is None and end is None:
            raise BadRow(OUTSIDE, "no offsets")
        # True is an int too.
        if type(start) is not int or type(end) is not int:
            raise BadRow("offsets are not two numbers")
        if isinstance(words, str) and words.strip():
            start, end = self._settle(start, end, words)
        elif self.fix and self._counted:
            # Spans without words were counted as those with them.
            start, end = next(
                (a, b) for how, a, b in self._ways(start, end) if how == self._counted
            )
            self.passed[f"offsets mended: {self._counted}"] += 1
        marked = self.cut(start, end)
        if not marked.strip():
            raise BadRow(BLANK)
        return Entity(marked, label, description, start, end)

    def observe(self, start: Any, end: Any, words: Any) -> None:
        """Find out how a span is counted, before all are read: those that stand before
        it may have no words.

        start, end (Any): Where it is, as the file has it.
        words (Any): Its words, where the file has them.
        """
        numbers = type(start) is int and type(end) is int
        if not self.fix or self._counted or not numbers or not isinstance(words, str):
            return
        if words.strip() and not self._holds(start, end, words):
            found = self._find_way(start, end, words)
            self._counted = found and found[0]

    def cut(self, start: int, end: int) -> str:
        """Get the words of a span.

        start (int): Where it begins.
        end (int): Where it ends, exclusive.
        RETURNS (str): Its words.
        RAISES (BadRow): If it lies outside the text, or if the spans together are far
            longer than it.
        """
        if not 0 <= start < end <= len(self.text):
            raise BadRow(OUTSIDE)
        self._left -= end - start
        if self._left < 0:
            raise BadRow(TOO_MANY)
        return self.text[start:end]

    def _settle(self, start: int, end: int, words: str) -> tuple[int, int]:
        if self._holds(start, end, words):
            return start, end
        found = self._find_way(start, end, words)
        if found is None:
            raise BadRow(WRONG_OFFSETS, words)
        counted, first, last = found
        if not self.fix:
            raise BadRow(f"offsets: {counted} (--fix-offsets mends them)")
        self._counted = counted
        self.passed[f"offsets mended: {counted}"] += 1
        return first, last

    def _find_way(
        self, start: int, end: int, words: str
    ) -> tuple[str, int, int] | None:
        """How a span is counted that has other words by characters."""
        for counted, first, last in self._ways(start, end):
            # Blanks at an end would hide that it is shifted.
            if self._holds(first, last, words) and not (
                self.text[first].isspace() or self.text[last - 1].isspace()
            ):
                return counted, first, last
        return None

    def _holds(self, start: int, end: int, words: str) -> bool:
        if not 0 <= start < end <= len(self.text):
            return False
        size = end - start
        if size == len(words) and self.text.startswith(words, start):
            return True
        if size > 4 * len(words) + 16:
            return False
        # Tools write line breaks as blanks, or as the escape.
        return _fold(words) == _fold(self.text[start:end])

    def _ways(self, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        yield INCLUSIVE, start, end + 1
        for counted, width in _WIDTHS.items():
            ends = self._ends.get(counted)
            if ends is None:
                ends = [0, *accumulate(map(width, self.text))]
                self._ends[counted] = ends
            if ends[-1] == len(self.text):
                continue
            # Behind what is not counted.
            first = bisect_right(ends, start) - 1
            yield counted, first, bisect_left(ends, end)
            both = f"{counted}, and {INCLUSIVE}"
            yield both, first, bisect_left(ends, end + 1)


def _fold(words: str) -> str:
    return " ".join(words.replace("\\n", "\n").split())


def refuse(kind: str, fields: dict[str, Any]) -> BadRow:
    """Make the refusal of a row by its annotator.

    kind (str): Why.
    fields (dict[str, Any]): The fields by name.
    RETURNS (BadRow): What to raise, with the text if a field holds one.
    """
    try:
        return BadRow(kind, text=choose_text(fields, [], Reading()))
    except BadRow:
        return BadRow(kind)


def choose_text(
    fields: dict[str, Any], values: Sequence[dict[str, Any]], reading: Reading
) -> str:
    """Find which of several fields was annotated; their names are the user's own.

    fields (dict[str, Any]): The fields by name.
    values (Sequence[dict[str, Any]]): Spans with "start" and perhaps their words.
    reading (Reading): The field, where it is named.
    RETURNS (str): The named field; else of those that hold a string the one in which
        the most spans have their words; of several the one called "text", else the
        only one that has a blank, as addresses and names of files do not.
    RAISES (BadRow): If no field holds one, or nothing tells which of several it is.
    """
    if reading.field:
        named = fields.get(reading.field)
        if not isinstance(named, str):
            raise BadRow("no text", f"found the keys {sorted(fields)}")
        return named
    spans = [
        (value["start"], value["text"])
        for value in values[:100]
        if type(value.get("start")) is int and isinstance(value.get("text"), str)
    ]

    def rank(name: str) -> tuple[int, bool, bool, int]:
        held = sum(
            # Where offsets are counted in another way, they are a little further on.
            fields[name].find(words, max(start - 99, 0), start + len(words) + 1) >= 0
            for start, words in spans
        )
        is_sentence = len(fields[name].split(maxsplit=1)) > 1
        return held, name == "text", is_sentence, len(fields[name])

    names = [name for name, value in fields.items() if isinstance(value, str)]
    if not names:
        raise BadRow("no text", f"found the keys {sorted(fields)}")
    ranks = {name: rank(name) for name in names}
    best = max(names, key=lambda name: ranks[name])
    # All but the length, which decides where none of them is a sentence.
    rivals = [name for name in names if ranks[name][:3] == ranks[best][:3]]
    is_sentence = ranks[best][2]
    if is_sentence and len({fields[name] for name in rivals}) > 1:
        detail = f"name one of {', '.join(sorted(rivals))} with --field"
        raise BadRow(SEVERAL_TEXTS, detail)
    return str(fields[best])
