"""Words and tags: in columns, a word a line; or as spaCy's `iob`, a sentence a line.

The tags are IOB1, IOB2, BILUO or BIOES, or bare labels. In columns they are in the last
one or in the first one, or in those of CoNLL-2012, and blank lines part sentences.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from ...errors import Errors, NunerError
from ..records import BadRow, Line, Record, Row, Source
from .offsets import Offsets
from .ontonotes import DOCUMENT_LINES, NAME, is_gold_conll, read_gold_line
from .tokens import Tokens, join_words

PREFIXED = re.compile(r"[BIESLUMW]-.+")
# Other spellings of a tag: B_PER, PER-B.
_UNDERSCORED = re.compile(r"[BIESLUMW]_.+")
_BEHIND = re.compile(r"(.+)[-_]([BIESLUMW])")
_SMALL = re.compile(r"[bieslumw]-.+")
# What Label Studio writes; its labels may have blanks.
_LABEL_STUDIO = re.compile(r"(\S+) -X- _ (\S.*)")
# "# sent_id = 3" and "# 3", before a sentence.
_COMMENT = re.compile(r"#[ \t]*(?:[\w.:-]+[ \t]*=|\d+[ \t\r\n]*$)")
# CoNLL-U and GermEval number the words of a sentence; "1-2" and "1.1" are no words.
_WORD_NUMBER = re.compile(r"[1-9]\d*")
_NO_WORD_NUMBER = re.compile(r"\d+[-.]\d+")
# What columns are called, where the first line of a file has their names.
_HEADER = re.compile(
    r"#?(?:id|words?|tokens?|form|text)(?:[\t ]+[\w:#]+)*[\t ]+"
    r"(?:ner|ner_?tags?|tags?|labels?|bio|iob|entity|entities)",
    re.IGNORECASE,
)
# Letters of a tag that goes on with an entity, and those that end one: BILUO has L and
# U, BIOES has E and S, BMES has M, BMEWO has W.
CONTINUING = "IMLE"
ENDING = "LEUSW"
# The line between documents in CoNLL-2003.
DOCUMENT = "-DOCSTART-"
# How many lines are read to find the column of the tags.
LINES_OF_LAYOUT = 100_000
# Bytes of the longest sentence; where more have no blank line, it is missing.
MAX_SENTENCE = 131_072
# Tags without a label, and the label that they get.
BARE_TAGS, UNNAMED = "BIESLUMW", "ENTITY"
BAD_LINE = "not a word and its tag"


class Layout(NamedTuple):
    """Where the tags are.

    column (int): -1 for the last column, 0 for the first.
    bare (bool): Whether they are labels without a prefix.
    numbered (bool): Whether the first column numbers the words of a sentence, and the
        second has them.
    respell (Callable): Makes tags of other spellings of them.
    bracketed (bool): Whether they are the columns of CoNLL-2012.
    """

    column: int
    bare: bool
    numbered: bool = False
    respell: Callable[[str], str] = str
    bracketed: bool = False


def is_bio(lines: Sequence[str]) -> bool:
    """Tell columns of words and tags by the first lines of a file.

    lines (Sequence[str]): Lines that are not blank.
    RETURNS (bool): Whether all have two columns or more, and the first line has a tag
        or the last column of some is "O"; or these are the columns of CoNLL-2012.
    """
    if is_gold_conll(lines):
        return True
    lines = [line for line in lines if not _is_break(line) and not _is_comment(line)]
    rows = [columns for line in lines if (columns := _split(line))]
    if not rows or len(rows) < len(lines):
        return False
    outer = (rows[0][0], rows[0][-1])
    return any(map(_is_tag, outer)) or any(columns[-1] == "O" for columns in rows)


def read_bio(source: Source, lines: Iterator[Line]) -> Iterator[Row]:
    """Read sentences.

    source (Source): The file.
    lines (Iterator[Line]): Its lines.
    YIELDS (Row): The sentences as records with their words.
    RAISES (NunerError): N605 if no column has tags.
    """
    start = list(islice(lines, LINES_OF_LAYOUT))
    if start and _HEADER.fullmatch(start[0].text.strip()):
        del start[0]
    layout: Layout | None = None
    for number, sentence, size in _sentences(chain(start, lines)):
        layout = layout or _find_layout(source.name, start)
        texts = [line.text.rstrip("\r\n") for line in sentence]
        row = Row(source, number, texts, size)
        if size > MAX_SENTENCE:
            detail = f"no blank line within {MAX_SENTENCE} bytes"
            row.problem = BadRow("row too long", detail)
        else:
            try:
                row.content = _read_sentence(sentence, texts, layout)
            except BadRow as bad:
                row.problem = bad
            else:
                if not row.content.text:
                    # Comments alone, such as a licence at the top.
                    continue
        yield row


def _sentences(lines: Iterable[Line]) -> Iterator[tuple[int, list[Line], int]]:
    """Yield the number of the first line, the lines and their bytes."""
    sentence: list[Line] = []
    size = 0
    for line in lines:
        if _is_break(line.text):
            if sentence:
                yield sentence[0].number, sentence, size
            sentence, size = [], 0
            continue
        size += line.size
        # Of one that does not end, only the beginning.
        if len(sentence) < LINES_OF_LAYOUT:
            sentence.append(line)
    if sentence:
        yield sentence[0].number, sentence, size


def _is_break(text: str) -> bool:
    return not text.strip() or text.startswith((DOCUMENT, *DOCUMENT_LINES))


def _is_comment(text: str) -> bool:
    """Whether a line is about a sentence, and "#" no word of it."""
    return text.startswith("#") and not _is_tag(_columns(text)[-1])


def _split(text: str) -> list[str] | None:
    """The columns of a line; None if there are no two, or an outer one is empty."""
    # Only tabs and blanks split: a word may hold a no-break space.
    columns = _columns(text)
    return columns if len(columns) > 1 and columns[0] and columns[-1] else None


def _columns(text: str) -> list[str]:
    # A tab too many at the end of the line, too.
    text = text.rstrip("\r\n").rstrip("\t")
    if "\t" not in text:
        found = _LABEL_STUDIO.fullmatch(text.rstrip(" "))
        return list(found.groups()) if found else text.strip(" ").split(" ")
    return [column.strip(" ") or column for column in text.split("\t")]


def _is_tag(text: str) -> bool:
    return text == "O" or PREFIXED.fullmatch(text) is not None


def _find_layout(name: str, lines: Sequence[Line]) -> Layout:
    if is_gold_conll(line.text for line in lines if not _is_break(line.text)):
        return Layout(NAME, bare=False, bracketed=True)
    split = [(line, _split(line.text)) for line in lines if not _is_break(line.text)]
    rows = [
        (line, columns)
        for line, columns in split
        if columns and not _is_comment(line.text)
    ]
    first, last = ([columns[i] for _, columns in rows] for i in (0, -1))
    numbered = len(rows) > 1 and all(_is_numbered(columns) for _, columns in rows)
    if sum(map(_is_tag, first)) > sum(map(_is_tag, last)):
        return Layout(0, bare=False)
    if any(tag != "O" and _is_tag(tag) for tag in last):
        return Layout(-1, bare=False, numbered=numbered)
    if "O" in last:
        return _find_spelling(last)._replace(numbered=numbered)
    line, columns = rows[0] if rows else split[0]
    found = columns[-1] if columns else line.text.strip()[:60]
    raise NunerError(Errors.N605, path=name, line=line.number, found=found)


def _is_numbered(columns: Sequence[str]) -> bool:
    number = columns[0]
    return len(columns) > 2 and bool(
        _WORD_NUMBER.fullmatch(number) or _NO_WORD_NUMBER.fullmatch(number)
    )


def name_bare_tags(tags: Iterable[str]) -> Callable[[str], str] | None:
    """Tell tags without a label, of sets with one kind of entity, from bare labels.

    tags (Iterable[str]): Tags or bare labels.
    RETURNS (Callable | None): Gives one of them the label `UNNAMED`; None if they are
        none.
    """
    found = {tag for tag in tags if tag != "O"}
    bare = found <= {"B", "I"} or ("B" in found and found <= set(BARE_TAGS))
    return (lambda tag: f"{tag}-{UNNAMED}") if found and bare else None


def _find_spelling(tags: Sequence[str]) -> Layout:
    """Tell other spellings of tags from bare labels."""
    labels = {tag for tag in tags if tag != "O"}
    if respell := name_bare_tags(tags):
        return Layout(-1, bare=False, respell=respell)
    for pattern, respell in (
        (_UNDERSCORED, lambda tag: f"{tag[0]}-{tag[2:]}"),
        (_BEHIND, lambda tag: f"{tag[-1]}-{tag[:-2]}"),
        (_SMALL, lambda tag: tag[0].upper() + tag[1:]),
    ):
        # Of small letters one is a beginning: "e-mail" may be a label.
        begins = pattern != _SMALL or any(tag[0] == "b" for tag in labels)
        if labels and begins and all(map(pattern.fullmatch, labels)):
            return Layout(-1, bare=False, respell=respell)
    return Layout(-1, bare=bool(labels))


def _read_sentence(
    lines: Sequence[Line], texts: Sequence[str], layout: Layout
) -> Record:
    """Read the lines of a sentence."""
    if layout.bracketed:
        return _read_brackets(lines, texts)
    words: list[str] = []
    tags: list[str] = []
    for line, text in zip(lines, texts, strict=True):
        columns = _split(text)
        if not words and _COMMENT.match(text):
            # What some sets say of a sentence; its end may look like a bare label.
            continue
        if layout.numbered and columns and _NO_WORD_NUMBER.fullmatch(columns[0]):
            continue
        tag = columns[layout.column] if columns else ""
        if tag and tag != "O":
            tag = f"I-{tag}" if layout.bare else layout.respell(tag)
        if not columns or not _is_tag(tag):
            if text.startswith("#") and not words:
                # What some sets say of a sentence, before its first word.
                continue
            raise BadRow(BAD_LINE, text[:60], line.number)
        words.append(columns[1 if layout.numbered else -1 - layout.column])
        tags.append(tag)
    # Bytes that are not UTF-8 are refused later, with the whole text.
    return read_tags(join_words(words), tags, checked=False)


def _read_brackets(lines: Sequence[Line], texts: Sequence[str]) -> Record:
    """Read a sentence whose names stand in brackets."""
    words: list[str] = []
    tags: list[str] = []
    inside = ""
    for line, text in zip(lines, texts, strict=True):
        try:
            word, tag, inside = read_gold_line(text, inside)
        except BadRow as bad:
            raise BadRow(bad.kind, bad.detail, line.number) from None
        words.append(word)
        tags.append(tag)
    if inside:
        detail = f"({inside} is not closed"
        raise BadRow("brackets of names that don't fit", detail, lines[0].number)
    return read_tags(join_words(words), tags, checked=False)


def read_tags(tokens: Tokens, tags: Sequence[str], *, checked: bool = True) -> Record:
    """Make a record of tokens with a tag each.

    tokens (Tokens): The tokens.
    tags (Sequence[str]): Their tags: "O", or a label with a prefix. One that continues
        no entity begins one.
    checked (bool): Refuse labels that UTF-8 can't hold; False where that is done later.
    RETURNS (Record): The entities.
    """
    found: list[tuple[str, int, int]] = []
    last = ""
    for (start, end), tag in zip(tokens.ranges, tags, strict=True):
        if start == end:
            # No token of its own; an entity goes on over it.
            continue
        label = tag[2:]
        if label and label == last and tag[0] in CONTINUING:
            found[-1] = (label, found[-1][1], end)
        elif label:
            found.append((label, start, end))
        last = "" if tag[0] in ENDING else label
    record = Record(tokens.text, [])
    tokens.set_words(record)
    offsets = Offsets(tokens.text, fix=False, checked=checked)
    for label, start, end in found:
        record.entities.append(offsets.make_entity(start, end, label))
    return record


def complete_tags(tags: Sequence[str]) -> list[str]:
    """Give bare labels the prefix of IO tags, where no tag of a sentence has one.

    Tags of a sentence that are B and I alone get the label `UNNAMED`.

    tags (Sequence[str]): Tags or bare labels.
    RETURNS (list[str]): Tags. "-" and "", for which spaCy 2 says nothing, and "_" are
        "O".
    RAISES (BadRow): If some have a prefix and others are no tags.
    """
    tags = ["O" if tag in ("-", "", "_") else tag for tag in tags]
    # Of one sentence others may be labels of a letter.
    respell = name_bare_tags(tags) if set(tags) <= {"O", "B", "I"} else None
    if respell is not None:
        return [tag if tag == "O" else respell(tag) for tag in tags]
    if not any(tag != "O" and _is_tag(tag) for tag in tags):
        return [tag if tag == "O" else f"I-{tag}" for tag in tags]
    for tag in tags:
        if not _is_tag(tag):
            raise BadRow("not a tag", tag[:60])
    return list(tags)


def is_iob(lines: Sequence[str]) -> bool:
    """Tell spaCy's `iob`, a sentence a line, by the first lines of a file.

    lines (Sequence[str]): Lines that are not blank.
    RETURNS (bool): Whether each word of the first line has a tag behind a bar.
    """
    words = lines[0].split() if lines else []
    return bool(words) and all(
        "|" in word and _is_tag(word.rpartition("|")[2]) for word in words
    )


def read_iob(source: Source, lines: Iterable[Line]) -> Iterator[Row]:
    """Read sentences of spaCy's `iob`: words with tags behind bars, a sentence a line.

    source (Source): The file.
    lines (Iterable[Line]): Its lines.
    YIELDS (Row): The sentences as records with their words.
    """
    for line in lines:
        if not line.data.strip():
            continue
        text = line.text.rstrip("\r\n")
        row = Row(source, line.number, [text], line.size, line.problem)
        if row.problem is None:
            # word|TAG, or word|POS|TAG
            split = [word.split("|") for word in text.split(" ") if word]
            if all(len(parts) > 1 and _is_tag(parts[-1]) for parts in split):
                # A word may be a bar itself.
                words = [parts[0] or "|" for parts in split]
                tokens = join_words(words)
                tags = [parts[-1] for parts in split]
                row.content = read_tags(tokens, tags, checked=False)
            else:
                row.problem = BadRow(BAD_LINE, text[:60])
        yield row
