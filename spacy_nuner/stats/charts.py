"""The figures of a corpus. Each function gives what paints into a matplotlib figure."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..plotting import BLUE, GREEN, GREY, INK, ORANGE
from .concept_map import ConceptMap, place_words
from .counts import FITTED_COUNT, PUBLISHED, TOP, Concept, CorpusStats

LABELS_ON_MAP = 130
# Points that a word of the cloud is high: annotated once, and most of all.
SMALLEST, LARGEST = 5.0, 30.0

Painter = Callable[[Any], None]


def paint_ranks(concepts: Sequence[Concept], summary: dict[str, Any]) -> Painter:
    """Annotations by concept rank, both logarithmic, with the fitted power law."""

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        counts = np.array([concept.count for concept in concepts])
        ranks = np.arange(1, len(counts) + 1)
        axis.plot(ranks, counts, color=BLUE, linewidth=2, label="concepts")
        slope = summary["power_law_slope"]
        if slope is not None:
            fitted = ranks[counts >= FITTED_COUNT]
            # Through the middle of the fitted part, which the line has in common.
            middle = np.exp(np.log(fitted).mean())
            height = np.exp(np.interp(np.log(middle), np.log(ranks), np.log(counts)))
            line = height * (fitted / middle) ** slope
            label = f"power law, slope {slope:.2f}"
            axis.plot(fitted, line, color=ORANGE, linestyle="--", label=label)
        axis.set(xscale="log", yscale="log", xlabel="rank of the concept")
        axis.set_ylabel("annotations")
        axis.set_ylim(bottom=0.8)
        for rank in (0, 9, 99, 999):
            if rank < len(concepts):
                axis.annotate(
                    concepts[rank].name[:30],
                    (rank + 1, counts[rank]),
                    xytext=(4, 6),
                    textcoords="offset points",
                    fontsize=8,
                )
        _grid(axis)
        axis.legend(frameon=False, loc="lower left")

    return paint


def paint_shares(concepts: Sequence[Concept], summary: dict[str, Any]) -> Painter:
    """The share of all annotations that the most frequent concepts have together."""

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        counts = np.array([concept.count for concept in concepts])
        ranks = np.arange(1, len(counts) + 1)
        shares = 100 * counts.cumsum() / counts.sum()
        axis.plot(ranks, shares, color=BLUE, linewidth=2)
        axis.set(xscale="log", xlabel="concepts, most frequent first")
        axis.set_ylabel("share of the annotations, %")
        axis.set_ylim(0, 103)
        _grid(axis)
        published = 100 * PUBLISHED["share_of_top_100"]
        points = [(published, "NuNER", "D", ORANGE)]
        if len(counts) > TOP:
            points.append((shares[TOP - 1], "this corpus", "o", BLUE))
        # The higher one is named above the curve, the lower one below it.
        notes: Any = [((-8, 6), "right"), ((8, -10), "left")]
        for (share, name, marker, colour), note in zip(
            sorted(points, reverse=True), notes, strict=False
        ):
            axis.plot(TOP, share, marker, color=colour, markersize=6)
            _note(axis, f"top {TOP}, {name}: {share:.0f}%", (TOP, share), *note)
        once = summary["singletons"]
        if once:
            first = len(counts) - once
            axis.axvspan(first + 1, len(counts), color=GREY, alpha=0.18, linewidth=0)
            share = 100 * summary["share_of_singletons"]
            text = f"annotated once: {once:,}\nconcepts, {share:.1f}%"
            _note(axis, text, (len(counts), 4), (-6, 0), "right")

    return paint


def paint_cloud(
    frequent: Sequence[Concept], rare: Sequence[Concept], colours: dict[str, str]
) -> Painter:
    """The most frequent concepts, and some that occur once, sized by frequency."""

    def paint(figure: Any) -> None:
        from matplotlib.textpath import TextPath

        concepts = [*frequent, *rare]
        most = max(concept.count for concept in concepts)
        # By the area that a word covers.
        heights = [
            SMALLEST + (LARGEST - SMALLEST) * ((concept.count - 1) / most) ** 0.5
            for concept in concepts
        ]
        boxes = []
        for concept, height in zip(concepts, heights, strict=True):
            box = TextPath((0, 0), concept.name[:40], size=height).get_extents()
            boxes.append((box.width, height))
        places = place_words(boxes, aspect=2.0, gap=1.6)
        axis = figure.subplots()
        axis.axis("off")
        reach = np.abs(places) + np.array(boxes) / 2
        width, height = reach.max(axis=0) * 1.01
        # One unit of the axes is one point, so that words keep their sizes.
        inches = 2 * np.array([width, height]) / 72
        figure.set_size_inches(*inches)
        axis.set(xlim=(-width, width), ylim=(-height, height))
        axis.set_position((0, 0, 1, 1))
        figure.set_layout_engine("none")
        for concept, size, place in zip(concepts, heights, places, strict=True):
            axis.text(
                *place,
                concept.name[:40],
                fontsize=size,
                color=colours.get(concept.name, GREY),
                ha="center",
                va="center",
            )

    return paint


def paint_map(concepts: Sequence[Concept], where: ConceptMap) -> Painter:
    """The most frequent concepts on a map, named where there is room."""

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        axis.axis("off")
        counts = np.array([concept.count for concept in concepts])
        sizes = 10 + 190 * (counts / counts.max()) ** 0.75
        axis.scatter(*where.places.T, s=sizes, c=where.colours, alpha=0.6, linewidth=0)
        axis.margins(0.06)
        # Sets the limits that the places of the names depend on.
        figure.draw_without_rendering()
        _name_points(axis, concepts, where)

    return paint


def paint_lengths(stats: CorpusStats) -> Painter:
    """Sentences by their words and by their annotations."""

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=False)
        _histogram(left, stats.words, "words a sentence", None)
        published = PUBLISHED["annotations_per_sentence"]
        _histogram(right, stats.annotations, "annotations a sentence", published)
        left.set_ylabel("sentences")

    return paint


def paint_matches(report: dict[str, Any]) -> Painter:
    """What became of the annotations when the corpus was converted."""

    def paint(figure: Any) -> None:
        names, counts, colours = zip(*_bars(report), strict=True)
        axis = figure.subplots()
        bars = axis.barh(names, counts, color=colours, height=0.65)
        total = report["annotations"]["read"]
        labels = [f"{count:,} ({count / total:.1%})" for count in counts]
        axis.bar_label(bars, labels, padding=4, color=INK)
        axis.invert_yaxis()
        # Room for the values behind the bars.
        axis.set_xlim(0, 1.25 * max(counts))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel("annotations")

    return paint


def count_bars(report: dict[str, Any]) -> int:
    """report (dict): Of a conversion. RETURNS (int): Bars of `paint_matches`."""
    return len(_bars(report))


def _bars(report: dict[str, Any]) -> list[tuple[str, int, str]]:
    annotations = report["annotations"]
    rows = [(f"matched {how}", n, GREEN) for how, n in annotations["matched"].items()]
    rows += [(f"lost: {why}", n, ORANGE) for why, n in annotations["lost"].items()]
    return [row for row in rows if row[1]]


def _name_points(axis: Any, concepts: Sequence[Concept], where: ConceptMap) -> None:
    """Write names beside points, most frequent first, where none is covered."""
    taken: list[Any] = []
    for concept, place in zip(concepts, where.places, strict=True):
        if len(taken) == LABELS_ON_MAP:
            break
        label = axis.annotate(
            concept.name[:30],
            place,
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=7.5,
            ha="center",
            va="bottom",
        )
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            label.remove()
        else:
            taken.append(box.padded(2))


def _histogram(
    axis: Any, counts: Counter[int], name: str, published: float | None
) -> None:
    total = counts.total()
    mean = sum(value * count for value, count in counts.items()) / total
    # A few very long texts would press all others into one bar.
    values = sorted(counts)
    seen = np.cumsum([counts[value] for value in values])
    last = values[int(np.searchsorted(seen, 0.995 * total))]
    width = max(1, round((last + 1) / 40))
    edges = np.arange(0, last + width + 1, width) - 0.5
    heights, _ = np.histogram(values, edges, weights=[counts[v] for v in values])
    axis.bar(edges[:-1], heights, width=width * 0.9, align="edge", color=BLUE)
    axis.axvline(mean, color=INK, linewidth=1.2, label=f"mean {mean:.1f}")
    if published is not None:
        axis.axvline(
            published,
            color=ORANGE,
            linestyle="--",
            linewidth=1.5,
            label=f"NuNER's mean {published:.1f}",
        )
    axis.set_xlabel(name)
    axis.legend(
        frameon=False,
        handlelength=1.2,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
    _grid(axis)


def _grid(axis: Any) -> None:
    axis.grid(color=GREY, alpha=0.25, linewidth=0.8)
    axis.set_axisbelow(True)


def _note(
    axis: Any, text: str, place: tuple[float, float], off: Any, align: str = "left"
) -> None:
    axis.annotate(
        text, place, xytext=off, textcoords="offset points", ha=align, fontsize=9
    )
