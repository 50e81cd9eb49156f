"""Counts of a corpus -> a folder with the page, the figures and stats.json."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .. import about
from ..files import replacing
from . import figures
from .conceptmap import SEED, ConceptMap, make_map, ngram_vectors
from .drawing import Drawing, draw
from .page import LISTED, write_page
from .stats import FITTED_COUNT, TOP, Concept, CorpusStats

PAGE = "stats.html"
FIGURES = "stats.json"
MAPPED = 600


def mapped_names(stats: CorpusStats) -> list[str]:
    """stats (CorpusStats): Counts. RETURNS (list[str]): The concepts on the map."""
    return [concept.name for concept in stats.ranked()[:MAPPED]]


def write_stats(
    stats: CorpusStats,
    output_dir: Path,
    *,
    title: str,
    vectors: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write stats.html, stats.json and the figures as PNG.

    stats (CorpusStats): What `count_corpus` counted.
    output_dir (Path): The folder; one of an earlier run is replaced.
    title (str): The name of the corpus.
    vectors (np.ndarray | None): What a concept encoder makes of `mapped_names`; None
        to lay out the map by the spelling of the names. *Shape:* (names, width)
    RETURNS (dict[str, Any]): The content of stats.json.
    RAISES (NunerError): N006 if matplotlib or scikit-learn is missing, N003 or N004 if
        the output can't be written.
    """
    concepts = stats.ranked()
    names = mapped_names(stats)
    if vectors is None:
        where = make_map(ngram_vectors(names), "names by their character n-grams")
    else:
        where = make_map(vectors, "names by their concept-encoder vectors")
    summary = stats.summary()
    content = {
        "version": about.__version__,
        **summary,
        "map": where.method,
        "most_frequent": {concept.name: concept.count for concept in concepts[:LISTED]},
        "words_histogram": dict(sorted(stats.words.items())),
        "annotations_histogram": dict(sorted(stats.annotations.items())),
        "conversion": stats.report
        and {key: stats.report[key] for key in ("records", "annotations")},
    }
    with replacing(output_dir, marker=FIGURES) as folder:
        drawings = _draw_all(folder, stats, concepts, where, summary)
        page = write_page(title, summary, drawings, concepts, stats.report)
        (folder / PAGE).write_text(page, encoding="utf8")
        text = json.dumps(content, ensure_ascii=False, indent=2)
        (folder / FIGURES).write_text(text + "\n", encoding="utf8")
    return content


def _draw_all(
    folder: Path,
    stats: CorpusStats,
    concepts: list[Concept],
    where: ConceptMap,
    summary: dict[str, Any],
) -> list[Drawing]:
    once = [concept for concept in concepts if concept.count == 1]
    rare = Random(SEED).sample(once, min(TOP, len(once)))
    mapped = concepts[: len(where.places)]
    colours = dict(zip((one.name for one in mapped), where.colours, strict=True))
    frequent = [concept for concept in concepts[:TOP] if concept not in rare]
    drawings = [
        draw(
            folder,
            "ranks",
            "Annotations by concept rank",
            "Both axes are logarithmic. The line is fitted by least squares at ranks "
            "evenly spaced in the logarithm, where a concept is annotated at least "
            f"{FITTED_COUNT} times.",
            (8, 4.2),
            figures.paint_ranks(concepts, summary),
        ),
        draw(
            folder,
            "shares",
            "Share of the most frequent concepts",
            "What part of all annotations the most frequent concepts have together.",
            (8, 3.8),
            figures.paint_shares(concepts, summary),
        ),
        draw(
            folder,
            "cloud",
            f"The {len(frequent)} most frequent concepts, {len(rare)} that occur once",
            "Sized by frequency; coloured as on the map, grey where a concept is not "
            "on it.",
            (8, 4),
            figures.paint_cloud(frequent, rare, colours),
        ),
        draw(
            folder,
            "map",
            f"Map of the {len(mapped)} most frequent concepts",
            f"Made of {where.method}. The first three principal components give the "
            "hue; the larger a point, the more frequent its concept.",
            (9, 7),
            figures.paint_map(mapped, where),
        ),
        draw(
            folder,
            "lengths",
            "Length of sentences",
            "Words are what stands between blanks. An annotation is an entity with a "
            "concept, however often it stands in its sentence.",
            (8, 3.2),
            figures.paint_lengths(stats),
        ),
    ]
    if stats.report is not None and stats.report["annotations"]["read"]:
        drawings.append(
            draw(
                folder,
                "matches",
                "Where annotations were found in their sentences",
                "How each annotation was matched with its sentence when the corpus was "
                "converted, or why it was lost.",
                (8, 1 + 0.32 * figures.count_bars(stats.report)),
                figures.paint_matches(stats.report),
            )
        )
    return drawings
