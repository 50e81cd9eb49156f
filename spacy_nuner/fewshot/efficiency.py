"""Data efficiency: how many examples the base needs for what the backbone has."""

from collections.abc import Mapping
from math import exp, log
from typing import NamedTuple

from .results import ABSENT, AVERAGE, Curves, title_k


class Needed(NamedTuple):
    """The examples of each label that an encoder needs for some F1.

    k (float): Mentions of each label.
    sign (str): "" if it was interpolated; ">" if not even the largest measured k, which
        `k` is, gives that F1; "≤" if the smallest one gives it already.
    """

    k: float
    sign: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.k:.3g}".strip()

    def factor(self, k: int) -> str:
        """RETURNS (str): How many times k that is, such as "> 16x"."""
        return f"{self.sign} {self.k / k:.1f}x".strip()


def find_needed(curve: Mapping[int, float], score: float) -> Needed:
    """Find where a learning curve reaches a score, between its points by log k.

    curve (Mapping[int, float]): k, 1 or more -> score, of one k or more.
    score (float): The score to reach.
    RETURNS (Needed): The smallest k that reaches it.
    """
    ks = sorted(curve)
    if curve[ks[0]] >= score:
        # A score that equals that of the smallest k is reached there.
        return Needed(ks[0], "" if curve[ks[0]] == score else "≤")
    for low, high in zip(ks, ks[1:], strict=False):
        if curve[high] >= score:
            share = (score - curve[low]) / (curve[high] - curve[low])
            return Needed(exp(log(low) + share * (log(high) - log(low))))
    return Needed(ks[-1], ">")


def efficiency_table(
    curves: Curves, layers: str, base: str, backbone: str
) -> tuple[list[str], list[list[str]]]:
    """Lay out how many examples the base needs for each score of a backbone.

    curves (Curves): The points.
    layers (str): A layer set.
    base (str): The base.
    backbone (str): The backbone.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: for each data set, and
        first for their average, the examples of each label, with the factor over k in
        brackets. No rows if one of the two was not measured; no column for whole
        sets, of which no label has k.
    """
    rows = []
    ks = [k for k in curves.ks if isinstance(k, int)]
    datasets = [*([AVERAGE] if len(curves.averaged) > 1 else []), *curves.datasets]
    for dataset in datasets:
        points = {k: curves.point(dataset, layers, base, k) for k in ks if k}
        measured = {k: point.mean for k, point in points.items() if point}
        own = {k: curves.point(dataset, layers, backbone, k) for k in ks}
        if not measured or not any(own.values()):
            continue
        row = [dataset]
        for k, point in own.items():
            if point is None:
                row.append(ABSENT)
                continue
            needed = find_needed(measured, point.mean)
            # No example at all is no part of anything.
            row.append(f"{needed} ({needed.factor(k)})" if k else str(needed))
        rows.append(row)
    return ["data set", *map(title_k, ks)], rows
