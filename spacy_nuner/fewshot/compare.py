"""Every cell of a comparison: backbones x layer sets x draws on one data set."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from spacy.tokens import Doc
from thinc.api import get_torch_default_device
from tqdm import tqdm

from ..corpus.labelled_docs import read_docs
from ..encoders.folder import read_info, recommended_layers
from ..encoders.layers import load_encoder, read_config
from ..encoders.names import resolve_weights
from ..encoders.safety import find_weights
from ..errors import Errors, NunerError
from ..files import hash_file
from ..models.precision import choose_precision
from ..outputs import check_output, claimed
from ..printing import printable
from ..readers.hub import HUB_PREFIX
from ..readers.sources import hash_input
from .draws import Draw, gather_tokens
from .probe import L2, Gold, embed_tokens, encode_labels, find_labels, fit_probe
from .results import Cell


@dataclass(frozen=True)
class Dataset:
    """A labelled set.

    name (str): What tables and folders call it.
    train (list[Doc]): The pool to draw from, entities in `doc.ents`; may be empty.
    test (list[Doc]): What is scored on.
    hashes (dict[str, str]): Part -> SHA-256, see `hash_input`.
    """

    name: str
    train: list[Doc]
    test: list[Doc]
    hashes: dict[str, str]

    @classmethod
    def from_files(
        cls,
        test: Path,
        train: Path | None = None,
        *,
        name: str | None = None,
        lang: str = "en",
    ) -> Self:
        """Read a set, in any form that `read_docs` takes.

        test (Path): What to score on.
        train (Path | None): What to draw from, if anything.
        name (str | None): What to call the set; None for the folder of the test file,
            or the name of the data set on the hub.
        lang (str): Language of the tokenizer for texts.
        RETURNS (Dataset): The set.
        RAISES (NunerError): What `read_docs` raises.
        """
        paths = {"test": test, **({"train": train} if train else {})}
        docs = {part: read_docs(path, lang=lang) for part, path in paths.items()}
        source = str(test)
        folder = test.resolve().parent
        if source.startswith(HUB_PREFIX):
            # A name of the hub, or a folder; results go into a folder of that name.
            folder = Path(source.removeprefix(HUB_PREFIX).split(":")[0]).resolve()
        return cls(
            name or folder.name,
            train=docs.get("train", []),
            test=docs["test"],
            hashes={part: hash_input(path) for part, path in paths.items()},
        )


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


def find_backbones(
    encoders: Sequence[str],
    *,
    names: Sequence[str] = (),
    layers: Sequence[str] = ("last", "both"),
) -> list[Backbone]:
    """Find the encoders to compare without loading their weights.

    The layer set "last" is the last layer; "both" is what `recommended_layers` gives.
    Encoders of one depth are read at the same layers, the first recommendation of a
    `nuner.json` for all, so that none gains by the choice of layers.

    encoders (Sequence[str]): Encoders in any form that `resolve_weights` takes.
    names (Sequence[str]): What to call them; made from `encoders` if empty.
    layers (Sequence[str]): Layer sets: "last", "both", or layers such as "-1+-4".
    RETURNS (list[Backbone]): One for each encoder, in the same order.
    RAISES (NunerError): N001 or N002 if one can't be found, N621 if the names don't
        fit, N622 if a layer set is not understood or a layer does not exist.
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


def run_probes(
    dataset: Dataset,
    backbones: Sequence[Backbone],
    draws: Mapping[int, Sequence[Draw]],
    output: Path,
) -> list[Cell]:
    """Probe every backbone on the same draws, except for cells that are finished.

    dataset (Dataset): The set; draws refer to its training part.
    backbones (Sequence[Backbone]): The encoders to compare.
    draws (Mapping[int, Sequence[Draw]]): k -> its draws.
    output (Path): The folder of results. A cell is written as soon as it is finished;
        one that is there with the same settings is not computed again.
    RETURNS (list[Cell]): All the cells.
    RAISES (NunerError): N623 if the test set has none of the labels; N031 if another
        process writes results of the set there, and what else `claimed` raises.
    """
    gold = Gold(dataset.test, find_labels(dataset.train, dataset.test))
    cells: list[Cell] = []
    folder = check_output(output / dataset.name, folder=True)
    with claimed(folder, "fewshot"):
        for backbone in backbones:
            planned = _plan_cells(dataset, backbone, draws)
            finished = [cell.find_finished(output) for cell, _ in planned]
            missing = [i for i, one in enumerate(finished) if one is None]
            if missing:
                computed = _compute_cells(dataset, backbone, planned, missing, gold)
                for i, cell in zip(missing, computed, strict=True):
                    cell.to_disk(output)
                    finished[i] = cell
            cells += [one for one in finished if one is not None]
    return cells


def _plan_cells(
    dataset: Dataset, backbone: Backbone, draws: Mapping[int, Sequence[Draw]]
) -> list[tuple[Cell, Draw]]:
    """The cells of a backbone, without scores, and their draws."""
    precision = choose_precision("auto", get_torch_default_device())
    return [
        (
            Cell(
                dataset=dataset.name,
                backbone=backbone.name,
                layers=layers,
                k=k,
                draw=number,
                sentences=len(draw.docs),
                tokens=sum(len(dataset.train[i]) for i in draw.docs),
                mentions=draw.mentions,
                settings={
                    "encoder": backbone.identity,
                    "hidden_layers": hidden_layers,
                    "data": dataset.hashes,
                    "seed": draw.seed,
                    "docs": draw.docs,
                    "labels": "IO",
                    "l2": L2,
                    "precision": precision,
                },
            ),
            draw,
        )
        for layers, hidden_layers in backbone.layers.items()
        for k, draws_of_k in draws.items()
        for number, draw in enumerate(draws_of_k)
    ]


def _compute_cells(
    dataset: Dataset,
    backbone: Backbone,
    planned: Sequence[tuple[Cell, Draw]],
    missing: Sequence[int],
    gold: Gold,
) -> Iterator[Cell]:
    """Fit and score the probes of some of the planned cells."""
    tokenizer, encoder = load_encoder(backbone.source)
    # Everything that is planned: vectors in bf16 depend on what else is in a batch, and
    # are to be the same whichever cells are finished.
    used = {i for layers in backbone.layers.values() for i in layers}
    union = sorted(used, reverse=True)
    pool, tokens_of = gather_tokens(dataset.train, [draw for _, draw in planned])
    pool_gold = encode_labels(pool, gold.labels)
    test_vectors, pool_vectors = (
        embed_tokens(
            docs,
            tokenizer,
            encoder,
            hidden_layers=union,
            title=f"{backbone.name}: embedding {title}",
        )
        for docs, title in ((dataset.test, "test set"), (pool, "draws"))
    )
    for i in tqdm(missing, desc=printable(f"{backbone.name}: probes"), leave=False):
        cell, tokens = planned[i][0], tokens_of[i]
        start = time.perf_counter()
        layers = cell.settings["hidden_layers"]
        # All of them are no copy.
        columns: Any = slice(None)
        if layers != union:
            columns = [union.index(layer) for layer in layers]
        train, test = (
            vectors[:, columns].reshape(len(vectors), -1)
            for vectors in (pool_vectors[tokens], test_vectors)
        )
        probe = fit_probe(train, pool_gold[tokens], n_labels=len(gold.labels))
        scores = gold.score(probe.predict(test))
        seconds = round(time.perf_counter() - start, 2)
        yield replace(cell, scores=scores, seconds=seconds)


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
