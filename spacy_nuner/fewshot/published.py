"""Figures that others published, to stand in grey beside those that are measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

MARK = "published, other data"


@dataclass(frozen=True)
class Published:
    """The learning curve of a system as its authors published it.

    protocol (str): The protocol, as `Cell.protocol` names it.
    metric (str): The metric, as `Cell.scores` names it.
    system (str): What was measured.
    points (Mapping[int, float]): k -> F1 from 0 to 1.
    data (str): The data sets, which are others than those of a report.
    source (str): Where it was published.
    """

    protocol: str
    metric: str
    system: str
    points: Mapping[int, float]
    data: str
    source: str


def read_published(protocol: str, metric: str) -> list[Published]:
    """Read what was published of a protocol.

    protocol (str): The protocol.
    metric (str): The metric.
    RETURNS (list[Published]): The curves in the order of the file.
    """
    path = resources.files(__package__).joinpath("published.json")
    rows = json.loads(path.read_text(encoding="utf8"))
    return [
        Published(**{**row, "points": _read_points(row["points"])})
        for row in rows
        if (row["protocol"], row["metric"]) == (protocol, metric)
    ]


def published_table(
    curves: Sequence[Published],
) -> tuple[list[str], list[list[str]]]:
    """Lay out published curves.

    curves (Sequence[Published]): The curves.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows, a column for each k
        that one of them has.
    """
    ks = sorted({k for curve in curves for k in curve.points})
    rows = [
        [
            f"{curve.system} ({MARK})",
            curve.data,
            curve.source,
            *(f"{100 * curve.points[k]:.1f}" if k in curve.points else "" for k in ks),
        ]
        for curve in curves
    ]
    return ["system", "data", "source", *(f"k={k}" for k in ks)], rows


def _read_points(percent: Mapping[str, float]) -> dict[int, float]:
    return {int(k): value / 100 for k, value in percent.items()}
