"""Tagged docs as Parquet, JSON Lines or DocBin: the same bytes for the same docs."""

import io
import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from .tagger import Form, get_scores

if TYPE_CHECKING:
    import pyarrow
    from spacy.tokens import Doc

SUFFIXES: dict[Form, str] = {
    "parquet": ".parquet",
    "jsonl": ".jsonl",
    "docbin": ".spacy",
}


class DocWriter(Protocol):
    """Takes tagged docs one after another and keeps of each what is written alone."""

    def add(self, name: str, doc: "Doc") -> None:
        """Add a doc, or fail and be as before.

        name (str): Its id.
        doc (Doc): The doc.
        """

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The content of the file."""


def make_writer(form: Form, *, text: bool) -> DocWriter:
    """Make the writer of a form.

    form (Form): The form of the file.
    text (bool): Whether to write the texts, but in a DocBin.
    RETURNS : The writer.
    """
    if form == "docbin":
        return _DocBinWriter()
    return _ParquetWriter(text) if form == "parquet" else _JsonWriter(text)


class _JsonWriter:
    def __init__(self, text: bool) -> None:
        self.text = text
        self.lines: list[bytes] = []

    def add(self, name: str, doc: "Doc") -> None:
        row = describe_doc(name, doc, text=self.text)
        self.lines.append(json.dumps(row, ensure_ascii=False).encode("utf8") + b"\n")

    def to_bytes(self) -> bytes:
        return b"".join(self.lines)


class _ParquetWriter:
    def __init__(self, text: bool) -> None:
        self.schema = make_schema(text=text)
        self.text = text
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, doc: "Doc") -> None:
        self.rows.append(describe_doc(name, doc, text=self.text))

    def to_bytes(self) -> bytes:
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.Table.from_pylist(self.rows, schema=self.schema)
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()


class _DocBinWriter:
    def __init__(self) -> None:
        from spacy.tokens import DocBin

        self.docbin = DocBin(store_user_data=True)

    def add(self, name: str, doc: "Doc") -> None:
        import srsly
        from spacy.tokens import DocBin

        doc.user_data = {"id": name}
        for group in doc.spans.values():
            if scores := get_scores(group):
                group.attrs["scores"] = scores
        # A DocBin that fails on a doc has a part of it.
        one = DocBin(docs=[doc], store_user_data=True)
        srsly.msgpack_dumps(one.cats)
        self.docbin.merge(one)

    def to_bytes(self) -> bytes:
        return self.docbin.to_bytes()


def describe_doc(name: str, doc: "Doc", *, text: bool = True) -> dict[str, Any]:
    """Describe a doc as a row.

    name (str): Its id.
    doc (Doc): The doc.
    text (bool): Whether the text is part of the row.
    RETURNS (dict[str, Any]): `id`, `text`, `entities` and `spans`. Offsets count
        characters. The score of an entity is that of the same span in a group; None
        where it is no finite number.
    """
    scored: dict[tuple[int, int, str], float] = {}
    spans = []
    for key, group in sorted(doc.spans.items()):
        # JSON has no number that is none.
        known = [one if isfinite(one) else None for one in get_scores(group)]
        scores: list[Any] = known or [None] * len(group)
        for span, score in zip(group, scores, strict=True):
            spans.append({"key": key, **_describe_span(span), "score": score})
            if score is not None:
                scored.setdefault((span.start, span.end, span.label_), score)
    entities = [
        {
            **_describe_span(span),
            "score": scored.get((span.start, span.end, span.label_)),
        }
        for span in doc.ents
    ]
    row: dict[str, Any] = {"id": name, "text": doc.text} if text else {"id": name}
    return {**row, "entities": entities, "spans": spans}


def _describe_span(span: Any) -> dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "text": span.text,
    }


def make_schema(*, text: bool) -> "pyarrow.Schema":
    """The columns of a Parquet file, which are the same without any row."""
    import pyarrow as pa

    span = [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("score", pa.float32()),
    ]
    columns = [
        ("id", pa.string()),
        ("text", pa.string()),
        ("entities", pa.list_(pa.struct(span))),
        ("spans", pa.list_(pa.struct([("key", pa.string()), *span]))),
    ]
    return pa.schema([one for one in columns if text or one[0] != "text"])
