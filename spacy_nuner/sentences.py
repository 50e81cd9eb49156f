"""Where the sentences of a text begin: by annotation or punctuation, and by lines."""

import re
from collections.abc import Iterator
from itertools import accumulate, pairwise

from spacy.attrs import IDX, SENT_START
from spacy.pipeline.sentencizer import Sentencizer
from spacy.tokens import Doc

# These end a sentence only with a blank behind them.
SENTENCE_FINAL = (".", "!", "?", "।", "؟", "۔")
# What may come between the end of a sentence and the blank behind it.
CLOSING = "\"'”’)]」』）"
_CLOSE = f"[{re.escape(CLOSING)}]*+"
_FINAL = f"[{re.escape(''.join(SENTENCE_FINAL))}…]"
_OTHER = f"[{''.join(sorted({*Sentencizer.default_punct_chars} - {*SENTENCE_FINAL}))}]"
# A run of punctuation is looked at once, however long it is. One of full width may be a
# decimal point.
_ENDS = re.compile(
    rf"(?<!{_FINAL}){_FINAL}++{_CLOSE}\s++|(?<!{_OTHER}){_OTHER}++{_CLOSE}(?!\d)\s*+"
)
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"\w+$")
# A full stop behind so many letters or fewer may be that of "sq." or "no."
MAX_ABBREVIATION = 2
# Full lines of prose that was wrapped are no shorter than this, in characters.
MIN_WIDTH = 64
# So many of its lines are as full as they can be, and fewer in a list of texts.
FULL_SHARE = 0.6


def find_sentences(doc: Doc) -> list[int]:
    """Find where the sentences of a doc begin.

    Each line begins one, unless the text is prose that was wrapped. Within lines
    sentences are those that the doc is annotated with, as by a `senter`, a
    `sentencizer` or a `parser` before. Without annotation they end at punctuation: a
    full stop has to be a token of its own, unlike that of "Dr.", with neither a small
    letter nor a digit behind it. Where sentences begin with small letters, one may be
    behind it if the word before is longer than "sq.".

    doc (Doc): The doc.
    RETURNS (list[int]): The characters at which sentences begin, in order, without the
        first sentence.
    """
    text = doc.text
    found = find_lines(text)
    if doc.has_annotation("SENT_START"):
        table = doc.to_array([SENT_START, IDX]).reshape(-1, 2)
        found += table[table[:, 0] == 1, 1].tolist()
    else:
        found += _find_ends(text, doc)
    first = _skip_blanks(text, 0)
    starts = {_skip_blanks(text, start) for start in found}
    return sorted(start for start in starts if first < start < len(text))


def _skip_blanks(text: str, start: int) -> int:
    match = _BLANKS.match(text, start)
    return match.end() if match else start


def _find_ends(text: str, doc: Doc) -> Iterator[int]:
    """Find where sentences end, by punctuation."""
    matches = list(_ENDS.finditer(text))
    if any(match[0][0] == "." for match in matches):
        tokens = {token.idx for token in doc}
        matches = [m for m in matches if m[0][0] != "." or m.start() in tokens]
    behind = [text[match.end() : match.end() + 1] for match in matches]
    # Whether sentences begin with small letters.
    first = _skip_blanks(text, 0)
    small = text[first : first + 1].islower() and (
        sum(map(str.islower, behind)) > sum(map(str.isupper, behind))
    )
    for match, letter in zip(matches, behind, strict=True):
        if match[0][0] == "." and (letter.isdigit() or letter.islower()):
            end = match.start()
            word = _WORD.search(text, max(end - MAX_ABBREVIATION - 1, 0), end)
            short = word is not None and len(word[0]) <= MAX_ABBREVIATION
            if letter.isdigit() or short or not small:
                continue
        yield match.end()


def find_lines(text: str) -> list[int]:
    """Find where lines begin that do not go on with the sentence before them.

    text (str): The text.
    RETURNS (list[int]): The first character of each that is no blank, in order, without
        the first line.
    """
    lines = text.splitlines(keepends=True)
    bodies = [line.strip() for line in lines]
    # Of the lines below each line, where they have a body.
    ends = list(accumulate(map(len, lines)))[:-1]
    starts = {
        i: _skip_blanks(text, ends[i]) for i, body in enumerate(bodies[1:]) if body
    }
    width = max(map(len, bodies), default=0)
    # Lines with another one right below them, and those of them that are full: the next
    # word would not have fitted.
    pairs = [i for i, (a, b) in enumerate(pairwise(bodies)) if a and b]
    full = [
        i
        for i in pairs
        if len(bodies[i]) + 1 + len(bodies[i + 1].split(maxsplit=1)[0]) > width
    ]
    if width < MIN_WIDTH or not full or len(full) < FULL_SHARE * len(pairs):
        return list(starts.values())
    # Prose begins with a capital, and many of its lines go on with a small letter.
    small = sum(bodies[i + 1][0].islower() for i in full)
    if bodies[pairs[0]][0].islower() or 4 * small < len(full):
        return list(starts.values())
    goes_on = {i for i in full if bodies[i][-1] not in ".!?:;"}
    return [start for i, start in starts.items() if i not in goes_on]
