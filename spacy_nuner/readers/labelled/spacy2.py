"""Training data of spaCy 2: documents of paragraphs, sentences and tokens."""

from collections.abc import Iterator
from typing import Any

from ..records import BadRow, Reading, Record
from .annotators import NOT_ANNOTATED
from .bio import complete_tags, read_tags
from .tokens import join_words, place_words


def is_spacy2(data: dict[str, Any]) -> bool:
    """Tell a document, or a paragraph of one."""
    return isinstance(data.get("paragraphs"), list) or (
        "sentences" in data and "raw" in data
    )


def cut_document(data: Any) -> list[Any] | None:
    """Cut a document into its paragraphs, each a row.

    data (Any): A value of a JSON file.
    RETURNS (list[Any] | None): Its paragraphs, or the tuples of a file of the "NER
        annotator for spaCy"; None for anything else.
    """
    if not isinstance(data, dict):
        return None
    if "classes" in data and isinstance(data.get("annotations"), list):
        return [one for one in data["annotations"] if one is not None]
    if not isinstance(data.get("paragraphs"), list):
        return None
    return [
        {"raw": None, **one} if isinstance(one, dict) else one
        for one in data["paragraphs"]
    ]


def read_spacy2(data: dict[str, Any], reading: Reading) -> Record:
    """Read a paragraph, or a document of one.

    data (dict[str, Any]): An object with "sentences", each with "tokens" that have
        "orth" and "ner" (BILUO), and perhaps their text as "raw".
    reading (Reading): Not used.
    RETURNS (Record): The entities of all its sentences.
    RAISES (BadRow): If there are no tokens, or no token has a tag.
    """
    paragraphs = cut_document(data)
    if paragraphs is not None:
        if len(paragraphs) != 1 or not isinstance(paragraphs[0], dict):
            raise BadRow("not one paragraph", f"found {len(paragraphs)}")
        data = paragraphs[0]
    values = list(_tokens(data))
    words = [value.get("orth") for value in values]
    tags = [value.get("ner", "-") for value in values]
    if not all(isinstance(tag, str) for tag in tags):
        raise BadRow("a tag is not a string")
    if not words:
        raise BadRow("no tokens")
    if all(tag == "-" for tag in tags):
        raise BadRow(NOT_ANNOTATED, "no token has 'ner'")
    tokens = join_words(words)
    raw = data.get("raw")
    placed = place_words(words, raw) if isinstance(raw, str) else None
    if placed is not None:
        tokens = placed
    record = read_tags(tokens, complete_tags(tags))
    if isinstance(raw, str) and placed is None:
        record.passed["tokens that do not fit the text"] += 1
    if missing := sum(tag == "-" for tag in tags):
        record.passed["token without a tag"] += missing
    return record


def _tokens(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sentences = data.get("sentences")
    for sentence in sentences if isinstance(sentences, list) else []:
        tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
        if not isinstance(tokens, list):
            raise BadRow("a sentence without tokens")
        for token in tokens:
            if not isinstance(token, dict):
                raise BadRow("a token is not an object")
            yield token
