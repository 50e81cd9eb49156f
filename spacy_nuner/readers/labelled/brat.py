"""brat's standoff: a text in one file, its annotations in another beside it."""

from pathlib import Path

from ..fields import add_loss, check_bytes
from ..records import MAX_ROW, BadRow, Entity, Reading, Record, Row, Source, too_long
from ..sources import PACKED, open_source
from .offsets import Offsets

TEXT_SUFFIX = ".txt"
DISCONTINUOUS = "discontinuous span"
MAX_ANNOTATIONS = 1 << 24
# What lines are besides entities, by their first letter.
_OTHERS = {
    **{"R": "relation", "*": "relation", "E": "event", "A": "attribute"},
    **{"M": "attribute", "N": "normalisation", "#": "note"},
}


def read_brat(source: Source) -> Row:
    """Read a document.

    source (Source): The file of its annotations (.ann); the text is beside it (.txt).
    RETURNS (Row): The document.
    RAISES (NunerError): What `open_source` raises.
    """
    path = Path(source.name)
    row = Row(source, 1, [path.name], 0)
    while path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    path = path.with_suffix(TEXT_SUFFIX)
    try:
        annotations = _read(source.name, MAX_ANNOTATIONS)
        row.size = len(annotations)
        if not path.is_file():
            raise BadRow("no text beside the annotations", path.name)
        text = _read(str(path), MAX_ROW)
        row.content = _read_document(text, annotations, source.reading)
    except BadRow as bad:
        row.problem = bad
    return row


def _read(name: str, limit: int) -> str:
    with open_source(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise too_long(len(data), limit)
    # Offsets count all characters, those of line ends too.
    text = data.decode("utf8", "surrogateescape")
    check_bytes(text)
    return text


def _read_document(text: str, annotations: str, reading: Reading) -> Record:
    record = Record(text, [])
    offsets = Offsets(text, fix=reading.fix_offsets)
    for line in annotations.lstrip("\ufeff").split("\n"):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        if line[0] != "T":
            record.passed[_OTHERS.get(line[0], "line of another kind")] += 1
            continue
        try:
            record.entities.append(_read_entity(line, offsets))
        except BadRow as bad:
            add_loss(record, bad, line)
    record.passed += offsets.passed
    return record


def _read_entity(line: str, offsets: Offsets) -> Entity:
    columns = line.split("\t", 2)
    label, _, written = (columns[1] if len(columns) > 1 else "").partition(" ")
    parts = [part.split() for part in written.split(";")]
    if not all(len(part) == 2 and _are_numbers(part) for part in parts):
        raise BadRow("not a line of brat", "expected T1<TAB>LABEL START END<TAB>WORDS")
    found = [(int(start), int(end)) for start, end in parts]
    for (_, end), (start, _) in zip(found, found[1:], strict=False):
        # A span over a line break comes in parts too.
        if start < end or offsets.text[end:start].strip():
            raise BadRow(DISCONTINUOUS)
    words = columns[2] if len(columns) > 2 else None
    return offsets.make_entity(found[0][0], found[-1][1], label, words=words)


def _are_numbers(values: list[str]) -> bool:
    return all(
        value.isascii() and value.isdigit() and len(value) < 10 for value in values
    )
