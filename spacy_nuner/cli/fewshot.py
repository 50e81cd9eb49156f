"""`spacy nuner fewshot`: what a backbone is worth on a few labelled sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import SOURCE, msg, split_list, split_numbers

if TYPE_CHECKING:
    from ..fewshot.results import Cell


def fewshot_cli(
    train: Path = typer.Argument(..., help=f"Labelled set to draw from: {SOURCE}"),
    test: Path = typer.Argument(
        ..., help="Labelled set to score on, whole, of the same forms"
    ),
    output: Path = typer.Argument(..., help="Folder of results, one JSON a cell"),
    backbones: str = typer.Option(
        ...,
        help="Encoders to compare, the base first, between commas: folders, hub names, "
        "package:NAME/PATH or default",
    ),
    k: str = typer.Option(
        "1,4,16,64", help="Mentions of each label to draw, between commas"
    ),
    draws: int = typer.Option(5, min=1, help="Draws of each k"),
    seed: int = typer.Option(0, help="Seed of the first draw; draw d has seed + d"),
    names: str = typer.Option(
        "", help="What to call the backbones, between commas, such as base,nuner"
    ),
    layers: str = typer.Option(
        "last,both",
        help="Layer sets between commas: last, both (last and middle), or indices with "
        "a + between them, such as -1+-4",
    ),
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TEST]"
    ),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer for texts"),
    gpu_id: int = typer.Option(-1, help="GPU to embed on; -1 is the CPU"),
) -> None:
    """Compare frozen encoders by a linear probe on a few labelled sentences.

    Finished cells in the folder of results are not computed again.
    """
    cells = fewshot(
        train,
        test,
        output,
        backbones=split_list(backbones),
        k=split_numbers(k),
        draws=draws,
        seed=seed,
        names=split_list(names),
        layers=split_list(layers),
        dataset=dataset,
        allow_fewer=allow_fewer,
        lang=lang,
        gpu_id=gpu_id,
    )
    print_cells(cells, output)


def fewshot(
    train: Path,
    test: Path,
    output: Path,
    *,
    backbones: Sequence[str],
    k: Sequence[int] = (1, 4, 16, 64),
    draws: int = 5,
    seed: int = 0,
    names: Sequence[str] = (),
    layers: Sequence[str] = ("last", "both"),
    dataset: str | None = None,
    allow_fewer: bool = False,
    lang: str = "en",
    gpu_id: int = -1,
) -> list["Cell"]:
    """Compare frozen encoders by a linear probe on a few labelled sentences.

    train (Path): Labelled set to draw from.
    test (Path): Labelled set to score on, whole.
    output (Path): Folder of results; finished cells in it are not computed again.
    backbones (Sequence[str]): Encoders to compare, the base first.
    k (Sequence[int]): Mentions of each label to draw.
    draws (int): Draws of each k.
    seed (int): Seed of the first draw; draw d has seed + d.
    names (Sequence[str]): What to call the backbones; made from `backbones` if empty.
    layers (Sequence[str]): Layer sets, see `find_backbones`.
    dataset (str | None): What to call the data set; None for the folder of `test`.
    allow_fewer (bool): Take all mentions of a label that has fewer than k.
    lang (str): Language of the tokenizer for texts.
    gpu_id (int): GPU to embed on; -1 is the CPU.
    RETURNS (list[Cell]): One for each backbone, layer set, k and draw.
    RAISES (NunerError): What `find_backbones`, `read_docs`, `draw_docs` and
        `run_probes` raise.
    """
    from spacy.cli._util import setup_gpu

    from ..fewshot.compare import Dataset, find_backbones, run_probes
    from ..fewshot.draws import draw_docs

    found = find_backbones(backbones, names=names, layers=layers)
    data = Dataset.from_files(test, train, name=dataset, lang=lang)
    # All draws come first: a k out of reach shows before the long part.
    drawn = {
        n: [
            draw_docs(data.train, n, seed=seed + d, allow_fewer=allow_fewer)
            for d in range(draws)
        ]
        for n in sorted(set(k))
    }
    setup_gpu(gpu_id)
    return run_probes(data, found, drawn, output)


def print_cells(cells: Sequence["Cell"], output: Path) -> None:
    """Print a table for each metric and layer set of one data set.

    cells (Sequence[Cell]): The cells, the base's first.
    output (Path): Where they are.
    """
    from ..fewshot.results import METRICS, Curves, curve_table

    backbones = list(dict.fromkeys(cell.backbone for cell in cells))
    for metric, title in METRICS.items():
        curves = Curves(cells, metric)
        for layers in curves.layers:
            (dataset,) = curves.datasets
            header, rows = curve_table(curves, dataset, layers, backbones)
            msg.divider(f"{dataset}: {title}, layers: {layers}")
            msg.table(rows, header=header, divider=True)
    msg.good(f"{len(cells)} cells in {output}")
