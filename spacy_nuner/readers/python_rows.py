"""The list of tuples of spaCy 2 in a Python file, read as literals: nothing runs."""

import ast
import json
from collections.abc import Iterator
from typing import BinaryIO

from .fields import NOT_PARSED, check_bytes
from .records import BadRow, Row, Source, too_long

# Python's parser takes some hundred times the size of what it reads.
MAX_FILE = 4_000_000


def read_python(source: Source, file: BinaryIO) -> Iterator[Row]:
    """Read the elements of the first list of a file, such as TRAIN_DATA = [...].

    source (Source): The file.
    file (BinaryIO): The open file.
    YIELDS (Row): The elements of the list that are literals, with their lines.
    """
    data = file.read(MAX_FILE + 1)
    row = Row(source, 1, [], len(data))
    try:
        if len(data) > MAX_FILE:
            raise too_long(len(data), MAX_FILE)
        text = data.decode("utf8", "surrogateescape").removeprefix("\ufeff")
        check_bytes(text)
        elements = _find_list(text).elts
    except BadRow as bad:
        row.problem = bad
        yield row
        return
    except NOT_PARSED as error:
        row.problem = BadRow("list does not parse", f"{error}"[:200])
        yield row
        return
    for element in elements:
        row = Row(source, element.lineno, [], 0)
        try:
            # As JSON: other sources have no tuples, sets, bytes or keys of other types.
            row.content = [json.loads(json.dumps(ast.literal_eval(element)))]
        except NOT_PARSED as error:
            row.problem = BadRow("not a literal", f"{error}"[:200])
        yield row


def _find_list(text: str) -> ast.List:
    first: ast.List | None = None
    for statement in ast.parse(text).body:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.List | ast.Tuple) and value.elts:
            # A file may be tuples between commas, without brackets.
            found = value if isinstance(value, ast.List) else ast.List(value.elts)
            # A list of labels may stand before the one of sentences.
            if not all(isinstance(one, ast.Constant) for one in found.elts):
                return found
            first = first or found
    if first is None:
        raise BadRow("no list in the file")
    return first
