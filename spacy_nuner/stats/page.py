"""The page of a corpus: one file that needs nothing else, not even a network."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import about
from ..pages import TableCell, render_page
from ..printing import printable
from .concept_map import Floats, make_map
from .counts import Concept, CorpusStats, compare_with_published

PAGE = "stats.html"
STATS_FILE = "stats.json"
# The most frequent concepts: on the map, and in the table and the JSON.
MAPPED = 600
LISTED = 1000


def write_stats(
    stats: CorpusStats,
    folder: Path,
    *,
    title: str,
    encode: Callable[[Sequence[str]], Floats] | None = None,
) -> dict[str, Any]:
    """Write stats.html, stats.json and the figures as PNG.

    stats (CorpusStats): What `count_corpus` counted.
    folder (Path): An empty folder.
    title (str): The name of the corpus.
    encode (Callable | None): From names of concepts to the vectors that lay out the
        map; None to lay it out by the spelling of the names.
    RETURNS (dict[str, Any]): The content of stats.json.
    RAISES (NunerError): N006 if matplotlib or scikit-learn is missing.
    """
    from .charts import draw_charts

    concepts = stats.ranked()
    names = [concept.name for concept in concepts[:MAPPED]]
    where = make_map(names, encode(names) if encode else None)
    conversion = stats.report and {
        key: stats.report[key] for key in ("records", "annotations")
    }
    summary = stats.summary()
    content = {
        "version": about.__version__,
        **summary,
        "map": where.method,
        "most_frequent": {concept.name: concept.count for concept in concepts[:LISTED]},
        "words_histogram": dict(sorted(stats.words.items())),
        "annotations_histogram": dict(sorted(stats.annotations.items())),
        "conversion": conversion,
    }
    page = render_page(
        "stats/page.html",
        title=printable(title),
        overview=[[*map(TableCell, row)] for row in compare_with_published(summary)],
        charts=draw_charts(folder, stats, where, summary["power_law_slope"]),
        losses=_list_losses(conversion) if conversion else [],
        concepts=_list_concepts(concepts[:LISTED], stats.counts.total()),
        total=len(concepts),
    )
    (folder / PAGE).write_text(page, encoding="utf8")
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path = folder / STATS_FILE
    path.write_text(text + "\n", encoding="utf8", errors="backslashreplace")
    return content


def _list_losses(report: dict[str, Any]) -> list[list[TableCell]]:
    records, annotations = report["records"], report["annotations"]
    rows = [("records written", records["written"], records["read"])]
    for text, counts, total in (
        ("records quarantined:", records["quarantined"], records["read"]),
        ("records dropped:", records["dropped"], records["read"]),
        ("annotations matched", annotations["matched"], annotations["read"]),
        ("annotations lost:", annotations["lost"], annotations["read"]),
        ("lines that could not be read:", annotations["unreadable_lines"], 0),
    ):
        rows += [(f"{text} {key}", count, total) for key, count in counts.items()]
    return [
        [
            TableCell(printable(name)),
            TableCell(f"{count:,}", count),
            _get_share(count, whole),
        ]
        for name, count, whole in rows
    ]


def _list_concepts(concepts: Sequence[Concept], total: int) -> list[list[TableCell]]:
    return [
        [
            TableCell(str(rank), rank),
            TableCell(printable(concept.name)),
            TableCell(f"{concept.count:,}", concept.count),
            _get_share(concept.count, total),
            TableCell(printable(concept.example)),
            TableCell(printable(concept.description)),
        ]
        for rank, concept in enumerate(concepts, 1)
    ]


def _get_share(count: int, total: int) -> TableCell:
    return TableCell(f"{count / total:.2%}", count / total) if total else TableCell("")
