"""Rows of the tables that the terminal and the report show."""

from collections.abc import Mapping, Sequence

from .cells import Curves, Point
from .heads import SCORES, split_name

METRICS = {"macro_token_f": "macro token F1", "ents_f": "entity F1"}
LAYER_TITLES = {"last": "last layer", "both": "last + middle layer"}
ABSENT = "–"


def order_backbones(names: Sequence[str], base: str) -> list[str]:
    """Put the backbone that gains are over first.

    names (Sequence[str]): The names of backbones.
    base (str): The one to put first, if it is there.
    RETURNS (List[str]): All names, the others by name.
    """
    return sorted(set(names), key=lambda name: (name != base, name))


def title_layers(layers: str) -> str:
    """Say what a layer set is.

    layers (str): Its name in a cell.
    RETURNS (str): Such as "last layer".
    """
    return LAYER_TITLES.get(layers, f"layers {layers}")


def format_point(point: Point | None) -> str:
    """Write mean and standard deviation in percent.

    point (Point | None): From 0 to 1.
    RETURNS (str): Such as "48.7 ± 2.1".
    """
    if point is None:
        return ABSENT
    spread = "" if point.std is None else f" ± {100 * point.std:.1f}"
    return f"{100 * point.mean:.1f}{spread}"


def format_gain(point: Point | None, base: Point | None) -> str:
    """Write how far a mean stands above another, in points.

    point (Point | None): The one.
    base (Point | None): The other.
    RETURNS (str): Such as "+11.0".
    """
    if point is None or base is None:
        return ABSENT
    return f"{100 * (point.mean - base.mean):+.1f}"


def curve_table(
    curves: Curves, dataset: str, layers: str, backbones: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Lay out the learning curves of one data set and layer set.

    curves (Curves): The points.
    dataset (str): A data set, or `AVERAGE`.
    layers (str): A layer set.
    backbones (Sequence[str]): The backbones; gains are over the first.
    RETURNS (Tuple[List[str], List[List[str]]]): Header and rows: a column for each k;
        below each backbone but the first its gain.
    """
    rows = []
    base = [curves.point(dataset, layers, backbones[0], k) for k in curves.ks]
    for backbone in backbones:
        points = [curves.point(dataset, layers, backbone, k) for k in curves.ks]
        rows.append([backbone, *map(format_point, points)])
        if backbone != backbones[0]:
            gains = map(format_gain, points, base)
            rows.append([f"gain over {backbones[0]}", *gains])
    return ["backbone", *(f"k={k}" for k in curves.ks)], rows


def heads_table(
    heads: Mapping[str, Mapping[str, Point]], base: str
) -> tuple[list[str], list[list[str]]]:
    """Lay out the scores of trained heads.

    heads (Mapping[str, Mapping[str, Point]]): What `read_heads` gave.
    base (str): The backbone that gains are over.
    RETURNS (Tuple[List[str], List[List[str]]]): Header and rows: precision, recall and
        F1, and the gain in F1 over each head of the base.
    """
    rivals = [name for name in heads if split_name(name)[0] == base]
    rows = []
    for name, scores in heads.items():
        gains = [
            ""
            if name == rival
            else format_gain(scores["ents_f"], heads[rival]["ents_f"])
            for rival in rivals
        ]
        rows.append([name, *(format_point(scores[key]) for key in SCORES), *gains])
    header = ["backbone-head", "precision", "recall", "F1"]
    return [*header, *(f"gain over {rival}" for rival in rivals)], rows
