"""The page of a corpus: one file that needs nothing else, not even a network."""

import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .. import about
from ..files import replacing
from ..plotting import Drawing, draw
from . import charts as figures
from .concept_map import SEED, ConceptMap, make_map, ngram_vectors
from .counts import FITTED_COUNT, PUBLISHED, TOP, Concept, CorpusStats

PAGE = "stats.html"
STATS_FILE = "stats.json"
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
    with replacing(output_dir, marker=STATS_FILE) as folder:
        drawings = _draw_all(folder, stats, concepts, where, summary)
        page = write_page(title, summary, drawings, concepts, stats.report)
        (folder / PAGE).write_text(page, encoding="utf8")
        text = json.dumps(content, ensure_ascii=False, indent=2)
        (folder / STATS_FILE).write_text(text + "\n", encoding="utf8")
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


LISTED = 1000
FIGURES = [
    # Key of the summary, what it is called, and how it is written.
    ("sentences", "sentences", "{:,}"),
    ("words_per_sentence", "words a sentence", "{:.1f}"),
    ("annotations", "annotations", "{:,}"),
    ("annotations_per_sentence", "annotations a sentence", "{:.2f}"),
    ("spans", "spans (places of an annotation)", "{:,}"),
    ("described", "annotations with a description", "{:.1%}"),
    ("concepts", "concepts", "{:,}"),
    ("words_in_concept_names", "different words in their names", "{:,}"),
    ("share_of_top_100", "share of the 100 most frequent", "{:.1%}"),
    ("singletons", "concepts annotated once", "{:,}"),
    ("share_of_singletons", "their share of the annotations", "{:.1%}"),
    ("power_law_slope", "slope of the power law", "{:.2f}"),
]


def write_page(
    title: str,
    summary: dict[str, Any],
    drawings: Sequence[Drawing],
    concepts: Sequence[Concept],
    report: dict[str, Any] | None,
) -> str:
    """Put figures and tables into one HTML page.

    title (str): The name of the corpus.
    summary (dict[str, Any]): The figures of `CorpusStats.summary`.
    drawings (Sequence[Drawing]): The pictures.
    concepts (Sequence[Concept]): The concepts, most frequent first.
    report (dict[str, Any] | None): The report of the conversion.
    RETURNS (str): The page.
    """
    parts = [_overview(summary)]
    parts += [_figure(drawing) for drawing in drawings]
    if report is not None:
        parts.append(_losses(report))
    parts.append(_concepts(concepts, summary["annotations"]))
    template = resources.files(__package__).joinpath("page.html")
    page = template.read_text(encoding="utf8")
    # The body last: what stands in it is not looked through.
    return page.replace("{title}", html.escape(title)).replace(
        "{body}", "\n".join(parts)
    )


def _overview(summary: dict[str, Any]) -> str:
    rows = []
    for key, name, form in FIGURES:
        values = (summary[key], PUBLISHED.get(key))
        shown = ["" if value is None else form.format(value) for value in values]
        rows.append([(name, None), *((text, None) for text in shown)])
    table = _table("overview", ["", "this corpus", "NuNER as published"], rows)
    note = (
        "<p class=note>NuNER: the counts of its paper's set (1M sentences); the two "
        "shares are of the set of its authors' blog (160,000 sentences). The larger a "
        "corpus, the smaller the share of concepts that are annotated once.</p>"
    )
    return f"<section>{table}{note}</section>"


def _figure(drawing: Drawing) -> str:
    return (
        f"<section><h2>{html.escape(drawing.title)}</h2>"
        f"<figure id={drawing.name}>{drawing.svg}"
        f"<figcaption>{html.escape(drawing.caption)}</figcaption></figure></section>"
    )


def _losses(report: dict[str, Any]) -> str:
    records, annotations = report["records"], report["annotations"]
    rows = [("records written", records["written"], records["read"])]
    for kind in ("quarantined", "dropped"):
        for why, count in records[kind].items():
            rows.append((f"records {kind}: {why}", count, records["read"]))
    total = annotations["read"]
    for how, count in annotations["matched"].items():
        rows.append((f"annotations matched {how}", count, total))
    for why, count in annotations["lost"].items():
        rows.append((f"annotations lost: {why}", count, total))
    for why, count in annotations["unreadable_lines"].items():
        rows.append((f"lines that could not be read: {why}", count, 0))
    cells = [
        [(name, None), (f"{count:,}", count), _share(count, whole)]
        for name, count, whole in rows
    ]
    table = _table("losses", ["what", "count", "share"], cells, sortable=True)
    return f"<section><h2>Conversion</h2>{table}</section>"


def _concepts(concepts: Sequence[Concept], total: int) -> str:
    rows: list[list[tuple[str, float | None]]] = []
    for rank, concept in enumerate(concepts[:LISTED], 1):
        rows.append(
            [
                (str(rank), rank),
                (concept.name, None),
                (f"{concept.count:,}", concept.count),
                _share(concept.count, total),
                (concept.example, None),
                (concept.description, None),
            ]
        )
    head = ["rank", "concept", "annotations", "share", "first entity", "description"]
    table = _table("concepts", head, rows, sortable=True)
    shown = f"The {len(rows):,} most frequent of {len(concepts):,}. "
    return (
        f"<section class=wide><h2>Concepts</h2><p>{shown}<label>Find "
        f"<input id=find type=search></label></p>{table}</section>"
    )


def _share(count: int, total: int) -> tuple[str, float | None]:
    return (f"{count / total:.2%}", count / total) if total else ("", None)


def _table(
    name: str,
    head: Sequence[str],
    rows: Sequence[Sequence[tuple[str, float | None]]],
    *,
    sortable: bool = False,
) -> str:
    """Cells are pairs of a text and the number to sort by, None to sort by the text."""
    top = ""
    for column, text in enumerate(head):
        number = any(row[column][1] is not None for row in rows)
        kind = " class=number" if number else ""
        cell = f"<button>{text}</button>" if sortable else text
        top += f"<th scope=col{kind}>{cell}</th>"
    lines = []
    for row in rows:
        line = "".join(
            f"<td>{html.escape(text)}</td>"
            if number is None
            else f"<td data-n={number:.6g}>{html.escape(text)}</td>"
            for text, number in row
        )
        lines.append(f"<tr>{line}</tr>")
    kind = " class=sortable" if sortable else ""
    return (
        f"<div class=scroll><table id={name}-table{kind}><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
