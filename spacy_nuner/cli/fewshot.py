"""`spacy nuner fewshot`: what backbones are worth on a few labelled sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import (
    BACKBONES,
    LABEL_NAMES,
    LANG,
    NAMES,
    PROTOCOL,
    SOURCE,
    msg,
    split_k,
    split_list,
)

if TYPE_CHECKING:
    from ..fewshot.results import Cell


def fewshot_cli(
    train: Path = typer.Argument(..., help=f"Labelled set to draw from: {SOURCE}"),
    test: Path = typer.Argument(
        ..., help="Labelled set to score on, whole, of the same forms"
    ),
    output: Path = typer.Argument(..., help="Folder of results, one JSON a cell"),
    backbones: str = BACKBONES,
    k: str = typer.Option(
        "1,4,16,64",
        help="Mentions (or words) of each label to draw, between commas; all is the "
        "whole set",
    ),
    draws: int = typer.Option(5, min=1, help="Draws of each k"),
    seed: int = typer.Option(
        0, min=0, help="Seed of the first draw; draw d has seed + d"
    ),
    names: str = NAMES,
    layers: str = typer.Option(
        "last,both",
        help="Layer sets of probes between commas: last, both (last and middle), or "
        "indices with a + between them, such as -1+-4",
    ),
    protocol: str = typer.Option("mentions", help=PROTOCOL),
    heads: str = typer.Option(
        "probe",
        help="Between commas: probe, binary-probe (a regression for each label), "
        "linear, two-layer, prototype, nuner_ner, ner, spancat",
    ),
    encoders: str = typer.Option(
        "frozen", help="What becomes of the encoder: frozen, tuned, or frozen,tuned"
    ),
    labels: Path | None = LABEL_NAMES,
    dev: Path | None = typer.Option(
        None, help="Labelled set to choose rates of heads on [default: part of TRAIN]"
    ),
    epochs: int | None = typer.Option(
        None, min=1, help="Passes of a training [default: 10 or more, with k~2k 30]"
    ),
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TEST]"
    ),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    lang: str = LANG,
    n_process: int = typer.Option(1, min=1, help="Processes, one thread each"),
    gpu_id: int = typer.Option(-1, help="GPU to compute on; -1 is the CPU"),
) -> None:
    """Compare encoders by a probe, or by heads, on a few labelled sentences.

    Finished cells in the folder of results are not computed again. With one labelled
    set and none to score on: `compare`.
    """
    cells = fewshot(
        train,
        test,
        output,
        backbones=split_list(backbones),
        k=split_k(k),
        draws=draws,
        seed=seed,
        names=split_list(names),
        layers=split_list(layers),
        protocol=protocol,
        heads=split_list(heads),
        encoders=split_list(encoders),
        labels=labels,
        dev=dev,
        epochs=epochs,
        dataset=dataset,
        allow_fewer=allow_fewer,
        lang=lang,
        n_process=n_process,
        gpu_id=gpu_id,
    )
    print_cells(cells, output)


def fewshot(
    train: Path,
    test: Path,
    output: Path,
    *,
    backbones: Sequence[str],
    k: Sequence[int | str] = (1, 4, 16, 64),
    draws: int = 5,
    seed: int = 0,
    names: Sequence[str] = (),
    layers: Sequence[str] = ("last", "both"),
    protocol: str = "mentions",
    heads: Sequence[str] = ("probe",),
    encoders: Sequence[str] = ("frozen",),
    labels: Path | None = None,
    dev: Path | None = None,
    epochs: int | None = None,
    dataset: str | None = None,
    allow_fewer: bool = False,
    lang: str = "en",
    n_process: int = 1,
    gpu_id: int = -1,
) -> list["Cell"]:
    """Compare encoders by a probe, or by heads, on a few labelled sentences.

    train (Path): Labelled set to draw from.
    test (Path): Labelled set to score on, whole.
    output (Path): Folder of results; finished cells in it are not computed again.
    backbones (Sequence[str]): Encoders to compare, the base first.
    k (Sequence[int | str]): Mentions or words of each label to draw; "all" is the
        whole set.
    draws (int): Draws of each k.
    seed (int): Seed of the first draw; draw d has seed + d.
    names (Sequence[str]): What to call the backbones; made from `backbones` if empty.
    layers (Sequence[str]): Layer sets of probes, see `find_backbones`.
    protocol (str): How sentences are drawn, of `draws.PROTOCOLS`.
    heads (Sequence[str]): What is fitted, of `heads.HEADS`.
    encoders (Sequence[str]): "frozen", "tuned" or both.
    labels (Path | None): JSON of what labels are called, for `nuner_ner`.
    dev (Path | None): Labelled set to choose rates on; None for a part of `train`.
    epochs (int | None): Passes of a training; None for what is usual.
    dataset (str | None): What to call the data set; None for the folder of `test`.
    allow_fewer (bool): Take all mentions of a label that has fewer than k.
    lang (str): Language of the tokenizer for texts.
    n_process (int): Processes, one thread each.
    gpu_id (int): GPU to compute on; -1 is the CPU.
    RETURNS (list[Cell]): One for each backbone, head, layer set of probes, k and draw.
    RAISES (NunerError): What `find_backbones`, `read_docs`, `read_labels`, the protocol
        and `run_cells` raise.
    """
    from spacy.cli._util import setup_gpu

    from ..fewshot.cells import Fits, run_cells
    from ..fewshot.compare import Dataset, find_backbones
    from ..fewshot.draws import draw_groups
    from ..fewshot.heads import check_heads
    from ..outputs import check_output
    from ..pipeline.labels import read_labels

    given = [one for one in (train, test, dev, labels) if one]
    inputs: list[str | Path] = [*given, *backbones]
    check_output(output, inputs=inputs, folder=True)
    check_heads(heads, encoders)
    fits = Fits(
        heads=heads,
        encoders=encoders,
        layers=layers,
        epochs=epochs,
    )
    known = list(dict.fromkeys([*layers, fits.head_layers]))
    found = find_backbones(backbones, names=names, layers=known)
    meanings = read_labels(labels) if labels else {}
    data = Dataset.from_files(
        test, train, dev=dev, name=dataset, lang=lang, meanings=meanings
    )
    # All draws come first: a k out of reach shows before the long part.
    groups = draw_groups(
        *(data.train, protocol, k),
        draws=draws,
        seed=seed,
        allow_fewer=allow_fewer,
    )
    setup_gpu(gpu_id)
    return run_cells(
        *([data], found, {data.name: groups}, output),
        fits=fits,
        n_process=n_process,
        gpu_id=gpu_id,
    )


def print_cells(cells: Sequence["Cell"], output: Path) -> None:
    """Print a table for each data set, metric, and layer set or head.

    cells (Sequence[Cell]): The cells, the base's first.
    output (Path): Where they are.
    """
    from ..fewshot.results import METRICS, Curves, curve_table, title_layers

    backbones = list(dict.fromkeys(cell.backbone for cell in cells))
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        chosen = [cell for cell in cells if cell.dataset == dataset]
        for metric, title in METRICS.items():
            curves = Curves(chosen, metric)
            for layers in curves.layers:
                of = [cell for cell in chosen if cell.layers == layers]
                rows = curve_table(Curves(of, metric), dataset, layers, backbones)
                msg.divider(f"{dataset}: {title}, {title_layers(layers)}")
                msg.table(rows[1], header=rows[0], divider=True)
    msg.good(f"{len(cells)} cells in {output}")
