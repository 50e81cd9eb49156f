"""Figures of the report: learning curves, bars of heads, reliability."""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    annotate,
    get_paths,
    literal,
    new_figure,
)
from .breakdown import TypeRow, sort_by_gain
from .extrapolation import LearningCurve
from .published import MARK, Published
from .results import ALL, AVERAGE, Curves, Point, get_backbone, title_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Grey is the base.
COLOURS = ("#666666", ORANGE, BLUE, GREEN, "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
PANELS_A_ROW = 4
# A share of fewer token-concept pairs says nothing.
FEWEST_PAIRS = 10
LONGEST_NAME = 24
MOST_TYPES = 24
K_TITLE = "mentions of each label (k)"
PALE = "#a8a8a8"
# How many times the largest k whole sets are drawn at.
WHOLE = 4


def draw_learning_curve(
    curves: Curves,
    backbones: Sequence[str],
    path: Path,
    *,
    title: str,
    k_title: str = K_TITLE,
    published: Sequence[Published] = (),
) -> list[Path]:
    """Draw a panel for each data set and layer set, and one for their average.

    curves (Curves): The points.
    backbones (Sequence[str]): One line each, in the order of colours; the first has
        the base's.
    path (Path): The figure without suffix; .png and .svg are written.
    title (str): What the y axis shows.
    k_title (str): What the x axis shows.
    published (Sequence[Published]): Lines in grey in the panel of the average, or in
        the only one.
    RETURNS (list[Path]): The files.
    """
    datasets = [*curves.datasets, *([AVERAGE] if len(curves.averaged) > 1 else [])]
    sets = list(reversed(curves.layers))
    # Each layer set begins a row; with a single data set they share rows.
    groups = [[(layers, name) for name in datasets] for layers in sets]
    groups = groups if len(datasets) > 1 else [sum(groups, [])]
    columns = min(len(groups[0]), PANELS_A_ROW)
    height = -(-len(groups[0]) // columns)
    # A whole set has no number of its own: it stands behind all that have one.
    numbers = {k for k in curves.ks if k != ALL}.union(*(x.points for x in published))
    last = max([2, *numbers])
    places = {k: WHOLE * last if k == ALL else k for k in curves.ks}
    rows = height * len(groups)
    with new_figure(path, (0.7 + 2.9 * columns, 0.6 + 2.6 * rows)) as figure:
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        blocks = axes.reshape(len(groups), -1)
        for axis in blocks[:, len(groups[0]) :].flat:
            axis.remove()
        # The lowest of each column that is left: shared axes take it for an inner one.
        for axis in blocks[-1, max(len(groups[0]) - columns, 0) : len(groups[0])]:
            axis.tick_params(labelbottom=True)
        shown = blocks[:, : len(groups[0])].flat
        for place, (axis, (layers, dataset)) in enumerate(
            zip(shown, chain(*groups), strict=True)
        ):
            for number, backbone in enumerate(backbones):
                if backbone not in curves.backbones:
                    continue
                found = {
                    k: curves.point(dataset, layers, backbone, k) for k in curves.ks
                }
                points = {places[k]: point for k, point in found.items() if point}
                _draw_line(axis, points, number)
            if dataset == datasets[-1]:
                number = place % len(groups[0]) + 1
                has_room = number == len(groups[0]) and number % columns != 0
                _draw_published(axis, published, has_room=has_room)
            heading = (dataset, title_layers(layers))
            axis.set_title("\n".join(literal(line, longest=30) for line in heading))
            # Linear up to 1, so that no example (k = 0) is on the axis too.
            axis.set_xscale("symlog", base=2, linthresh=1)
            axis.set_xticks(list(places.values()), list(map(str, places)))
            axis.grid(axis="y", color="#dddddd", linewidth=0.8)
        # Set last: a limit set earlier stops the scale from growing with later panels.
        axes.flat[0].set_ylim(bottom=0)
        figure.supxlabel(k_title, fontsize=10)
        figure.supylabel(title, fontsize=10)
        # Not by the labels of the lines: one that begins with "_" is left out there.
        names = [name for name in backbones if name in curves.backbones]
        lines = axes.flat[0].lines[: len(names)]
        labels = [literal(name, longest=LONGEST_NAME) for name in names]
        if published:
            lines = [*lines, axes.flat[len(datasets) - 1].lines[len(names)]]
            labels.append(MARK)
        figure.legend(
            lines,
            labels,
            loc="outside upper center",
            ncols=min(len(labels), 2 * columns),
            frameon=False,
        )
    return get_paths(path)


def draw_heads(
    heads: Mapping[str, Mapping[str, Point]], backbones: Sequence[str], path: Path
) -> list[Path]:
    """Draw a bar for each trained head.

    heads (Mapping[str, Mapping[str, Point]]): What `read_heads` gave, in the order of
        the bars.
    backbones (Sequence[str]): Backbones in the order of colours, as for the curves.
    path (Path): The figure without suffix; .png and .svg are written.
    RETURNS (list[Path]): The files.
    """
    points = [scores["ents_f"] for scores in heads.values()]
    colours = [
        COLOURS[backbones.index(get_backbone(name)) % len(COLOURS)] for name in heads
    ]
    with new_figure(path, (6.4, 0.9 + 0.5 * len(heads))) as figure:
        axis = figure.subplots()
        bars = axis.barh(
            range(len(heads)),
            [100 * point.mean for point in points],
            xerr=[100 * (nan if point.std is None else point.std) for point in points],
            color=colours,
            height=0.65,
            error_kw={"capsize": 3, "elinewidth": 1.2},
        )
        axis.bar_label(bars, [f"{100 * point.mean:.1f}" for point in points], padding=4)
        names = [literal(name, longest=30) for name in heads]
        axis.set_yticks(range(len(heads)), names)
        axis.invert_yaxis()
        # Room for the values behind the bars.
        axis.set_xlim(0, 1.15 * axis.get_xlim()[1])
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("entity F1")
    return get_paths(path)


def draw_types(
    rows: Sequence[TypeRow], backbones: Sequence[str], path: Path, *, title: str
) -> list[Path]:
    """Draw the types that gain most over the base, a line of points each.

    rows (Sequence[TypeRow]): The types.
    backbones (Sequence[str]): The backbones, the base first, in the order of colours.
    path (Path): The figure without suffix; .png and .svg are written.
    title (str): What the x axis shows.
    RETURNS (list[Path]): The files.
    """
    shown = sort_by_gain(rows, backbones, base=backbones[0])[:MOST_TYPES]
    with new_figure(path, (6.4, 1.2 + 0.26 * len(shown))) as figure:
        axis = figure.subplots()
        for place, row in enumerate(shown):
            ends = [100 * score for score in row.scores.values()]
            axis.plot([min(ends), max(ends)], [place, place], color=PALE, zorder=1)
        handles = [
            axis.scatter(
                [100 * row.scores.get(name, nan) for row in shown],
                range(len(shown)),
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                s=28,
                zorder=2,
            )
            for number, name in enumerate(backbones)
        ]
        names = [
            f"{literal(row.label, longest=24)} ({literal(row.dataset, longest=18)})"
            for row in shown
        ]
        axis.set_yticks(range(len(shown)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.set_xlabel(title)
        figure.legend(
            handles,
            [literal(name, longest=LONGEST_NAME) for name in backbones],
            loc="outside upper center",
            ncols=min(len(backbones), 4),
            frameon=False,
        )
    return get_paths(path)


def draw_forecast(curves: Mapping[str, LearningCurve], path: Path) -> list[Path]:
    """Draw cross-validated learning curves, and what they say of more texts.

    curves (Mapping[str, LearningCurve]): Name -> curve.
    path (Path): The figure without suffix; .png and .svg are written.
    RETURNS (list[Path]): The files.
    """
    with new_figure(path, (6.4, 4)) as figure:
        axis = figure.subplots()
        lines = []
        for number, curve in enumerate(curves.values()):
            colour = COLOURS[number % len(COLOURS)]
            marker = MARKERS[number % len(MARKERS)]
            ahead = [curve.texts * 2**step for step in (0, 0.5, 1, 1.5, 2)]
            found = 100 * np.array([curve.predict(round(texts)) for texts in ahead])
            lines += axis.plot(
                curve.sizes, 100 * curve.scores, color=colour, marker=marker
            )
            axis.plot(ahead, found[:, 0], color=colour, linestyle="--")
            axis.fill_between(
                ahead, found[:, 1], found[:, 2], color=colour, alpha=0.15, linewidth=0
            )
        first = next(iter(curves.values()))
        axis.axvline(first.texts, color=PALE, linewidth=1)
        annotate(axis, "labelled", (first.texts, 0), (3, 4), color=GREY, fontsize=8)
        axis.set_xscale("log", base=2)
        ticks = [*first.sizes, first.texts, 2 * first.texts, 4 * first.texts]
        axis.set_xticks(ticks, [str(texts) for texts in ticks])
        axis.minorticks_off()
        axis.set_ylim(0, 100)
        axis.grid(axis="y", color="#dddddd", linewidth=0.8)
        axis.set_xlabel("texts that are learned from; dashed: expected, with interval")
        axis.set_ylabel("entity F1")
        names = [literal(name, longest=LONGEST_NAME) for name in curves]
        # Curves rise: there is room above their beginnings.
        axis.legend(lines, names, frameon=False, loc="upper left")
    return get_paths(path)


def draw_reliability(
    rows: Mapping[str, Sequence[tuple[float, float, int]]], path: Path
) -> list[Path]:
    """Draw how often probabilities are right, before and after a calibration.

    rows (Mapping): A line each: mean probability, share that is true and number of
        token-concept pairs of each bin.
    path (Path): The figure without suffix; .png and .svg are written.
    RETURNS (list[Path]): The files.
    """
    with new_figure(path, (4.2, 3.6)) as figure:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color="#bbbbbb", linestyle="--", label="ideal")
        for number, (name, points) in enumerate(rows.items()):
            shown = [(p, share) for p, share, count in points if count >= FEWEST_PAIRS]
            axis.plot(
                [p for p, _ in shown],
                [share for _, share in shown],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                label=name,
            )
        axis.set_xlabel(f"probability (bins of {FEWEST_PAIRS} pairs or more)")
        axis.set_ylabel("share that is true")
        axis.legend(frameon=False)
    return get_paths(path)


def _draw_line(axis: "Axes", points: Mapping[int, Point], number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    ks = list(points)
    means = 100 * np.array([point.mean for point in points.values()])
    spreads = 100 * np.array([point.std or 0.0 for point in points.values()])
    low, high = np.maximum(means - spreads, 0), means + spreads
    axis.fill_between(ks, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(ks, means, color=colour, marker=marker, markersize=5)


def _draw_published(
    axis: "Axes", published: Sequence[Published], *, has_room: bool
) -> None:
    """Lines in grey, the lowest and the highest of them named next to the panel.

    has_room (bool): Whether no panel stands there.
    """
    ranked = sorted(published, key=lambda curve: curve.points[max(curve.points)])
    for curve in ranked:
        ks = sorted(curve.points)
        scores = [100 * curve.points[k] for k in ks]
        axis.plot(ks, scores, color=PALE, linewidth=1, linestyle="--", zorder=1)
        if curve in (ranked[0], ranked[-1]):
            name = annotate(
                axis,
                literal(curve.system, longest=LONGEST_NAME),
                (1, scores[-1]),
                (4, 0),
                # Level with the end of the line, right of what is drawn.
                xycoords=axis.get_yaxis_transform(),
                color=GREY,
                fontsize=7,
                # Apart, where both lines end at one height.
                va="bottom" if curve is ranked[-1] else "top",
                annotation_clip=False,
            )
            # Columns stay as wide as they are.
            name.set_in_layout(not has_room)
