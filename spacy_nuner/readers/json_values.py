"""JSON in an answer that has words around it, or that is nearly JSON."""

import ast
import json
import re
from typing import Any, NamedTuple

from .fields import NOT_PARSED

# How much is read again, in characters and in tries, where JSON begins and does not
# end: JSON inside of it still counts.
BUDGET = 8
TRIES = 1000
# What is nearly JSON is read up to so many characters: Python's literals take a
# hundred times their memory.
LONGEST = 131_072
_OPENING = re.compile(r"[\[{](?=\s*[\"\[\]{}])")
_OPENING_OF_ANY = re.compile(r"[\[{](?=\s*[\"'“”\[\]{}])")
_CURLY = str.maketrans("“”", '""')
# Strings are kept as they are; one without an end goes on to the end.
_ODD = re.compile(
    r"(\"(?:[^\"\\]|\\.)*(?:\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z))"
    r"|,(?=\s*[}\]])|\b(?:null|true|false)\b",
    re.DOTALL,
)
_PYTHON = {"null": "None", "true": "True", "false": "False"}


class Value(NamedTuple):
    """An object or a list in a text.

    value (Any): What it holds.
    start (int): Where it begins, in characters.
    end (int): Where it ends, exclusive.
    """

    value: Any
    start: int
    end: int


def find_values(text: str) -> list[Value]:
    """Find the objects and lists in a text, the outermost that can be read.

    text (str): The text.
    RETURNS (list[Value]): What is JSON in it, from left to right.
    """
    # Not strict: models break lines within strings.
    decoder = json.JSONDecoder(strict=False)
    found: list[Value] = []
    position, tries, budget = 0, TRIES, BUDGET * len(text)
    while tries and budget >= 0 and (opening := _OPENING.search(text, position)):
        start = opening.start()
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            position = start + 1
            budget -= getattr(error, "pos", start) - start
            tries -= 1
        else:
            found.append(Value(value, start, position))
    return found


def read_nearly(text: str) -> Any:
    """Read an object or a list with a comma too many, or in the quotes of Python.

    text (str): The text, with words before and behind it or none.
    RETURNS (Any): The value, None if there is none.
    """
    opening = _OPENING_OF_ANY.search(text)
    end = max(text.rfind("}"), text.rfind("]")) + 1
    if not opening or not 0 < end - opening.start() <= LONGEST:
        return None
    part = text[opening.start() : end]
    if '"' not in part:
        part = part.translate(_CURLY)
    try:
        return json.loads(
            _ODD.sub(lambda odd: odd[1] or odd[0].strip(","), part), strict=False
        )
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(
            _ODD.sub(lambda odd: odd[1] or _PYTHON.get(odd[0], odd[0]), part)
        )
    except NOT_PARSED:
        return None
    return value if isinstance(value, list | dict) else None
