"""Results of the probe: one JSON file a cell, and means over draws."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from ..errors import NunerError
from ..files import replacing

Cell = dict[str, Any]
AVERAGE = "average"


class Point(NamedTuple):
    """Mean and sample standard deviation (None for a single draw) over n draws."""

    mean: float
    std: float | None
    n: int


def cell_path(root: Path, cell: Cell) -> Path:
    """Tell where a cell stands.

    root (Path): The folder of all results.
    cell (Cell): A cell or its coordinates: dataset, backbone, layers, k, draw.
    RETURNS (Path): `root/dataset/backbone/layers/k<k>/draw<d>.json`.
    """
    folder = root / cell["dataset"] / cell["backbone"] / cell["layers"]
    return folder / f"k{cell['k']}" / f"draw{cell['draw']}.json"


def write_cell(root: Path, cell: Cell) -> None:
    """Write a finished cell to its place.

    root (Path): The folder of all results.
    cell (Cell): The cell with its coordinates, settings and scores.
    """
    with replacing(cell_path(root, cell)) as beside:
        beside.write_text(json.dumps(cell, indent=1) + "\n", encoding="utf8")


def find_cell(root: Path, planned: Cell) -> Cell | None:
    """Look whether a cell was finished before.

    root (Path): The folder of all results.
    planned (Cell): Its coordinates and settings.
    RETURNS (Cell | None): The cell with its scores; None if it is not there, or was
        made with other settings.
    """
    path = cell_path(root, planned)
    if not path.is_file():
        return None
    cell = read_json(path, "settings")
    return cell if cell["settings"] == planned["settings"] else None


def read_cells(root: Path) -> list[Cell]:
    """Read every cell below a folder, wherever its data sets stand.

    root (Path): The folder, such as `--output` of `fewshot`.
    RETURNS (List[Cell]): The cells, ordered by path.
    RAISES (NunerError): N631 if a file is no cell.
    """
    paths = sorted(root.glob("**/k[0-9]*/draw*.json"))
    return [read_json(path, "settings") for path in paths]


def read_json(path: Path, key: str) -> dict[str, Any]:
    """Read a JSON object that must have a key.

    path (Path): The file.
    key (str): The key that tells what the file is.
    RETURNS (Dict[str, Any]): The object.
    RAISES (NunerError): N631 if it is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise NunerError("N631", path=path, key=key, reason=error) from error
    if not isinstance(content, dict) or key not in content:
        raise NunerError("N631", path=path, key=key, reason=f"it has no '{key}'")
    return content


def summarise(values: Iterable[float]) -> Point:
    """Take mean and standard deviation over draws.

    values (Iterable[float]): One value a draw.
    RETURNS (Point): Both, and their number.
    """
    values = list(values)
    return Point(mean(values), stdev(values) if len(values) > 1 else None, len(values))


class Curves:
    """Learning curves: points by data set, layers and backbone, over k."""

    def __init__(self, cells: Iterable[Cell], metric: str) -> None:
        """cells (Iterable[Cell]): The cells.
        metric (str): A score of theirs, such as "macro_token_f".
        """
        # (layers, backbone, k) -> data set -> draw -> value
        self._values: dict[tuple[str, str, int], dict[str, dict[int, float]]] = (
            defaultdict(lambda: defaultdict(dict))
        )
        for cell in cells:
            key = (cell["layers"], cell["backbone"], cell["k"])
            self._values[key][cell["dataset"]][cell["draw"]] = cell[metric]
        self.datasets = sorted(
            {name for sets in self._values.values() for name in sets}
        )
        self.layers = sorted({layers for layers, _, _ in self._values})
        self.backbones = sorted({backbone for _, backbone, _ in self._values})
        self.ks = sorted({k for _, _, k in self._values})

    def point(self, dataset: str, layers: str, backbone: str, k: int) -> Point | None:
        """Look up a point.

        dataset (str): A data set, or `AVERAGE` for the mean over all of them.
        layers (str): A layer set.
        backbone (str): A backbone.
        k (int): Mentions a label.
        RETURNS (Point | None): None if it was not measured; for the average, if it was
            not measured with the same draws on every data set.
        """
        sets = self._values.get((layers, backbone, k), {})
        if dataset != AVERAGE:
            values = sets.get(dataset)
            return summarise(values.values()) if values else None
        draws = {frozenset(values) for values in sets.values()}
        if len(sets) < len(self.datasets) or len(draws) != 1:
            return None
        # The mean over data sets first: the spread is that of the average over draws.
        return summarise(
            mean(values[draw] for values in sets.values()) for draw in draws.pop()
        )
