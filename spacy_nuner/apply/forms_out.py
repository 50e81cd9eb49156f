"""Tagged docs as Parquet, JSON Lines or DocBin: the same bytes for the same docs."""

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .tagger import Form, get_scores

if TYPE_CHECKING:
    import pyarrow
    from spacy.tokens import Doc

SUFFIXES: dict[Form, str] = {
    "parquet": ".parquet",
    "jsonl": ".jsonl",
    "docbin": ".spacy",
}


def write_docs(docs: "Sequence[tuple[str, Doc]]", form: Form, *, text: bool) -> bytes:
    """Write tagged docs.

    docs (Sequence[tuple[str, Doc]]): Ids and docs.
    form (Form): The form of the file.
    text (bool): Whether to write the texts, but in a DocBin.
    RETURNS (bytes): The content of the file.
    """
    if form == "docbin":
        return _write_docbin(docs)
    rows = [describe_doc(name, doc, text=text) for name, doc in docs]
    if form == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        return "".join(lines).encode("utf8")
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist(rows, schema=make_schema(text=text))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def describe_doc(name: str, doc: "Doc", *, text: bool = True) -> dict[str, Any]:
    """Describe a doc as a row.

    name (str): Its id.
    doc (Doc): The doc.
    text (bool): Whether the text is part of the row.
    RETURNS (dict[str, Any]): `id`, `text`, `entities` and `spans`. Offsets count
        characters. The score of an entity is that of the same span in a group.
    """
    scored: dict[tuple[int, int, str], float] = {}
    spans = []
    for key, group in sorted(doc.spans.items()):
        scores: list[Any] = get_scores(group) or [None] * len(group)
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


def _write_docbin(docs: "Sequence[tuple[str, Doc]]") -> bytes:
    from spacy.tokens import DocBin

    docbin = DocBin(store_user_data=True)
    for name, doc in docs:
        # What components leave there can be large, or of a type that can't be saved.
        doc.user_data = {"id": name}
        for group in doc.spans.values():
            if scores := get_scores(group):
                group.attrs["scores"] = scores
        docbin.add(doc)
    return docbin.to_bytes()
