"""Marks that models put around what they write: taken off where the text settles it."""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from .folding import FoldedText, fold_form

# How many marks are tried at each end.
MOST = 8
# Symbols and punctuation that mark, or end a sentence. Others ("$", "+", "#") can
# change what a word means, and are bullets only with a blank behind.
_MARKING = {"Cf", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sk", "So"}
_MEANING = "%&@#/\\°‰†§"
_MATHEMATICAL = "<>|~"
_LABELS = (
    r"(?:the )?(?:named )?(?:entity|entities|text|mention|name|span|phrase|term|word"
    r"|item|entité|entität|entidad|entidade|entità|实体|實體|エンティティ|сущность)"
    r"(?: (?:from|in) (?:the )?text| text| name)?"
)
_LABEL = re.compile(
    rf"{_LABELS}\s?#?\d{{0,4}}(?:[\s*_`\"']{{0,4}}[:：=]|\s[-–—]\s)", re.IGNORECASE
)
_OF_CONCEPTS = re.compile(
    r"[\s*_`\"'<\[(]{0,4}(?:(?:entity|named|the)[ _])?"
    r"(?:concept|type|category|label|class|kind)(?:[ _]name)?[\s*_`\"']{0,4}[:：=]",
    re.IGNORECASE,
)
_OF_DESCRIPTIONS = re.compile(
    r"[\s*_`\"'<\[(]{0,4}(?:short |brief )?(?:description|definition)"
    r"(?: of (?:the )?[\w/ ]{1,30})?[\s*_`\"']{0,4}[:：=]",
    re.IGNORECASE,
)
# A number of a list in any script, with the sign that ends it. (A letter or a Roman
# number is one only where it can hardly be an initial.)
_NUMBER = re.compile(
    r"[(\[（【<#]?\s?(?:\d{1,4}|[一二三四五六七八九十百]{1,4})\s?"
    r"(?:[.):、：．。）\]】]+(?!\d)|[-–—](?=\s))\s*"
    r"|\(?(?:[ivxlc]{1,6}|[^\W\d_])(?:[)、）]\s*|(?<=[^\W\d_A-Z])[.．]\s+)"
    r"|#\s?\d{1,4}\s+|\[[ xX✓]\]\s+"
    r"|[\u2460-\u24ff\u2776-\u2793\u3220-\u3243\u3280-\u32b0]\s*"
    r"|\d\ufe0f?\u20e3\s*"
)
_BRACKETS = ("()", "[]", "{}", "<>", "“”", "«»", "‹›", "「」", "『』", "【】")
_QUOTES = '"*_`|'
_ESCAPED = re.compile(r"\\(?=[^\w\s])")


def unmark(written: str, text: FoldedText) -> str | None:
    """Find what of an entity stands in the text.

    written (str): The entity as written, such as '1. **"Ana Lima"**'.
    text (FoldedText): The text.
    RETURNS (str | None): The longest part that stands in the text with nothing but
        marks left out at its ends, quotes and brackets at both or neither; None if
        there is none.
    """
    parts: dict[str, str] = {}
    for variant in _variants(written):
        if len(variant) <= len(text.text) + 200:
            parts |= {part: variant for part in _parts(variant)}
    if not parts:
        return None
    ordered = sorted(
        parts, key=lambda part: (_is_paired(part), len(part)), reverse=True
    )
    for fold, folded in text.steps():
        for part in ordered:
            words = fold(part)
            # The form is folded without blanks, so that no word ends.
            whole = part == parts[part] or fold is fold_form
            if words in folded() and (whole or _is_word(words, folded())):
                return part
    return None


def take_label_off(written: str, *, of: Literal["concept", "description"]) -> str:
    """Take "Concept:" or "Description:" off, which the text can't settle.

    written (str): The column of an answer.
    of (str): What it holds.
    RETURNS (str): What follows the label; HTML entities as the characters they mean.
    """
    label = (_OF_CONCEPTS if of == "concept" else _OF_DESCRIPTIONS).match(written)
    if label and (rest := written[label.end() :].strip(" *_`")):
        written = rest
    return html.unescape(written) if "&" in written else written


def _is_paired(part: str) -> bool:
    if any(part.count(pair[0]) != part.count(pair[1]) for pair in _BRACKETS):
        return False
    return not any(part.count(mark) % 2 for mark in _QUOTES)


def _is_word(words: str, text: str) -> bool:
    """Tell words of the text from letters within one."""
    start = text.find(words)
    while start >= 0:
        end = start + len(words)
        joined = _joins(text[start - 1 : start], words[0])
        if not joined and not _joins(words[-1], text[end : end + 1]):
            return True
        start = text.find(words, end)
    return False


def _joins(left: str, right: str) -> bool:
    """Whether no word ends between two characters."""
    # Scripts that have no case often have no blanks either.
    cased = [one.isdigit() or one.lower() != one.upper() for one in (left, right)]
    return all(cased)


def _variants(written: str) -> Iterator[str]:
    """What is written, and what it means in HTML and Markdown."""
    yield written
    if "&" in written:
        yield html.unescape(written)
    if "&" in written or "<" in written:
        yield html.escape(written, quote=False)
    if "\\" in written:
        yield _ESCAPED.sub("", written)


def _parts(written: str) -> list[str]:
    """What is left with none, one or several marks off at either end."""
    starts, ends = [0], [len(written)]
    while len(starts) <= MOST and (end := _mark_at(written, starts[-1])):
        starts.append(end)
    while len(ends) <= MOST and (start := _mark_before(written, ends[-1])) >= 0:
        ends.append(start)
    parts = {written[a:b].strip() for a in starts for b in ends if a < b}
    return [part for part in parts if part]


def _mark_at(written: str, start: int) -> int:
    """Where a mark ends that begins at `start`, 0 if there is none."""
    rest = written[start : start + 80]
    if not rest:
        return 0
    for pattern in (_LABEL, _NUMBER):
        if found := pattern.match(rest):
            return start + found.end()
    size = len(rest) - len(rest.lstrip(rest[0]))
    if rest[size : size + 1].isdigit() and unicodedata.category(rest[0]) == "Pd":
        # "-5"
        return 0
    spaced = rest[size : size + 1].isspace() and not rest[0].isalnum()
    return start + size if spaced or _is_mark(rest[0]) else 0


def _mark_before(written: str, end: int) -> int:
    """Where a mark begins that ends at `end`, -1 if there is none."""
    rest = written[max(0, end - 80) : end]
    if not rest or not _is_mark(rest[-1]):
        return -1
    return end - len(rest) + len(rest.rstrip(rest[-1]))


def _is_mark(char: str) -> bool:
    if char in _MEANING:
        return False
    marks = char in _MATHEMATICAL or char == "_" or char.isspace()
    return marks or unicodedata.category(char) in _MARKING
