"""Which of many sentences to label next."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..pipeline.decoding import Floats, Ints
from .strategies import STRATEGIES, Strategy, Weights
from .uncertainty import Halves, Judgement

# Two texts are one if so many of their words are the same (Jaccard).
NEAR_DUPLICATE = 0.8
# What a span is worth that stands where a labelled one does, as a share.
LEAST_NOVELTY = 0.1
# Spans that all others are compared with at once.
BLOCK = 64
_NUMBER = re.compile("0+")


class _Letters(dict[int, str]):
    """What is left of each character: letters and their marks, and 0 for numbers."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kept = {"L": char, "M": char, "N": "0"}
        self[code] = kept.get(unicodedata.category(char)[0], "")
        return self[code]


_LETTERS = _Letters()


@dataclass(frozen=True)
class Candidate:
    """A sentence that may be chosen.

    text (str): The sentence.
    judgement (Judgement): What the pipeline finds in it.
    source, doc (str): Where it comes from.
    """

    text: str
    judgement: Judgement
    source: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Labelled:
    """What is labelled already.

    mentions (Counter[str]): How many spans each label has.
    vectors (Halves): Vectors of these spans. *Shape:* (n_spans, width)
    texts (list[str]): The sentences.
    words (list[list[str]]): The tokens of each.
    """

    mentions: Counter[str] = field(default_factory=Counter)
    vectors: Halves | None = None
    texts: list[str] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)


class Choice(NamedTuple):
    """A sentence that was chosen.

    number (int): Which of the candidates it is, from 0.
    score (float): What it was worth when its turn came.
    reason (str): Why, in words.
    """

    number: int
    score: float
    reason: str


