"""What is compared: labelled sets, and encoders with their layers."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from spacy.tokens import Doc

from ..corpus.labelled_docs import read_docs
from ..encoders.folder import CONCEPT_ENCODER, read_info, recommended_layers
from ..encoders.layers import read_config
from ..encoders.names import resolve_weights
from ..encoders.safety import find_weights
from ..errors import Errors, NunerError, Warnings
from ..files import hash_file
from ..models.shim import check_hidden_layers
from ..pipeline.labels import Label
from ..readers.hub import HUB_PREFIX, name_split, parse_hub_name
from ..readers.sources import find_sources, hash_input
from .results import AVERAGE

# Forms of files that have the words of their sentences.
WITH_WORDS = ("bio", "iob", "docbin")


@dataclass(frozen=True)
class Dataset:
    """A labelled set.

    name (str): What tables and folders call it.
    train (list[Doc]): The pool to draw from, entities in `doc.ents`; may be empty.
    test (list[Doc]): What is scored on.
    hashes (dict[str, str]): What tells it from others: part -> SHA-256, see
        `hash_input`; "only", the labels that count, and "lang", see `name_lang`.
    dev (list[Doc]): What rates are chosen on; may be empty.
    meanings (dict[str, Label]): What labels are called, where they don't tell.
    """

    name: str
    train: list[Doc]
    test: list[Doc]
    hashes: dict[str, str]
    dev: list[Doc] = field(default_factory=list)
    meanings: dict[str, Label] = field(default_factory=dict)

    @classmethod
    def from_files(
        cls,
        test: str | Path,
        train: str | Path | None = None,
        *,
        dev: str | Path | None = None,
        name: str | None = None,
        lang: str = "en",
        only: Sequence[str] = (),
        meanings: Mapping[str, Label] | None = None,
    ) -> Self:
        """Read a set, in any form that `read_docs` takes.

        A data set on the hub needs no split: "hub:NAME" stands for its test part, its
        train part, or the one that is called validation or dev.

        test (str | Path): What to score on.
        train (str | Path | None): What to draw from, if anything.
        dev (str | Path | None): What to choose rates on, if anything.
        name (str | None): What to call the set; None for the folder of the test file,
            or the name of the data set on the hub.
        lang (str): Language of the tokenizer for texts.
        only (Sequence[str]): Labels whose entities count, all others being none; all
            if empty.
        meanings (Mapping[str, Label] | None): What labels are called.
        RETURNS (Dataset): The set.
        RAISES (NunerError): What `read_docs` raises; N624 if the set has no entity of
            one of `only`, N646 if its name can't be that of a folder of results, N648
            if rates would be chosen on the test set.
        """
        given = {"test": test, "train": train, "dev": dev}
        paths = {
            part: _complete(str(path), part) for part, path in given.items() if path
        }
        docs = {part: read_docs(path, lang=lang) for part, path in paths.items()}
        hashes = {part: hash_input(path) for part, path in paths.items()}
        if hashes["test"] == hashes.get("train"):
            message = Warnings.W606.format(path=test)
            warnings.warn(message, stacklevel=2)
        if hashes["test"] == hashes.get("dev"):
            raise NunerError(Errors.N648, path=dev)
        hashes |= name_lang(paths.values(), lang)
        if only:
            _leave_only(docs, only, source=str(test))
            hashes["only"] = ", ".join(sorted(only))
        source = str(test)
        folder = Path(test).resolve().parent
        if source.startswith(HUB_PREFIX):
            # A name of the hub, or a folder; results go into a folder of that name.
            folder = Path(parse_hub_name(source).path).resolve()
        # A hidden folder would hold no results.
        name = name or folder.name.lstrip(".") or "data"
        if not is_folder_name(name):
            raise NunerError(Errors.N646, name=name)
        return cls(
            name,
            train=docs.get("train", []),
            test=docs["test"],
            hashes=hashes,
            dev=docs.get("dev", []),
            meanings=dict(meanings or {}),
        )


def is_folder_name(name: str) -> bool:
    """RETURNS (bool): Whether a data set may be called so, since its results go into a
    folder of that name, beside the mean over all sets in tables."""
    return name != AVERAGE and re.fullmatch(r"[^./\\\0][^/\\\0]*", name) is not None


def name_lang(paths: Iterable[str | Path], lang: str) -> dict[str, str]:
    """Name the language of the tokenizer, if sets may depend on it.

    paths (Iterable[str | Path]): The sets, each an input of `find_sources`.
    lang (str): The language.
    RETURNS (dict[str, str]): It as "lang"; nothing if all are files of words.
    RAISES (NunerError): What `find_sources` raises.
    """
    sources = find_sources(paths)
    given = all(source.format in WITH_WORDS for source in sources)
    return {} if given else {"lang": lang}


def _complete(path: str, part: str) -> str:
    """Name the split of a data set on the hub; without one N104 will say so."""
    found = name_split(path, part) if path.startswith(HUB_PREFIX) else path
    return found or path


def _leave_only(
    docs: Mapping[str, Sequence[Doc]], labels: Sequence[str], *, source: str
) -> None:
    found = {ent.label_ for part in docs.values() for doc in part for ent in doc.ents}
    if missing := sorted(set(labels) - found):
        raise NunerError(
            Errors.N624,
            path=source,
            missing=", ".join(missing),
            found=", ".join(sorted(found)),
        )
    for doc in (doc for part in docs.values() for doc in part):
        kept = [ent for ent in doc.ents if ent.label_ in labels]
        doc.set_ents(kept, default="outside")


@dataclass(frozen=True)
class Backbone:
    """An encoder under comparison.

    name (str): What tables and folders call it.
    source (str): Its folder.
    identity (dict[str, str]): What it was named by, and the SHA-256 of its weights.
    layers (dict[str, list[int]]): Layer set -> hidden layers, -1 being the last.
    """

    name: str
    source: str
    identity: dict[str, str]
    layers: dict[str, list[int]]

    @cached_property
    def naming_identity(self) -> dict[str, str]:
        """RETURNS (dict[str, str]): The identity, and under "concepts" the SHA-256 of
        what makes weights of the names of labels, if it has a concept encoder.
        """
        info = read_info(self.source)
        folder = Path(self.source) / CONCEPT_ENCODER
        if info is None or not folder.is_dir():
            return self.identity
        # With the vectors of ordinary text, which lie there too.
        read: list[Any] = [
            hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        read += [info.pooling, info.template, info.max_concept_length]
        read += [info.scale, info.bias]
        digest = hashlib.sha256(json.dumps(read).encode()).hexdigest()
        return {**self.identity, "concepts": digest}


def find_backbones(
    encoders: Sequence[str],
    *,
    names: Sequence[str] = (),
    layers: Sequence[str] = ("last", "both"),
    trained: Sequence[str] = (),
) -> list[Backbone]:
    """Find the encoders to compare without loading their weights.

    The layer set "last" is the last layer; "both" is what `recommended_layers` gives.
    Encoders of one depth are read at the same layers, the first recommendation of a
    `nuner.json` for all, so that none gains by the choice of layers.

    encoders (Sequence[str]): Encoders in any form that `resolve_weights` takes.
    names (Sequence[str]): What to call them; made from `encoders` if empty.
    layers (Sequence[str]): Layer sets: "last", "both", or layers such as "-1+-4".
    trained (Sequence[str]): Those of them that a pipeline is made with, which needs the
        last layer in front.
    RETURNS (list[Backbone]): One for each encoder, in the same order.
    RAISES (NunerError): N001 or N002 if one can't be found, N621 if the names don't
        fit, N622 if a layer set is not understood or a layer does not exist, N401 if
        one of `trained` does not have the last layer in front.
    """
    names = list(names) or [_make_name(encoder) for encoder in encoders]
    valid = all(re.fullmatch(r"\w[\w.+-]*", name) for name in names)
    if not valid or len(names) != len(encoders) or len(set(names)) < len(names):
        raise NunerError(Errors.N621, count=len(encoders), found=", ".join(names))
    sources = [resolve_weights(encoder) for encoder in encoders]
    depths = [read_config(source).num_hidden_layers for source in sources]
    weights = [find_weights(Path(source)) for source in sources]
    both: dict[int, list[int]] = {}
    # Encoders that are backbones come first: their recommendation counts.
    for source, depth in sorted(
        zip(sources, depths, strict=True), key=lambda pair: read_info(pair[0]) is None
    ):
        recommended = recommended_layers(source, depth)
        if len(recommended) > 1:
            both.setdefault(depth, recommended)
    for encoder, depth in zip(encoders, depths, strict=True):
        for text in trained:
            check_hidden_layers(_parse_layers(text, encoder, depth, both), depth)
    return [
        Backbone(
            name,
            source,
            identity={"name": encoder, "sha256": " ".join(map(hash_file, files))},
            layers={text: _parse_layers(text, encoder, depth, both) for text in layers},
        )
        for name, encoder, source, files, depth in zip(
            names, encoders, sources, weights, depths, strict=True
        )
    ]


def _make_name(encoder: str) -> str:
    """`package:NAME/model` -> NAME, `numind/NuNER-v2.0` -> NuNER-v2.0."""
    parts = [part for part in re.split(r"[:/\\]", encoder) if part.strip(".~")]
    if len(parts) > 1 and parts[-1] == "model":
        parts.pop()
    return parts[-1] if parts else encoder


def _parse_layers(
    text: str, encoder: str, depth: int, both: Mapping[int, list[int]]
) -> list[int]:
    known = {"last": [-1], "both": both.get(depth, [-1, -1 - depth // 2])}
    try:
        indices = known.get(text) or [int(part) for part in text.split("+")]
    except ValueError:
        indices = []
    if not indices or not all(-depth - 1 <= index < 0 for index in indices):
        raise NunerError(Errors.N622, found=text, name=encoder, depth=depth)
    return indices
