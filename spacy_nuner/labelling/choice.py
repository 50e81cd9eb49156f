"""Which of many sentences to label next."""

import heapq
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
# Possible spans that stand for all of them: more would cost memory and time.
MOST_TARGETS = 2000
# Sentences whose spans are compared with all of these at once.
BLOCK = 128
# A vector, of length 1, is no other than the mean if the difference is shorter.
TINY = 1e-3
# Two spans are alike, in the reason that is given, from this cosine on.
ALIKE = 0.5
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
    vectors (Halves): Vectors of these spans, and of those that may be found in these
        sentences and are none. *Shape:* (n_spans, width)
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
        # Where nothing is left, as where all spans are the same word, the mean stays.
        length = max(float(np.sqrt(self.mean @ self.mean)), TINY)
        vectors[norms < TINY], norms[norms < TINY] = self.mean, length
        vectors /= norms[:, np.newaxis]


class Coverage:
    """How much of what may be found is like something labelled or chosen.

    Each possible span is covered as far as it is like the nearest span that is labelled
    or chosen: their cosine, 0 at least. What a sentence adds to that, each span times
    its worth, is what the sentence is worth. This is the facility location of Wei, Iyer
    and Bilmes (ICML 2015): what is typical comes before what is odd, and nothing twice.

    Of many spans some stand for all; those of the sentence itself for themselves alone.
    """

    def __init__(
        self,
        spans: Spans,
        values: Floats,
        labelled: Halves | None,
        rng: np.random.Generator,
        *,
        n_sampled: int,
    ) -> None:
        """spans (Spans): The possible spans of all candidates.
        values (Floats): What each of them is worth. *Shape:* (n_spans,)
        labelled (Halves | None): Vectors of spans that are covered. *Shape:* (n, width)
        rng (Generator): Draws those that stand for all, if they are many.
        n_sampled (int): So many candidates, the first ones, show what is typical: their
            spans are drawn before those of others.
        """
        self._spans = spans
        count = spans.bounds[n_sampled]
        drawn = np.arange(len(values))
        if len(values) > MOST_TARGETS:
            typical, others = rng.permutation(count), rng.permutation(drawn[count:])
            drawn = np.sort(np.concatenate([typical, others])[:MOST_TARGETS])
        self._weight = len(values) / max(len(drawn), 1)
        # Of each candidate, which of the drawn are its own.
        self._own = np.searchsorted(drawn, spans.bounds).tolist()
        # *Shape:* (n_drawn, width), (n_drawn,) and (n_drawn,)
        self._targets: Any = spans.vectors[drawn]
        self._worth: Any = values[drawn].astype("f4")
        self._covered: Any = np.zeros(len(drawn), dtype="f4")
        if labelled is not None and len(drawn):
            found = spans.centre(labelled)
            for start in range(0, len(found), BLOCK):
                self._cover(self._compare(found[start : start + BLOCK]).max(axis=0))
        # In blocks, so that the table of all spans is never in memory.
        # *Shape:* (n_candidates, n_drawn)
        n_candidates = len(spans.bounds) - 1
        self._likeness: Any = np.zeros((n_candidates, len(drawn)), dtype="f4")
        for start in range(0, n_candidates, BLOCK):
            bounds = np.asarray(spans.bounds[start : start + BLOCK + 1])
            rows = self._compare(spans.vectors[bounds[0] : bounds[-1]])
            filled = np.flatnonzero(np.diff(bounds))
            if len(filled):
                best = np.maximum.reduceat(rows, bounds[filled] - bounds[0])
                self._likeness[start + filled] = best

    def _compare(self, vectors: Any) -> Any:
        return np.maximum(vectors @ self._targets.T, 0.0)

    def _cover(self, likeness: Any) -> None:
        self._covered = np.maximum(self._covered, likeness)

    def _add_up(self, number: int, more: Any) -> Any:
        """Sum what is added, over all spans that the drawn ones stand for."""
        own = slice(*self._own[number : number + 2])
        others = (self._weight - 1) * (more[..., own] @ self._worth[own])
        return self._weight * (more @ self._worth) - others

    def get_gain(self, number: int) -> float:
        """RETURNS (float): What a candidate adds, by its number."""
        more = np.maximum(self._likeness[number] - self._covered, 0.0)
        return float(self._add_up(number, more))

    def take(self, number: int) -> None:
        """Cover what a candidate covers, by its number."""
        self._cover(self._likeness[number])

    def get_shares(self, number: int) -> tuple[Any, Any]:
        """Say what a candidate's spans add, each alone, before it is taken.

        number (int): The candidate.
        RETURNS (tuple[Floats, Floats]): What each adds, and how many spans of other
            sentences are like it, and less like what is covered. *Shape:* (n_spans,)
            each
        """
        spans = slice(*self._spans.bounds[number : number + 2])
        rows = self._compare(self._spans.vectors[spans])
        new = rows > self._covered
        alike = new & (rows >= ALIKE)
        alike[:, slice(*self._own[number : number + 2])] = False
        gains = self._add_up(number, np.where(new, rows - self._covered, 0.0))
        return gains, alike.sum(axis=1) * self._weight


