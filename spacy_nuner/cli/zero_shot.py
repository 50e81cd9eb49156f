"""`spacy nuner zero-shot`: what a backbone finds by the names of labels alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import LABEL_NAMES, LANG, NAMES, SOURCE, split_list
from .fewshot import print_cells

if TYPE_CHECKING:
    from ..fewshot.results import Cell


def zero_shot_cli(
    test: Path = typer.Argument(..., help=f"Labelled set to score on: {SOURCE}"),
    output: Path = typer.Argument(..., help="Folder of results, one JSON a cell"),
    backbones: str = typer.Option(
        ...,
        help="Backbones with a concept encoder, the base first, between commas: "
        "folders, hub names, package:NAME/PATH or default",
    ),
    labels: Path | None = LABEL_NAMES,
    threshold: float | None = typer.Option(
        None,
        min=0,
        max=1,
        help="Probability over which a span belongs to a label "
        "[default: that of nuner_concepts]",
    ),
    names: str = NAMES,
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TEST]"
    ),
    lang: str = LANG,
    gpu_id: int = typer.Option(-1, help="GPU to tag on; -1 is the CPU"),
) -> None:
    """Tag a labelled set with backbones that know its labels by their names alone.

    Cells with k = 0, which `report` puts into one table with those of `fewshot`.
    """
    cells = zero_shot(
        test,
        output,
        backbones=split_list(backbones),
        labels=labels,
        threshold=threshold,
        names=split_list(names),
        dataset=dataset,
        lang=lang,
        gpu_id=gpu_id,
    )
    print_cells(cells, output)


def zero_shot(
    test: Path,
    output: Path,
    *,
    backbones: Sequence[str],
    labels: Path | None = None,
    threshold: float | None = None,
    names: Sequence[str] = (),
    dataset: str | None = None,
    lang: str = "en",
    gpu_id: int = -1,
) -> list["Cell"]:
    """Tag a labelled set with backbones that know its labels by their names alone.

    test (Path): Labelled set to score on.
    output (Path): Folder of results; finished cells in it are not computed again.
    backbones (Sequence[str]): Backbones with a concept encoder, the base first.
    labels (Path | None): JSON that says what labels mean, see `read_labels`; None for
        the labels of the set, read as words.
    threshold (float | None): Probability over which a span belongs to a label; None
        for the default of `nuner_concepts`.
    names (Sequence[str]): What to call the backbones; made from `backbones` if empty.
    dataset (str | None): What to call the data set; None for the folder of `test`.
    lang (str): Language of the tokenizer for texts.
    gpu_id (int): GPU to tag on; -1 is the CPU.
    RETURNS (list[Cell]): One for each backbone, with k = 0.
    RAISES (NunerError): What `find_backbones`, `read_docs`, `read_labels` and
        `run_zero_shot` raise.
    """
    from spacy.cli._util import setup_gpu

    from ..fewshot.compare import Dataset, find_backbones
    from ..fewshot.zero_shot import complete_labels, run_zero_shot
    from ..outputs import check_output
    from ..pipeline.labels import read_labels

    inputs: list[str | Path] = [test, *backbones, *([labels] if labels else [])]
    check_output(output, inputs=inputs, folder=True)
    given = read_labels(labels) if labels else {}
    found = find_backbones(backbones, names=names, layers=["last"])
    data = Dataset.from_files(test, name=dataset, lang=lang)
    setup_gpu(gpu_id)
    meanings = complete_labels(data.test, given)
    return run_zero_shot(data, found, meanings, output, threshold=threshold)
