"""Data sets on the Hugging Face hub, read as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Errors, NunerError
from .labelled.ner_tags import find_names, name_tags
from .records import Source

HUB_PREFIX = "hub:"
# What the parts of labelled sets are called, the most usual name first.
SPLITS = {
    "train": ("train",),
    "dev": ("validation", "dev", "valid", "val"),
    "test": ("test",),
}


class HubName(NamedTuple):
    """What is between the colons of a name."""

    path: str
    """The name on the hub, or a local folder."""
    revision: str | None
    """A commit, branch or tag."""
    config: str | None
    """The configuration."""
    split: str | None
    """The split."""


def parse_hub_name(name: str) -> HubName:
    """Take the name of a data set apart.

    name (str): As for `find_on_hub`.
    RETURNS (HubName): Its parts.
    """
    path, config, split = [*name.removeprefix(HUB_PREFIX).split(":", 2), "", ""][:3]
    revision = ""
    # A folder may have this letter in its name.
    if not Path(path).is_dir():
        path, _, revision = path.partition("@")
    return HubName(path, revision or None, config or None, split or None)


def find_on_hub(name: str, *, split: str | None = None) -> Source:
    """Find a data set and pin it to a commit.

    name (str): "hub:NAME", "hub:NAME:CONFIG" or "hub:NAME:CONFIG:SPLIT", such as
        "hub:numind/NuNER::full" for the only configuration. NAME may be a local
        folder that holds a data set, or have a commit, branch or tag behind it,
        "hub:NAME@REVISION"; without one it is pinned to its latest commit.
    split (str | None): The split if the name has none. Neither is needed where the
        data set has only one.
    RETURNS (Source): The data set.
    RAISES (NunerError): N104 if the data set or the split can't be found.
    """
    from datasets import get_dataset_split_names
    from huggingface_hub import HfApi

    path, named, config, named_split = parse_hub_name(name)
    split = named_split or split
    try:
        revision = None
        if not Path(path).is_dir():
            revision = HfApi().dataset_info(path, revision=named).sha
        splits = get_dataset_split_names(path, config, revision=revision)
    except Exception as error:
        # No network, no such data set, no such configuration: each its own exception.
        raise _unreachable(name, error) from error
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        asked = "no split was named" if split is None else f"it has no split '{split}'"
        reason = f"{asked}; choose from {', '.join(splits)}"
        raise NunerError(Errors.N104, name=name, reason=reason)
    return Source(name, "hub", split, revision)


def name_split(name: str, part: str) -> str | None:
    """Complete the name of a data set with the split of a part.

    name (str): As for `find_on_hub`. One that has a split stays as it is.
    part (str): "train", "dev" or "test".
    RETURNS (str | None): "hub:NAME:CONFIG:SPLIT", None if it has no such split.
    RAISES (NunerError): N104 if the data set can't be found.
    """
    from datasets import get_dataset_split_names

    path, revision, config, split = parse_hub_name(name)
    if split:
        return name
    try:
        splits = get_dataset_split_names(path, config, revision=revision)
    except Exception as error:
        raise _unreachable(name, error) from error
    where = name.removeprefix(HUB_PREFIX).split(":")[0]
    for known in SPLITS[part]:
        if known in splits:
            return f"{HUB_PREFIX}{where}:{config or ''}:{known}"
    return None


def read_hub(source: Source, *, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Read a data set without downloading it first.

    source (Source): What `find_on_hub` found.
    seed (int | None): Seed to shuffle its shards, and rows in a buffer; None for its
        order.
    YIELDS (dict[str, Any]): Its rows, with the names of tags in place of numbers.
    RAISES (NunerError): N104 if reading breaks off.
    """
    from datasets import load_dataset

    path, _, config, _ = parse_hub_name(source.name)
    try:
        pinned = {"split": source.split, "revision": source.revision}
        rows = load_dataset(path, config, streaming=True, **pinned)
        if seed is not None:
            rows = rows.shuffle(seed=seed)
        features = rows.features.to_dict() if rows.features else None
        names = find_names(features)
        for data in rows:
            yield name_tags(data, names)
    except Exception as error:
        raise _unreachable(source.name, error) from error


def _unreachable(name: str, error: Exception) -> NunerError:
    reason = f"{type(error).__name__}: {error}".rstrip(".")
    return NunerError(Errors.N104, name=name, reason=reason)
