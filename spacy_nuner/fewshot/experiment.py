"""Every cell of a comparison: backbones x layer sets x draws on one data set."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from spacy.tokens import Doc
from thinc.api import get_torch_default_device
from tqdm import tqdm

from ..encoder import load_encoder
from ..models.encoding import use_bf16
from .backbones import Backbone
from .cells import Cell, find_cell, write_cell
from .features import embed_tokens
from .probe import L2, Floats, Gold, encode_labels, find_labels, fit_probe
from .sampling import Draw, gather_tokens


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
