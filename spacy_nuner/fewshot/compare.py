"""Every cell of a comparison: backbones x layer sets x draws on one data set."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from thinc.api import get_torch_default_device
from tqdm import tqdm
from transformers import AutoConfig

from ..encoders.folder import read_info, recommended_layers
from ..encoders.layers import load_encoder
from ..encoders.names import resolve_weights
from ..errors import Errors, NunerError
from ..files import hash_file
from ..models.precision import use_bf16
from .draws import Draw, gather_tokens
from .probe import L2, Floats, Gold, embed_tokens, encode_labels, find_labels, fit_probe
from .results import Cell, find_cell, write_cell


@dataclass(frozen=True)
class Backbone:
    """An encoder under comparison.

    label: What tables and folders call it.
    source: A folder or a hub name, for `load_encoder`.
    identity: Its name, and the SHA-256 of its weights or the hub's commit.
    layers: Layer set -> hidden layers, -1 being the last.
    """

    label: str
    source: str
    identity: dict[str, str]
    layers: dict[str, list[int]]


def describe_backbones(
    names: Sequence[str], *, labels: Sequence[str], layer_sets: Sequence[str]
) -> list[Backbone]:
    """Look at the encoders to compare without loading their weights.

    The layer set "last" is the last layer; "both" is the last and the middle one:
    what `nuner.json` recommends, else half the depth, as NuMind's model cards have it
    (-1 and -7 of 12 layers). Encoders of one depth are read at the same layers, the
    first recommendation for all, so that none gains by the choice of layers.

    names (Sequence[str]): Encoders in any form that `resolve_weights` takes.
    labels (Sequence[str]): What to call them; made from the names if empty.
    layer_sets (Sequence[str]): "last", "both", or layers such as "-1+-4".
    RETURNS (List[Backbone]): One a name, in the same order.
    RAISES (NunerError): N001 or N002 if one can't be found, N621 if the labels don't
        fit, N622 if a layer set is not understood or a layer does not exist.
    """
    labels = list(labels) or [_make_label(name) for name in names]
    fit = all(re.fullmatch(r"\w[\w.+-]*", label) for label in labels)
    if not fit or len(labels) != len(names) or len(set(labels)) < len(labels):
        raise NunerError(Errors.N621, count=len(names), found=", ".join(labels))
    sources = [resolve_weights(name) for name in names]
    configs = [_load_config(source) for source in sources]
    both: dict[int, list[int]] = {}
    # Encoders that are backbones come first: their recommendation counts.
    order = sorted(range(len(sources)), key=lambda i: read_info(sources[i]) is None)
    for i in order:
        depth = configs[i].num_hidden_layers
        recommended = recommended_layers(sources[i], depth)
        if len(recommended) > 1:
            both.setdefault(depth, recommended)
    backbones = []
    for label, name, source, config in zip(
        labels, names, sources, configs, strict=True
    ):
        depth = config.num_hidden_layers
        known = {"last": [-1], "both": both.get(depth, [-1, -1 - depth // 2])}
        layers = {text: known.get(text) or _parse_layers(text) for text in layer_sets}
        for text, indices in layers.items():
            if not indices or not all(-depth - 1 <= index < 0 for index in indices):
                raise NunerError(Errors.N622, found=text, name=name, depth=depth)
        identity = {"name": name, **_identify(source, config)}
        backbones.append(Backbone(label, source, identity, layers))
    return backbones


def _make_label(name: str) -> str:
    """`package:NAME/model` -> NAME, `numind/NuNER-v2.0` -> NuNER-v2.0."""
    parts = [part for part in re.split(r"[:/\\]", name) if part.strip(".~")]
    if len(parts) > 1 and parts[-1] == "model":
        parts.pop()
    return parts[-1] if parts else name


def _load_config(source: str) -> Any:
    try:
        return AutoConfig.from_pretrained(source)
    except OSError as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise NunerError(Errors.N001, name=source, reason=reason) from error


def _parse_layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split("+")]
    except ValueError:
        return []


def _identify(source: str, config: Any) -> dict[str, str]:
    weights = sorted(Path(source).glob("*.safetensors"))
    if weights:
        return {"sha256": " ".join(hash_file(path) for path in weights)}
    return {"commit": str(getattr(config, "_commit_hash", None))}


def run_experiment(
    train: Sequence[Doc],
    test: Sequence[Doc],
    backbones: Sequence[Backbone],
    draws: Mapping[int, Sequence[Draw]],
    *,
    output: Path,
    dataset: str,
    data: Mapping[str, str],
) -> list[Cell]:
    """Probe every backbone on the same draws, except for the cells that stand already.

    train (Sequence[Doc]): The pool that the draws refer to.
    test (Sequence[Doc]): What every probe is scored on.
    backbones (Sequence[Backbone]): The encoders to compare.
    draws (Mapping[int, Sequence[Draw]]): k -> its draws.
    output (Path): The folder of results. A cell is written as soon as it is finished;
        one that stands there with the same settings is not computed again.
    dataset (str): What to call the data set.
    data (Mapping[str, str]): What tells the data set's files apart, such as hashes;
        part of the settings.
    RETURNS (List[Cell]): All the cells.
    RAISES (NunerError): N623 if the test set has none of the labels.
    """
    gold = Gold(test, find_labels(train, test))
    finished: list[Cell] = []
    for backbone in backbones:
        plan = _plan_cells(backbone, draws, dataset, data)
        standing = [find_cell(output, cell) for cell, _ in plan]
        finished += [cell for cell in standing if cell is not None]
        missing = [i for i, cell in enumerate(standing) if cell is None]
        if missing:
            finished += _compute_cells(
                backbone, plan, missing, train, test, gold, output
            )
    return finished


def _plan_cells(
    backbone: Backbone,
    draws: Mapping[int, Sequence[Draw]],
    dataset: str,
    data: Mapping[str, str],
) -> list[tuple[Cell, Draw]]:
    """List the cells of a backbone: coordinates and settings, without scores."""
    plan = []
    bf16 = use_bf16("auto", get_torch_default_device())
    precision = "bf16" if bf16 else "fp32"
    for layers, hidden_layers in backbone.layers.items():
        for k, draws_of_k in draws.items():
            for number, draw in enumerate(draws_of_k):
                settings = {
                    "encoder": backbone.identity,
                    "hidden_layers": hidden_layers,
                    "data": dict(data),
                    "seed": draw.seed,
                    "docs": draw.docs,
                    "labels": "IO",
                    "l2": L2,
                    "precision": precision,
                }
                cell = {
                    "dataset": dataset,
                    "backbone": backbone.label,
                    "layers": layers,
                    "k": k,
                    "draw": number,
                    "sentences": len(draw.docs),
                    "mentions": draw.mentions,
                    "settings": settings,
                }
                plan.append((cell, draw))
    return plan


def _compute_cells(
    backbone: Backbone,
    plan: Sequence[tuple[Cell, Draw]],
    missing: Sequence[int],
    train: Sequence[Doc],
    test: Sequence[Doc],
    gold: Gold,
    output: Path,
) -> list[Cell]:
    tokenizer, model = load_encoder(backbone.source)
    # Everything that is planned: vectors in bf16 depend on what else is in a batch, and
    # are to be the same whatever stands already.
    read = {i for cell, _ in plan for i in cell["settings"]["hidden_layers"]}
    union = sorted(read, reverse=True)
    pool, tokens_of_draws = gather_tokens(train, [draw for _, draw in plan])
    test_vectors, pool_vectors = (
        embed_tokens(
            docs,
            tokenizer,
            model,
            hidden_layers=union,
            title=f"{backbone.label}: embedding {title}",
        )
        for docs, title in ((test, "test set"), (pool, "draws"))
    )
    pool_gold = encode_labels(pool, gold.labels)
    finished = []
    for i in tqdm(missing, desc=f"{backbone.label}: probes", leave=False):
        cell, tokens = plan[i][0], tokens_of_draws[i]
        start = time.perf_counter()
        columns = [union.index(i) for i in cell["settings"]["hidden_layers"]]
        probe = fit_probe(
            _concatenate(pool_vectors[tokens], columns),
            pool_gold[tokens],
            n_labels=len(gold.labels),
        )
        scores = gold.score(probe.predict(_concatenate(test_vectors, columns)))
        seconds = round(time.perf_counter() - start, 2)
        done = {**cell, "tokens": len(tokens), **scores, "seconds": seconds}
        write_cell(output, done)
        finished.append(done)
    return finished


def _concatenate(vectors: Floats, columns: Sequence[int]) -> Floats:
    """Put the layers of each token side by side."""
    if list(columns) != list(range(vectors.shape[1])):
        vectors = vectors[:, list(columns)]
    return vectors.reshape(len(vectors), -1)
