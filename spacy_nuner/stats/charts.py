"""The charts of a corpus, as PNG files and as SVG for its page."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ..pages import Chart
from ..plotting import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    annotate,
    inline_svg,
    literal,
    new_figure,
)
from .concept_map import SEED, ConceptMap, Floats
from .counts import FITTED_COUNT, PUBLISHED, TOP, Concept, CorpusStats

LABELS_ON_MAP = 130
# Points that a word of the cloud is high: annotated once, and most of all.
SMALLEST, LARGEST = 5.0, 30.0
# Words are tried along a spiral: turns a third of a word's height apart, steps half of
# it long, in blocks, and further out if a block is full.
TURN = 0.33
STEP = 0.5
BLOCK = 512


def draw_charts(
    folder: Path, stats: CorpusStats, where: ConceptMap, slope: float | None
) -> list[Chart]:
    """Draw all charts of a corpus.

    folder (Path): Where the PNG files go.
    stats (CorpusStats): The counts.
    where (ConceptMap): The map of the most frequent concepts.
    slope (float | None): That of the fitted power law, if there is one.
    RETURNS (list[Chart]): The charts in the order of the page.
    """
    charts = []

    def add(
        name: str,
        title: str,
        caption: str,
        size: tuple[float, float],
        paint: Callable[..., None],
        *args: Any,
    ) -> None:
        with new_figure(folder / name, size, transparent=True) as figure:
            paint(figure, *args)
        svg = folder / f"{name}.svg"
        charts.append(Chart(name, title, caption, inline_svg(svg, title)))
        svg.unlink()

    concepts = stats.ranked()
    mapped = concepts[: len(where.points)]
    once = [concept for concept in concepts if concept.count == 1]
    rare = Random(SEED).sample(once, min(TOP, len(once)))
    frequent = [concept for concept in concepts[:TOP] if concept not in rare]
    add(
        "ranks",
        "Annotations by concept rank",
        "Both axes are logarithmic. The line is fitted by least squares at ranks "
        "evenly spaced in the logarithm, where a concept is annotated at least "
        f"{FITTED_COUNT} times.",
        (8, 4.2),
        _draw_ranks,
        concepts,
        slope,
    )
    add(
        "shares",
        "Share of the most frequent concepts",
        "What part of all annotations the most frequent concepts have together.",
        (8, 3.8),
        _draw_shares,
        concepts,
    )
    add(
        "cloud",
        f"The {len(frequent)} most frequent concepts, {len(rare)} that occur once",
        "Sized by frequency; coloured as on the map, grey where a concept is not "
        "on it.",
        (8, 4),
        _draw_cloud,
        [*frequent, *rare],
        dict(zip([concept.name for concept in mapped], where.colours, strict=True)),
    )
    add(
        "map",
        f"Map of the {len(mapped)} most frequent concepts",
        f"Made of {where.method}. The first three principal components give the hue; "
        "the larger a point, the more frequent its concept.",
        (9, 7),
        _draw_map,
        mapped,
        where,
    )
    add(
        "lengths",
        "Length of sentences",
        "Words are separated by blanks. An annotation is an entity with a concept, "
        "however often it occurs in its sentence.",
        (8, 3.2),
        _draw_lengths,
        stats,
    )
    annotations = stats.report["annotations"] if stats.report is not None else {}
    if annotations.get("read") and _get_bars(annotations):
        add(
            "matches",
            "Where annotations were found in their sentences",
            "How each annotation was matched with its sentence when the corpus was "
            "converted, or why it was lost.",
            (8, 1 + 0.32 * len(_get_bars(annotations))),
            _draw_matches,
            annotations,
        )
    return charts


def _draw_ranks(figure: Any, concepts: Sequence[Concept], slope: float | None) -> None:
    """Annotations by concept rank, both logarithmic, with the fitted power law."""
    axis = figure.subplots()
    counts = np.array([concept.count for concept in concepts])
    ranks = np.arange(1, len(counts) + 1)
    axis.plot(ranks, counts, color=BLUE, linewidth=2, label="concepts")
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
            name = literal(concepts[rank].name, longest=30)
            annotate(axis, name, (rank + 1, counts[rank]), (4, 6), fontsize=8)
    _draw_grid(axis)
    axis.legend(frameon=False, loc="lower left")


def _draw_shares(figure: Any, concepts: Sequence[Concept]) -> None:
    """The share of all annotations that the most frequent concepts have together."""
    axis = figure.subplots()
    counts = np.array([concept.count for concept in concepts])
    ranks = np.arange(1, len(counts) + 1)
    shares = 100 * counts.cumsum() / counts.sum()
    axis.plot(ranks, shares, color=BLUE, linewidth=2)
    axis.set(xscale="log", xlabel="concepts, most frequent first")
    axis.set_ylabel("share of the annotations, %")
    axis.set_ylim(0, 103)
    _draw_grid(axis)
    points = [(100 * PUBLISHED["share_of_top_100"], "NuNER", "D", ORANGE)]
    if len(counts) > TOP:
        points.append((shares[TOP - 1], "this corpus", "o", BLUE))
    # The higher one is named above the curve, the lower one below it.
    notes: Any = [((-8, 6), "right"), ((8, -10), "left")]
    for (share, name, marker, colour), (offset, align) in zip(
        sorted(points, reverse=True), notes, strict=False
    ):
        axis.plot(TOP, share, marker, color=colour, markersize=6)
        text = f"top {TOP}, {name}: {share:.0f}%"
        annotate(axis, text, (TOP, share), offset, ha=align)
    if once := int((counts == 1).sum()):
        first = len(counts) - once
        axis.axvspan(first + 1, len(counts), color=GREY, alpha=0.18, linewidth=0)
        share = 100 * once / counts.sum()
        text = f"annotated once: {once:,}\nconcepts, {share:.1f}%"
        annotate(axis, text, (len(counts), 4), (-6, 0), ha="right")


def _draw_cloud(
    figure: Any, concepts: Sequence[Concept], colours: dict[str, str]
) -> None:
    """The most frequent concepts, and some that occur once, sized by frequency."""
    from matplotlib.textpath import TextPath

    most = max(concept.count for concept in concepts)
    names = [literal(concept.name) for concept in concepts]
    # By the area that a word covers.
    heights = [
        SMALLEST + (LARGEST - SMALLEST) * ((concept.count - 1) / most) ** 0.5
        for concept in concepts
    ]
    boxes = [
        (TextPath((0, 0), name, size=height).get_extents().width, height)
        for name, height in zip(names, heights, strict=True)
    ]
    points = place_words(boxes, aspect=2.0, gap=1.6)
    width, height = (np.abs(points) + np.array(boxes) / 2).max(axis=0) * 1.01
    axis = figure.subplots()
    # One unit of the axes is one point, so that words keep their sizes.
    figure.set_size_inches(2 * width / 72, 2 * height / 72)
    figure.set_layout_engine("none")
    axis.set(xlim=(-width, width), ylim=(-height, height), position=(0, 0, 1, 1))
    axis.axis("off")
    for concept, name, size, point in zip(
        concepts, names, heights, points, strict=True
    ):
        colour = colours.get(concept.name, GREY)
        axis.text(*point, name, fontsize=size, color=colour, ha="center", va="center")


def place_words(
    sizes: Sequence[tuple[float, float]], *, aspect: float, gap: float
) -> Floats:
    """Find a point for each word, as near to the middle as those before leave it.

    sizes (Sequence[tuple[float, float]]): Width and height of each word, in any unit.
    aspect (float): How much wider than high the cloud is.
    gap (float): The least distance of two words, in the same unit.
    RETURNS (Floats): The middle of each word; the middle of the cloud is at 0, 0.
        *Shape:* (n, 2)
    """
    halves = (np.asarray(sizes, dtype=float) + gap) / 2
    points = np.zeros_like(halves)
    height = 2 * float(np.median(halves[:, 1]))
    for i, half in enumerate(halves):
        for block in itertools.count():
            candidates = _get_spiral(block, height) * (aspect, 1.0)
            distance = np.abs(candidates[:, np.newaxis] - points[:i])
            taken = (distance < halves[:i] + half).all(axis=2).any(axis=1)
            if not taken.all():
                points[i] = candidates[taken.argmin()]
                break
    return points


def _get_spiral(block: int, height: float) -> Floats:
    """A block of points on a spiral of even turns, a step apart. *Shape:* (BLOCK, 2)"""
    length = STEP * height * np.arange(block * BLOCK, (block + 1) * BLOCK)
    growth = TURN * height / (2 * np.pi)
    # Of a spiral with radius = growth * angle the length is about growth * angle² / 2.
    angle = np.sqrt(2 * length / growth)
    return growth * angle[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _draw_map(figure: Any, concepts: Sequence[Concept], where: ConceptMap) -> None:
    """The most frequent concepts on a map, named where there is room."""
    axis = figure.subplots()
    axis.axis("off")
    counts = np.array([concept.count for concept in concepts])
    sizes = 10 + 190 * (counts / counts.max()) ** 0.75
    axis.scatter(*where.points.T, s=sizes, c=where.colours, alpha=0.6, linewidth=0)
    axis.margins(0.06)
    # Sets the limits that the positions of the names depend on.
    figure.draw_without_rendering()
    taken: list[Any] = []
    for concept, point in zip(concepts, where.points, strict=True):
        if len(taken) == LABELS_ON_MAP:
            break
        name = literal(concept.name, longest=30)
        text = annotate(axis, name, point, (0, 2), fontsize=7.5, ha="center")
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box.padded(2))


def _draw_lengths(figure: Any, stats: CorpusStats) -> None:
    """Sentences by their words and by their annotations."""
    left, right = figure.subplots(1, 2)
    _draw_histogram(left, stats.words, "words a sentence", None)
    published = PUBLISHED["annotations_per_sentence"]
    _draw_histogram(right, stats.annotations, "annotations a sentence", published)
    left.set_ylabel("sentences")


def _draw_matches(figure: Any, annotations: dict[str, Any]) -> None:
    """What became of the annotations when the corpus was converted."""
    names, counts, colours = zip(*_get_bars(annotations), strict=True)
    axis = figure.subplots()
    positions = range(len(names))
    bars = axis.barh(positions, counts, color=colours, height=0.65)
    axis.set_yticks(positions, [literal(name, longest=45) for name in names])
    labels = [f"{count:,} ({count / annotations['read']:.1%})" for count in counts]
    axis.bar_label(bars, labels, padding=4, color=INK)
    axis.invert_yaxis()
    # Room for the values behind the bars.
    axis.set_xlim(0, 1.25 * max(counts))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("annotations")


def _get_bars(annotations: dict[str, Any]) -> list[tuple[str, int, str]]:
    rows = [(f"matched {how}", n, GREEN) for how, n in annotations["matched"].items()]
    rows += [(f"lost: {why}", n, ORANGE) for why, n in annotations["lost"].items()]
    return [row for row in rows if row[1]]


def _draw_histogram(
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
    weights = [counts[value] for value in values]
    axis.hist(values, edges, weights=weights, rwidth=0.9, color=BLUE)
    axis.axvline(mean, color=INK, linewidth=1.2, label=f"mean {mean:.1f}")
    if published is not None:
        label = f"NuNER's mean {published:.1f}"
        axis.axvline(published, color=ORANGE, linestyle="--", label=label)
    axis.set_xlabel(name)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    axis.legend(frameon=False, handlelength=1.2, ncols=2, **above)
    _draw_grid(axis)


def _draw_grid(axis: Any) -> None:
    axis.grid(color=GREY, alpha=0.25, linewidth=0.8)
    axis.set_axisbelow(True)
