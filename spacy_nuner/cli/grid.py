"""`spacy nuner grid`: experiments of one file, in several processes."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .fewshot import print_cells

if TYPE_CHECKING:
    from ..fewshot.results import Cell


def grid_cli(
    path: Path = typer.Argument(
        ..., metavar="GRID", help="YAML: data sets, backbones, heads, protocols, k"
    ),
    output: Path = typer.Argument(..., help="Folder of results, one JSON a cell"),
    n_process: int = typer.Option(1, min=1, help="Processes, one thread each"),
    gpu_id: int = typer.Option(-1, help="GPU to compute on; -1 is the CPU"),
) -> None:
    """Run the experiments of a grid file, those that are not finished."""
    print_cells(grid(path, output, n_process=n_process, gpu_id=gpu_id), output)


def grid(
    path: Path, output: Path, *, n_process: int = 1, gpu_id: int = -1
) -> list["Cell"]:
    """Run the experiments of a grid file, those that are not finished.

    path (Path): YAML, see `Grid`.
    output (Path): Folder of results; finished cells in it are not computed again.
    n_process (int): Processes, one thread each.
    gpu_id (int): GPU to compute on; -1 is the CPU.
    RETURNS (list[Cell]): All its cells.
    RAISES (NunerError): What `Grid.from_disk` and `run_grid` raise.
    """
    from spacy.cli._util import setup_gpu

    from ..fewshot.grid import Grid, run_grid
    from ..outputs import check_output

    found = Grid.from_disk(path)
    check_output(output, inputs=[path, *found.find_inputs()], folder=True)
    setup_gpu(gpu_id)
    return run_grid(found, output, n_process=n_process, gpu_id=gpu_id)
