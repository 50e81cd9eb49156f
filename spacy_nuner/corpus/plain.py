"""Answers of which each line is as the prompt asks for it, read fast.

Nine of ten answers are so. `parse_answer` weighs every line for lists, quotes, headers,
other separators and entities that hold one, which takes a quarter of a conversion.
"""

from ..readers.records import Entity

SEPARATOR = " <> "
# What a list, quotes or a heading of the answer would begin with; a line with one of
# them is not plain, unless the text has it too.
_MARKS = frozenset("-*+•·–(0123456789_`\"'“‘«[=:|")
_HEADINGS = ("entity", "text")


def read_plain_answer(answer: str, text: str) -> list[Entity] | None:
    """Read an answer if it is plain; what comes out is what `parse_answer` gives.

    answer (str): The raw answer, in the form of the paper's prompt.
    text (str): The sentence that was annotated.
    RETURNS (list[Entity] | None): The annotations; None if a line is not plain.
    """
    if "-|-" in answer or "<>" in text:
        return None
    entities = []
    for line in answer.split("\n"):
        columns = line.strip().split(SEPARATOR)
        count = len(columns)
        if not 2 <= count <= 3 or line.count("<>") != count - 1:
            return None
        entity, concept = columns[0].strip(), columns[1].strip()
        if not entity or not concept:
            return None
        if entity[0] in "eEtT" and entity.casefold().startswith(_HEADINGS):
            return None
        if entity[0] in _MARKS and not _stands_in(entity, text):
            return None
        description = columns[2].strip() if count == 3 else None
        entities.append(Entity(entity, concept, description or None))
    return entities


def _stands_in(entity: str, text: str) -> bool:
    # "-" alone may be a rule of a table, whatever the text holds.
    return entity in text and any(map(str.isalnum, entity))
