"""Rows of tokens and tags, as data sets of Hugging Face have them."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..records import BadRow, Reading, Record
from .bio import complete_tags, name_bare_tags, read_tags
from .tokens import join_words

_TOKENS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "ner", "labels", "bio_tags", "iob_tags")
# What `datasets` writes beside the files of a data set.
INFO_FILES = ("dataset_info.json", "dataset_infos.json")
MAX_INFO = 10_000_000
_NUMBER = re.compile(r"-?[0-9]{1,9}")


def find_columns(names: Sequence[str]) -> tuple[str, str] | None:
    """Find the columns of tokens and of tags.

    names (Sequence[str]): All columns.
    RETURNS (tuple[str, str] | None): Their names, if there are both.
    """
    tokens = next((name for name in _TOKENS if name in names), None)
    tags = next((name for name in _TAGS if name in names), None)
    if tags is None:
        tags = next((name for name in names if name.endswith("ner_tags")), None)
    return (tokens, tags) if tokens and tags else None


def is_ner_tags(data: dict[str, Any]) -> bool:
    """Tell a row of tokens and tags."""
    columns = find_columns(list(data))
    if columns is None:
        return False
    tokens, tags = (data[name] for name in columns)
    return isinstance(tags, list) and (
        isinstance(tokens, list) and all(type(token) is str for token in tokens[:1])
    )


def read_ner_tags(data: dict[str, Any], reading: Reading) -> Record:
    """Read a row of tokens and tags.

    data (dict[str, Any]): An object with "tokens" (or "words") and "ner_tags" (or
        "tags", "ner", "labels").
    reading (Reading): The names of tags that are numbers.
    RETURNS (Record): The entities.
    RAISES (BadRow): If there is not a tag for each token, or a number without a name.
    """
    columns = find_columns(list(data))
    if columns is None:
        raise BadRow("no tokens and tags", f"found {sorted(data)}")
    words, tags = (data[name] for name in columns)
    if not isinstance(words, list) or not isinstance(tags, list):
        raise BadRow("tokens and tags are not lists")
    if len(words) != len(tags):
        raise BadRow("not a tag for each token", f"{len(words)} and {len(tags)}")
    names = [_get_name(tag, reading.labels) for tag in tags]
    known = _complete(reading.labels)
    names = [known.get(name, name) for name in names]
    tokens = join_words(words)
    return read_tags(tokens, complete_tags(names))


@lru_cache(maxsize=8)
def _complete(labels: tuple[str, ...]) -> dict[str, str]:
    """Tags by name: a row alone may not show whether its names have prefixes."""
    respell = name_bare_tags(labels)
    if respell is not None:
        return {tag: tag if tag == "O" else respell(tag) for tag in labels}
    return dict(zip(labels, complete_tags(labels), strict=True))


def _get_name(tag: Any, labels: Sequence[str]) -> str:
    if isinstance(tag, float) and tag.is_integer():
        # What pandas makes of a column.
        tag = int(tag)
    elif isinstance(tag, str) and tag not in labels and _NUMBER.fullmatch(tag):
        tag = int(tag)
    if isinstance(tag, str):
        return tag
    if type(tag) is not int:
        raise BadRow("a tag is neither a name nor a number")
    if not labels:
        detail = "give them in order: --labels O,B-X,I-X, or as a file with one a line"
        raise BadRow("tags are numbers without names", detail)
    # -100 stands for pieces that are not scored.
    if not 0 <= tag < len(labels):
        raise BadRow("a tag's number has no name", str(tag))
    return labels[tag]


def find_names(features: Any) -> tuple[str, ...]:
    """Find the names of tags in the features of a data set.

    features (Any): Features by column, as `datasets` writes them as JSON.
    RETURNS (tuple[str, ...]): The names; none if the features have none.
    """
    columns = find_columns(list(features)) if isinstance(features, dict) else None
    value = features[columns[1]] if columns else None
    for _ in range(4):
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict) and isinstance(value.get("names"), list):
            return tuple(name for name in value["names"] if isinstance(name, str))
        value = value.get("feature") if isinstance(value, dict) else value
    return ()


def name_tags(data: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Put the names of tags in place of their numbers.

    data (dict[str, Any]): A row.
    names (Sequence[str]): The names; none to leave the row as it is.
    RETURNS (dict[str, Any]): The row; numbers without a name stay.
    """
    columns = find_columns(list(data)) if names else None
    if columns is None or not isinstance(data[columns[1]], list):
        return data
    named = [
        names[tag] if type(tag) is int and 0 <= tag < len(names) else tag
        for tag in data[columns[1]]
    ]
    return {**data, columns[1]: named}


def find_names_beside(path: Path) -> tuple[str, ...]:
    """Find the names of tags in the description that lies beside a file.

    path (Path): The file.
    RETURNS (tuple[str, ...]): The names; none if there is no description.
    """
    for name in INFO_FILES:
        info = path.parent / name
        try:
            if info.stat().st_size > MAX_INFO:
                continue
            data = json.loads(info.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        described = [data, *data.values()] if isinstance(data, dict) else []
        for one in described:
            if isinstance(one, dict) and (names := find_names(one.get("features"))):
                return names
    return ()
