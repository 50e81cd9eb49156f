"""OntoNotes 5 in the columns of CoNLL-2012 (`*_gold_conll`): names in brackets.

A line has document, part, number of the word, word, part of speech, parse, lemma,
frameset, sense, speaker, name, arguments and coreference. The bracket of a name opens
on its first word, `(PERSON*`, and closes on its last, `*)`; one of a word is `(ORG)`.
https://conll.cemantix.org/2012/data.html
"""

import re
from collections.abc import Iterable

from ..records import BadRow

NUMBER, WORD, NAME = 2, 3, 10
# Predicates may have no column of arguments, but coreference is always there.
FEWEST_COLUMNS = 12
# Lines around a document.
DOCUMENT_LINES = ("#begin document", "#end document")
GOLD_SUFFIX = "gold_conll"
# The folder of the source in which names are not annotated.
WITHOUT_NAMES = "pt"

_NAME = re.compile(r"\((?P<label>[^()*\s]+)(?:\*?\)|\*)|\*\)?")
# As the Penn Treebank writes what else would be brackets or ends of sentences.
_ESCAPED = {
    **{"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]"},
    **{"-LCB-": "{", "-RCB-": "}", "/.": ".", "/?": "?", "/-": "-"},
}


def is_gold_conll(lines: Iterable[str]) -> bool:
    """Tell the columns by the first line that is no comment.

    lines (Iterable[str]): Lines that are not blank.
    RETURNS (bool): Whether there are names in brackets where CoNLL-2012 has them.
    """
    first = next((line for line in lines if not line.startswith("#")), "")
    columns = _split(first)
    return (
        len(columns) >= FEWEST_COLUMNS
        and columns[NUMBER].isdecimal()
        and _NAME.fullmatch(columns[NAME]) is not None
    )


def read_gold_line(text: str, inside: str) -> tuple[str, str, str]:
    """Read a word and its tag.

    text (str): The line.
    inside (str): The label of the bracket that is open, or "".
    RETURNS (tuple[str, str, str]): The word, its tag (B-LABEL, I-LABEL or O), and the
        label of the bracket that is open behind it, or "".
    RAISES (BadRow): If columns are missing, or a bracket opens or closes at the wrong
        place.
    """
    columns = _split(text)
    found = _NAME.fullmatch(columns[NAME]) if len(columns) >= FEWEST_COLUMNS else None
    if found is None:
        raise BadRow("not a word with its name in column 11", text[:60])
    label = found["label"] or ""
    closes = columns[NAME].endswith(")")
    if bool(label) == bool(inside) and (label or closes):
        raise BadRow("brackets of names that don't fit", text[:60])
    word = _ESCAPED.get(columns[WORD], columns[WORD])
    tag = f"B-{label}" if label else f"I-{inside}" if inside else "O"
    return word, tag, "" if closes else label or inside


def _split(text: str) -> list[str]:
    # A word may hold a no-break space.
    return re.split(r"[ \t]+", text.strip(" \t\r\n"))