def choose(
    candidates: Sequence[Candidate],
    n: int,
    *,
    by: Strategy,
    labelled: Labelled,
    rng: np.random.Generator,
    n_sampled: int | None = None,
) -> list[Choice]:
    """Choose sentences one after another, each for what it adds to those before it.

    candidates (Sequence[Candidate]): The sentences.
    n (int): How many to choose.
    by (Strategy): The strategy.
    labelled (Labelled): What is labelled already.
    rng (Generator): For "random", and where two are worth the same.
    n_sampled (int | None): How many candidates, the first ones, are a fair sample of
        the texts; None for all.
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
    balance = get_balance(spans.names, labelled.mentions, weights)
    values = values * balance[spans.labels] if len(values) else values
    coverage: Coverage | None = None
    if weights.coverage:
        sampled = len(candidates) if n_sampled is None else n_sampled
        coverage = Coverage(spans, values, labelled.vectors, rng, n_sampled=sampled)
        get_worth = coverage.get_gain
    else:
        totals = np.bincount(spans.sentences, values, minlength=len(candidates))
        get_worth = totals.tolist().__getitem__
    # A sentence adds the less the more is chosen, so what it was worth before is a
    # bound: only those at the top are looked at again (Minoux 1978).
    heap = [(-get_worth(index), rank, index) for rank, index in enumerate(order)]
    heapq.heapify(heap)
    while heap and len(chosen) < n:
        _, rank, index = heapq.heappop(heap)
        score = get_worth(index)
        if heap and -score > heap[0][0]:
            heapq.heappush(heap, (-score, rank, index))
            continue
        if not _add_if_new(candidates[index], seen):
            continue
        own = slice(spans.bounds[index], spans.bounds[index + 1])
        shares, alike = values[own], None
        if coverage is not None:
            shares, alike = coverage.get_shares(index)
            coverage.take(index)
        reason = _explain(candidates[index], shares, alike, labelled.mentions)
        chosen.append(Choice(index, score, reason))
    return chosen


def _explain(
    candidate: Candidate, shares: Any, alike: Any, mentions: Mapping[str, float]
) -> str:
    """Say what a sentence was chosen for: its most worthy spans."""
    judged = candidate.judgement
    if not len(shares):
        return "nothing found, and nothing better left"
    parts = []
    for i in np.argsort(-shares, kind="stable")[:3].tolist():
        label = judged.labels[i]
        words = candidate.text[judged.starts[i] : judged.ends[i]]
        known = f"so far {mentions.get(label, 0):.0f}"
        if alike is not None:
            known += f", like {alike[i]:.0f} others"
        parts.append(f"'{words}' {label} {judged.scores[i]:.2f} ({known})")
    more = f" and {len(shares) - 3} more" if len(shares) > 3 else ""
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
