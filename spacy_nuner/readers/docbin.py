"""Fast writing of DocBins of words and spans, and fast reading of any."""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spacy.attrs import ORTH, SPACY
from spacy.strings import StringStore
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.vocab import Vocab
from srsly.msgpack import Packer, Unpacker

from ..errors import Errors, NunerError
from .records import Entity, Record
from .sources import open_source

SPANS_KEY = "concepts"
# How `SpanGroup.to_bytes` writes a span: id, kb_id, label, token and character range.
_SPAN = struct.Struct(">QQQllll")


class ShardBin(DocBin):
    """Holds the words of docs and one group of spans for each, and nothing else.

    What is written is an ordinary DocBin. But `DocBin.add` asks each token for nine
    strings, most of them empty here, and makes two msgpack writers a doc, each of
    which looks through all installed packages for plugins: together 1.5 ms a sentence,
    thirty times what tokenising takes.
    """

    def __init__(self) -> None:
        super().__init__(attrs=["ORTH"])
        self._packer = Packer(use_bin_type=True)
        self._words: set[int] = set()
        self._lookup: StringStore | None = None

    def add(
        self,
        doc: Doc,
        spans: Sequence[tuple[int, int, str]] = (),
        descriptions: dict[str, str] | None = None,
    ) -> None:
        """Add a tokenised text and its spans.

        doc (Doc): The text. All docs of a bin have the same vocabulary.
        spans (Sequence[tuple[int, int, str]]): First token, end and concept of each.
        descriptions (dict[str, str] | None): What the concepts mean.
        """
        strings = self._lookup = doc.vocab.strings
        tokens = doc.to_array([ORTH, SPACY])
        # Copied, since a part of an array keeps the whole of it.
        self.tokens.append(tokens[:, :1].copy())
        self.spaces.append(tokens[:, 1:].astype(bool))
        self.flags.append({"has_unknown_spaces": False})
        self.cats.append({})
        self._words.update(tokens[:, 0].tolist())
        packed = []
        for start, end, name in spans:
            label = strings.add(name)
            self._words.add(label)
            last = doc[end - 1]
            chars = (doc[start].idx, last.idx + len(last))
            packed.append(_SPAN.pack(0, 0, label, start, end, *chars))
        attrs = {"descriptions": descriptions or {}}
        group = self._packer.pack({"name": SPANS_KEY, "attrs": attrs, "spans": packed})
        self.span_groups.append(self._packer.pack({group: [SPANS_KEY]}))

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The bin, for `DocBin().from_bytes`."""
        if self._lookup is not None:
            self.strings.update(self._lookup[word] for word in self._words)
        return super().to_bytes()


def read_corpus(folder: str | Path) -> Iterator[Doc]:
    """Read the docs of a folder of DocBins, shard by shard.

    folder (str | Path): What `convert` wrote, or any folder of `*.spacy` files.
    YIELDS (Doc): The docs, in the order of the files' names. Those of a shard share a
        vocabulary, which goes with them.
    RAISES (NunerError): N105 if there is no shard, N005 or N607 if one can't be read.
    """
    for path in find_shards(folder):
        yield from read_docbin(path)


def find_shards(folder: str | Path) -> list[Path]:
    """List the DocBins of a corpus.

    folder (str | Path): The folder.
    RETURNS (list[Path]): Its `*.spacy` files by name.
    RAISES (NunerError): N105 if there is none.
    """
    shards = sorted(Path(folder).glob("*.spacy")) if os.path.isdir(folder) else []
    if not shards:
        raise NunerError(Errors.N105, path=folder)
    return shards


def read_docbin(path: str | Path) -> Iterator[Doc]:
    """Read the docs of a DocBin, of any attributes, with their span groups.

    `DocBin.get_docs` makes a msgpack reader a doc and one a span group, each of which
    looks through all installed packages for plugins; here one reader serves all.

    path (str | Path): The file.
    YIELDS (Doc): Its docs.
    RAISES (NunerError): N005 if there is no such file, N109 if it was damaged when it
        was compressed, N607 if it is no DocBin.
    """
    docbin = load_docbin(path)
    unpacker = Unpacker(raw=False, use_list=True, strict_map_key=False)
    try:
        # Of a damaged file it may be anything.
        packed = docbin.span_groups
        docbin.span_groups = [b""] * len(packed)
        for doc, groups in zip(docbin.get_docs(Vocab()), packed, strict=True):
            _unpack_groups(doc, groups, unpacker)
            yield doc
    except Exception as error:
        raise NunerError(Errors.N607, path=path, reason=error) from error


def read_whole_docs(path: str | Path, vocab: Vocab) -> Iterator[Doc]:
    """Read the docs of a DocBin as `DocBin.get_docs` does.

    path (str | Path): The file.
    vocab (Vocab): The vocabulary of the docs.
    YIELDS (Doc): Its docs.
    RAISES (NunerError): As `read_docbin`.
    """
    try:
        yield from load_docbin(path).get_docs(vocab)
    except NunerError:
        raise
    except Exception as error:  # whatever a damaged value makes spaCy raise
        raise NunerError(Errors.N607, path=path, reason=error) from error


def load_docbin(path: str | Path) -> DocBin:
    """Load a DocBin, compressed or not.

    path (str | Path): The file.
    RETURNS (DocBin): The DocBin.
    RAISES (NunerError): As `read_docbin`.
    """
    with open_source(str(path)) as file:
        content = file.read()
    try:
        return DocBin().from_bytes(content)
    except Exception as error:  # zlib, msgpack and spaCy each have their own
        raise NunerError(Errors.N607, path=path, reason=error) from error


def copy_words(doc: Doc, vocab: Vocab) -> Doc:
    """Make a Doc of the same tokens without any annotation.

    doc (Doc): The annotated Doc.
    vocab (Vocab): Of the pipeline that shall annotate the copy.
    RETURNS (Doc): The copy.
    """
    return Doc(
        vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
    )


def copy_entities(doc: Doc, vocab: Vocab) -> Doc:
    """Make a Doc of the same tokens and entities, all other tokens outside of any.

    doc (Doc): The annotated Doc, of whose tokens some may be unknown.
    vocab (Vocab): Of the copy.
    RETURNS (Doc): The copy.
    """
    copied = copy_words(doc, vocab)
    ents = [Span(copied, ent.start, ent.end, label=ent.label_) for ent in doc.ents]
    copied.set_ents(ents, default="outside")
    return copied


def doc_to_record(doc: Doc) -> Record:
    """Read the annotations of a doc: its span groups, then entities not among them.

    doc (Doc): The doc.
    RETURNS (Record): Its text and annotations, with offsets.
    """
    found: dict[tuple[int, int, str], str | None] = {}
    for group in doc.spans.values():
        described = group.attrs.get("descriptions") or {}
        for span in group:
            key = (span.start_char, span.end_char, span.label_)
            found.setdefault(key, described.get(span.label_))
    for span in doc.ents:
        found.setdefault((span.start_char, span.end_char, span.label_), None)
    text = doc.text
    entities = [
        Entity(text[start:end], label, description, start, end)
        for (start, end, label), description in found.items()
    ]
    return Record(text, entities)


def _unpack_groups(doc: Doc, packed: bytes, unpacker: Unpacker) -> None:
    """Set the groups that `SpanGroups.to_bytes` wrote, in either of its forms."""
    groups = _unpack(unpacker, packed) if packed else []
    if isinstance(groups, list):
        # None, or those of early releases, whose names are their keys.
        groups = dict.fromkeys(groups, [])
    for content, keys in groups.items():
        data = _unpack(unpacker, content)
        name, spans = data["name"], []
        for span in data["spans"]:
            span_id, kb_id, label, start, end, *_ = _SPAN.unpack(span)
            spans.append(Span(doc, start, end, label, kb_id=kb_id, span_id=span_id))
        for key in keys or [name]:
            attrs = dict(data["attrs"])
            doc.spans[key] = SpanGroup(doc, name=name, attrs=attrs, spans=spans)


def _unpack(unpacker: Unpacker, packed: bytes) -> Any:
    unpacker.feed(packed)
    return unpacker.unpack()
