"""What a corpus is like: counts of sentences, annotations and concepts."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from spacy.tokens import Doc
from tqdm import tqdm

from ..corpus.convert import REPORT
from ..errors import Errors, NunerError
from ..readers.docbin import SPANS_KEY, read_corpus

# Counts from here on are a mistake.
MOST = 10**12
# What is shown of the report of a conversion: counts, and counts by kind.
_REPORTED = {
    "records": (("read", "written"), ("quarantined", "dropped")),
    "annotations": (("read",), ("matched", "lost", "unreadable_lines")),
}

TOP = 100
# The slope is fitted to concepts annotated so often; below, whole stretches of ranks
# have the same count.
FITTED_COUNT = 5
FITTED_POINTS = 50
FEWEST_RANKS = 20

# What NuNER's authors published. Sentences, words and annotations of the set that the
# paper trains on (arXiv 2402.15343); the shares of the set of their blog, November
# 2023: 160,000 sentences, 800,000 annotations, 80,000 concepts.
PUBLISHED = {
    "sentences": 1_000_000,
    "words_per_sentence": 24.4,
    "annotations_per_sentence": 4.38,
    "concepts": 200_000,
    "share_of_top_100": 0.43,
    "share_of_singletons": 0.057,
}
FIGURES = [
    # Key of the summary, what it is called, and how it is written.
    ("sentences", "sentences", "{:,}"),
    ("words_per_sentence", "words a sentence", "{:.1f}"),
    ("annotations", "annotations", "{:,}"),
    ("annotations_per_sentence", "annotations a sentence", "{:.2f}"),
    ("spans", "spans (occurrences of an annotation)", "{:,}"),
    ("described", "annotations with a description", "{:.1%}"),
    ("concepts", "concepts", "{:,}"),
    ("words_in_concept_names", "different words in their names", "{:,}"),
    ("share_of_top_100", "share of the 100 most frequent", "{:.1%}"),
    ("singletons", "concepts annotated once", "{:,}"),
    ("share_of_singletons", "their share of the annotations", "{:.1%}"),
    ("power_law_slope", "slope of the power law", "{:.2f}"),
]


@dataclass(frozen=True)
class Concept:
    """A concept as the corpus has it.

    name (str): Its name.
    count (int): How often it is annotated.
    description (str): The first description, "" if there is none.
    example (str): The first entity.
    """

    name: str
    count: int
    description: str
    example: str


@dataclass
class CorpusStats:
    """Counts of a corpus. An annotation is an entity with a concept in a sentence,
    however often it occurs there; a span is one occurrence.

    words (Counter[int]): Sentences by their length in words.
    annotations (Counter[int]): Sentences by the number of their annotations.
    spans (int): Spans.
    counts (Counter[str]): Annotations by concept.
    described (int): Annotations whose concept has a description there.
    first (dict[str, tuple[str, str]]): First description and first entity of each
        concept.
    report (dict | None): The report of the conversion, if the corpus has one.
    """

    words: Counter[int] = field(default_factory=Counter)
    annotations: Counter[int] = field(default_factory=Counter)
    spans: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    described: int = 0
    first: dict[str, tuple[str, str]] = field(default_factory=dict)
    report: dict[str, Any] | None = None

    def add(self, doc: Doc) -> None:
        """Count a doc, a sentence or passage."""
        self.words[len(doc.text.split())] += 1
        group = doc.spans.get(SPANS_KEY, [])
        described = group.attrs.get("descriptions") if group else None
        # Of a DocBin from elsewhere it may be anything.
        described = described if isinstance(described, dict) else {}
        found: set[tuple[str, str]] = set()
        for span in group:
            name = span.label_
            key = (name, span.text.casefold())
            if key in found:
                continue
            found.add(key)
            self.counts[name] += 1
            description = str(described.get(name) or "")
            self.described += bool(description)
            first, example = self.first.get(name, ("", span.text))
            self.first[name] = (first or description, example)
        self.annotations[len(found)] += 1
        self.spans += len(group)

    def ranked(self) -> list[Concept]:
        """RETURNS (list[Concept]): The concepts, most frequent first, then by name."""
        pairs = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [Concept(name, count, *self.first[name]) for name, count in pairs]

    def summary(self) -> dict[str, Any]:
        """Work out the figures of stats.json.

        RETURNS (dict[str, Any]): Name of the figure -> number; None where the power
            law can't be fitted.
        """
        sentences = self.words.total()
        words = sum(length * count for length, count in self.words.items())
        total = self.counts.total()
        counts = sorted(self.counts.values(), reverse=True)
        once = sum(count == 1 for count in counts)
        slope, fit = fit_power_law(counts)
        return {
            "sentences": sentences,
            "words": words,
            "words_per_sentence": round(words / sentences, 2),
            "annotations": total,
            "annotations_per_sentence": round(total / sentences, 2),
            "sentences_without_annotations": self.annotations[0],
            "spans": self.spans,
            "described": round(self.described / total, 4),
            "concepts": len(counts),
            "words_in_concept_names": len(set(" ".join(self.counts).split())),
            "singletons": once,
            "share_of_top_100": round(sum(counts[:TOP]) / total, 4),
            "share_of_singletons": round(once / total, 4),
            "power_law_slope": slope,
            "power_law_r2": fit,
        }


def count_corpus(folder: Path, *, progress: bool = True) -> CorpusStats:
    """Count a corpus, one shard in memory at a time.

    folder (Path): What `convert` wrote, or any folder of DocBins with
        `doc.spans["concepts"]`.
    progress (bool): Whether to show a progress bar.
    RETURNS (CorpusStats): The counts.
    RAISES (NunerError): N105 if there is no shard, N108 if nothing is annotated, N635
        if the report of the conversion can't be read.
    """
    docs = tqdm(read_corpus(folder), unit=" docs", disable=not progress)
    stats = CorpusStats()
    for doc in docs:
        stats.add(doc)
    if not stats.counts:
        count = stats.words.total()
        raise NunerError(Errors.N108, path=folder, count=count, key=SPANS_KEY)
    stats.report = _read_report(folder / REPORT)
    return stats


def compare_with_published(summary: Mapping[str, Any]) -> list[list[str]]:
    """Write the figures of a corpus next to those of NuNER's authors.

    summary (Mapping[str, Any]): What `CorpusStats.summary` gives.
    RETURNS (list[list[str]]): Rows of name, figure and published figure; "" where
        there is none.
    """
    return [
        [name, *("" if v is None else form.format(v) for v in values)]
        for key, name, form in FIGURES
        for values in [(summary[key], PUBLISHED.get(key))]
    ]


def fit_power_law(counts: list[int]) -> tuple[float | None, float | None]:
    """Fit a line to log(count) over log(rank), at ranks evenly spaced in log(rank).

    counts (list[int]): How often each concept is annotated, most frequent first.
    RETURNS (tuple[float | None, float | None]): The slope and the share of the
        variance that it explains; None where too few concepts are frequent enough.
    """
    ranks = sum(count >= FITTED_COUNT for count in counts)
    if ranks < FEWEST_RANKS:
        return None, None
    chosen = np.unique(np.geomspace(1, ranks, FITTED_POINTS).round().astype(int))
    x = np.log(chosen)
    y = np.log(np.array(counts)[chosen - 1])
    slope, start = np.polyfit(x, y, 1)
    if np.ptp(y) == 0:
        return 0.0, 1.0
    r2 = 1 - np.var(y - (slope * x + start)) / np.var(y)
    return round(float(slope), 3), round(float(r2), 3)


def _read_report(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NunerError(Errors.N635, path=path, reason=error) from error
    # A folder of one's own DocBins may have another file of this name.
    if not isinstance(report, dict) or not set(_REPORTED) <= set(report):
        return None
    for part, (totals, kinds) in _REPORTED.items():
        found = report[part] if isinstance(report[part], dict) else {}
        counts = [found.get(key) for key in totals]
        for key in kinds:
            each = found.get(key)
            counts += each.values() if isinstance(each, dict) else [None]
        if not all(type(count) is int and 0 <= count < MOST for count in counts):
            reason = f"a count in '{part}' is missing or no number from 0 up"
            raise NunerError(Errors.N635, path=path, reason=reason)
    return report
