"""`spacy nuner fewshot`: what a backbone is worth on a labelled set."""

from pathlib import Path
from typing import Any

import typer


def fewshot(
    train_path: Path = typer.Argument(
        ..., metavar="TRAIN", help="Labelled set to draw from: .conll, .jsonl or .spacy"
    ),
    test_path: Path = typer.Argument(
        ..., metavar="TEST", help="Labelled set to score on, whole"
    ),
    backbones: list[str] = typer.Option(
        ...,
        help="Encoders to compare, the base first: folders, hub names or "
        "package:NAME/PATH",
    ),
    output: Path = typer.Option(..., help="Folder of results, one JSON a cell"),
    k: list[int] = typer.Option(
        [1, 4, 16, 64],
        help="Mentions of each label to draw; 0: nuner_concepts with the names of the "
        "labels alone, for backbones with a concept encoder",
    ),
    draws: int = typer.Option(5, min=1, help="Draws of each k"),
    seed: int = typer.Option(0, help="Seed of the first draw; draw d has seed + d"),
    names: list[str] = typer.Option(
        [], help="What to call the backbones, such as: base nuner"
    ),
    layers: list[str] = typer.Option(
        ["last", "both"],
        help="Layer sets: last, both (last and middle), or indices such as -1,-4",
    ),
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TEST]"
    ),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    label_names: Path | None = typer.Option(
        None,
        help="For --k 0: JSON of label -> name, or label -> name and description "
        "[default: the labels, read as words]",
    ),
    threshold: float | None = typer.Option(
        None,
        min=0,
        max=1,
        help="For --k 0: probability over which a span belongs to a label "
        "[default: that of nuner_concepts]",
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer for texts"),
    gpu_id: int = typer.Option(-1, help="GPU to embed on; -1 is the CPU"),
) -> None:
    """Compare frozen encoders by a linear probe on a few labelled sentences.

    With --k 0 the probe is replaced by nuner_concepts, which knows the labels by their
    names. Finished cells in the folder of results are not computed again.
    """
    from spacy.cli._util import setup_gpu
    from wasabi import msg

    from ..corpus.labelled_docs import read_docs
    from ..fewshot.compare import describe_backbones, run_experiment
    from ..fewshot.draws import draw_docs
    from ..fewshot.results import METRICS, Curves, curve_table
    from ..fewshot.zero_shot import name_labels, read_names, run_zero
    from ..files import hash_file

    names_of_labels = read_names(label_names) if label_names else {}
    described = describe_backbones(backbones, labels=names, layer_sets=layers)
    train, test = read_docs(train_path, lang=lang), read_docs(test_path, lang=lang)
    # All draws come first: a k out of reach shows before the long part.
    drawn = {
        n: [
            draw_docs(train, n, seed=seed + d, allow_fewer=allow_fewer)
            for d in range(draws)
        ]
        for n in sorted(set(k) - {0})
    }
    setup_gpu(gpu_id)
    facts: Any = {
        "output": output,
        "dataset": dataset or test_path.resolve().parent.name,
        "data": {"train": hash_file(train_path), "test": hash_file(test_path)},
    }
    cells = []
    if 0 in k:
        called = name_labels([*train, *test], names_of_labels)
        cells += run_zero(test, described, called, threshold=threshold, **facts)
    if drawn:
        cells += run_experiment(train, test, described, drawn, **facts)
    for metric, title in METRICS.items():
        curves = Curves(cells, metric)
        for layer_set in curves.layers:
            (name,) = curves.datasets
            labels = [backbone.label for backbone in described]
            header, rows = curve_table(curves, name, layer_set, labels)
            msg.divider(f"{name}: {title}, layers: {layer_set}")
            msg.table(rows, header=header, divider=True)
    msg.good(f"{len(cells)} cells in {output}")