def normalise_text(text: str) -> str:
    """RETURNS (str): A text without what two copies may differ in: case, width of
    characters, punctuation, blanks and the numbers in it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NUMBER.sub("0", folded.translate(_LETTERS))


def get_values(scores: Floats, weights: Weights) -> Any:
    """What possible spans are worth by their probabilities.

    scores (Floats): The probabilities. *Shape:* (n_spans,)
    weights (Weights): The strategy.
    RETURNS (Floats): *Shape:* (n_spans,)
    """
    return (
        weights.uncertainty * np.minimum(scores, 1 - scores) + weights.presence * scores
    )


def get_balance(
    labels: Iterable[str], mentions: Mapping[str, float], weights: Weights
) -> Any:
    """How much more a label is worth that has few mentions.

    labels (Iterable[str]): The labels.
    mentions (Mapping[str, float]): How many each has.
    weights (Weights): The strategy.
    RETURNS (Floats): *Shape:* (n_labels,)
    """
    counts = np.asarray([mentions.get(label, 0.0) for label in labels], dtype="f8")
    return (1 + counts) ** -weights.balance


def get_promise(
    judgement: Judgement, mentions: Mapping[str, float], weights: Weights
) -> float:
    """What a sentence is worth before anything is chosen.

    judgement (Judgement): What the pipeline finds in it.
    mentions (Mapping[str, float]): How many labelled mentions each label has.
    weights (Weights): The strategy.
    RETURNS (float): A sum over its possible spans.
    """
    values = get_values(judgement.scores, weights)
    return float(values @ get_balance(judgement.labels, mentions, weights))


class Spans:
    """The possible spans of all candidates, in one table."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """candidates (Sequence[Candidate]): At least one."""
        judged = [one.judgement for one in candidates]
        names = sorted({label for one in judged for label in one.labels})
        index = {label: i for i, label in enumerate(names)}
        self.names = names
        self.labels: Ints = np.asarray(
            [index[label] for one in judged for label in one.labels], dtype="i8"
        )
        self.scores: Floats = np.concatenate([one.scores for one in judged])
        self.bounds = np.cumsum([0, *(len(one.labels) for one in judged)]).tolist()
        self.sentences: Ints = np.repeat(
            np.arange(len(judged)), [len(one.labels) for one in judged]
        )
        rows = [one.vectors for one in judged if len(one.vectors)]
        # The largest table there is: it is changed where it lies.
        self.vectors: Any = np.zeros((0, 1), dtype="f4")
        # All vectors of an encoder point the same way; what is left says what differs.
        self.mean: Any = np.zeros(1, dtype="f4")
        if rows:
            self.vectors = np.concatenate(rows, dtype="f4")
            self.mean = self.vectors.mean(axis=0)
        self._centre(self.vectors)

    def centre(self, vectors: Halves) -> Any:
        """RETURNS (Floats): Vectors without what all have in common, of length 1."""
        found: Any = vectors.astype("f4")
        self._centre(found)
        return found

    def _centre(self, vectors: Any) -> None:
        vectors -= self.mean
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        vectors /= np.maximum(norms, 1e-6)[:, np.newaxis]

    def get_distances(self, others: Any) -> Any:
        """How far each span lies from the nearest of others.

        others (Floats): Vectors that were centred. *Shape:* (n_others, width)
        RETURNS (Floats): From 0 to 1. *Shape:* (n_spans,)
        """
        if not len(others) or not len(self.vectors):
            return np.ones(len(self.vectors), dtype="f4")
        found: Any = np.ones(len(self.vectors), dtype="f4")
        # A block at a time: many labelled spans are no table in memory.
        for start in range(0, len(others), BLOCK):
            near = (self.vectors @ others[start : start + BLOCK].T).max(axis=1)
            found = np.minimum(found, 1 - near)
        return np.clip(found, 0.0, 1.0)


def choose(
    candidates: Sequence[Candidate],
    n: int,
    *,
    by: Strategy,
    labelled: Labelled,
    rng: np.random.Generator,
) -> list[Choice]:
    """Choose sentences one after another, each for what it adds to those before it.

    candidates (Sequence[Candidate]): The sentences.
    n (int): How many to choose.
    by (Strategy): The strategy.
    labelled (Labelled): What is labelled already.
    rng (Generator): For "random", and where two are worth the same.
    RETURNS (list[Choice]): The chosen ones, the most worthy first; fewer where the rest
        are near-duplicates of these or of what is labelled.
    """
    order = rng.permutation(len(candidates)).tolist()
    seen = [_get_words(words) for words in labelled.words]
    chosen: list[Choice] = []
    if by == "random" or not candidates:
        for index in order:
            if len(chosen) < n and _add_if_new(candidates[index], seen):
                chosen.append(Choice(index, 0.0, "drawn at random"))
        return chosen
    weights = STRATEGIES[by]
    spans = Spans(candidates)
    values = get_values(spans.scores, weights)
    mentions = Counter[str](labelled.mentions)
    novelty: Any = np.ones(len(values), dtype="f4")
    if weights.novelty and labelled.vectors is not None:
        novelty = spans.get_distances(spans.centre(labelled.vectors))
    left = np.ones(len(candidates), dtype=bool)
    worth: Any = None
    while len(chosen) < n and left.any():
        if worth is None:
            scarcity = get_balance(spans.names, mentions, weights)
            worth = values * np.maximum(novelty, LEAST_NOVELTY)
            worth = worth * scarcity[spans.labels] if len(spans.labels) else worth
            totals = np.bincount(spans.sentences, worth, minlength=len(candidates))
            totals[~left] = -1.0
        index = max(order, key=totals.__getitem__)
        score = float(totals[index])
        left[index], totals[index] = False, -1.0
        if not _add_if_new(candidates[index], seen):
            continue
        own = slice(spans.bounds[index], spans.bounds[index + 1])
        reason = _explain(candidates[index], worth[own], novelty[own], mentions)
        chosen.append(Choice(index, score, reason))
        for label, score in zip(spans.labels[own], spans.scores[own], strict=True):
            mentions[spans.names[label]] += score
        if weights.novelty:
            found = spans.get_distances(spans.vectors[own])
            novelty = np.minimum(novelty, found)
        # What was chosen changes it, a near-duplicate does not.
        worth = None
    return chosen


def _explain(
    candidate: Candidate, worth: Any, novelty: Any, mentions: Mapping[str, float]
) -> str:
    """Say what a sentence was chosen for: its most worthy spans."""
    judged = candidate.judgement
    if not len(worth):
        return "nothing found, and nothing better left"
    parts = []
    for i in np.argsort(-worth, kind="stable")[:3].tolist():
        label = judged.labels[i]
        words = candidate.text[judged.starts[i] : judged.ends[i]]
        parts.append(
            f"'{words}' {label} {judged.scores[i]:.2f} "
            f"(so far {mentions.get(label, 0):.0f}, {novelty[i]:.0%} new)"
        )
    more = f" and {len(worth) - 3} more" if len(worth) > 3 else ""
    return ", ".join(parts) + more


def _get_words(words: Sequence[str]) -> frozenset[str]:
    # Of a text without letters the tokens as they are.
    return frozenset(filter(None, map(normalise_text, words))) or frozenset(words)


def _add_if_new(candidate: Candidate, seen: list[frozenset[str]]) -> bool:
    """Remember the words of a text, unless it is the near-duplicate of one before."""
    words = _get_words(candidate.judgement.words)
    for other in seen:
        common = len(words & other)
        if common >= NEAR_DUPLICATE * (len(words) + len(other) - common):
            return False
    seen.append(words)
    return True
