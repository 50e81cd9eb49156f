"""Tokens that a file brings along, and where they stand in its text."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..records import BadRow, Record


class Tokens(NamedTuple):
    """Tokens in their text.

    text (str): The text.
    ranges (list[tuple[int, int]]): Of each token of the file its first character and
        its end; empty where it is no token of its own.
    """

    text: str
    ranges: list[tuple[int, int]]

    def find_range(self, first: Any, last: Any) -> tuple[int, int]:
        """Find the characters of a run of tokens.

        first (Any): The first token, from 0.
        last (Any): The last token, inclusive.
        RETURNS (tuple[int, int]): The first character and the end.
        RAISES (BadRow): If there are no such tokens.
        """
        if type(first) is not int or type(last) is not int:
            raise BadRow("offsets are not two numbers")
        if not 0 <= first <= last < len(self.ranges):
            raise BadRow("span outside the tokens")
        return self.ranges[first][0], self.ranges[last][1]

    def set_words(self, record: Record) -> None:
        """Give a record of this text the tokens, as a Doc wants them.

        White space between tokens, but for one blank, is a token of its own.

        record (Record): The record.
        """
        words: list[str] = []
        spaces: list[bool] = []
        position = 0
        for start, end in [*self.ranges, (len(self.text), len(self.text))]:
            between = self.text[position:start]
            if between.startswith(" ") and words:
                spaces[-1] = True
                between = between[1:]
            for word in (between, self.text[start:end]):
                if word:
                    words.append(word)
                    spaces.append(False)
            position = max(position, end)
        record.words, record.spaces = words, spaces


def join_words(words: Sequence[Any]) -> Tokens:
    """Make a text of tokens, with a blank between each.

    words (Sequence[Any]): The tokens; empty ones are passed over.
    RETURNS (Tokens): The text and where they stand in it.
    RAISES (BadRow): If one is no string. Whether UTF-8 can hold the text is looked at
        later, once for all forms.
    """
    ranges: list[tuple[int, int]] = []
    position = 0
    for word in words:
        if not isinstance(word, str):
            raise BadRow("a token is not a string")
        ranges.append((position, position + len(word)))
        position += len(word) + bool(word)
    return Tokens(" ".join(word for word in words if word), ranges)


def place_words(words: Iterable[Any], text: str) -> Tokens | None:
    """Find tokens one after another in their text.

    words (Iterable[Any]): The tokens. Those of white space are passed over.
    text (str): The text.
    RETURNS (Tokens | None): Where they stand; None if something else than white space
        lies between them.
    """
    ranges: list[tuple[int, int]] = []
    position = 0
    for word in words:
        if not isinstance(word, str):
            return None
        while position < len(text) and text[position].isspace():
            if word and text.startswith(word, position) and word.strip():
                break
            position += 1
        if not word.strip():
            ranges.append((position, position))
        elif text.startswith(word, position):
            ranges.append((position, position + len(word)))
            position += len(word)
        else:
            return None
    return None if text[position:].strip() else Tokens(text, ranges)
