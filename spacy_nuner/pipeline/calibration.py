"""Thresholds and a temperature for `nuner_concepts`, found on labelled data.

The pre-training sees only the concepts of a batch, so its probabilities are far from
calibrated (NuMind's blog says as much); which one to act on has to be measured.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors, NunerError, Warnings
from .decoding import (
    THRESHOLD,
    FoundSpans,
    find_spans,
    find_strong_spans,
    get_active,
    get_probabilities,
)
from .nuner_concepts import NunerConcepts
from .targets import get_gold_spans, get_targets

CANDIDATES = 100
# Between which temperatures one is looked for.
COLDEST, HOTTEST = 0.05, 20.0
BINS = 10
# A concept with fewer annotated spans keeps the threshold of all.
MIN_SPANS = 5


@dataclass(frozen=True)
class LabelledLogits:
    """What a component says of labelled docs, and what is true.

    logits, targets: *Shape:* (n_tokens, n_concepts) each
    known: Whether a token is annotated. *Shape:* (n_tokens,)
    lengths: The number of tokens of each doc.
    spans: True spans: doc, start, end, concept.
    """

    logits: NDArray[Any]
    targets: NDArray[Any]
    known: NDArray[np.bool_]
    lengths: list[int]
    spans: set[tuple[int, int, int, int]]


def get_labelled_logits(
    pipe: NunerConcepts, docs: Sequence[Doc], references: Sequence[Doc]
) -> LabelledLogits:
    """Score labelled docs.

    pipe (NunerConcepts): The component.
    docs (Sequence[Doc]): The same texts, as the pipes before it left them.
    references (Sequence[Doc]): The annotation, in `doc.spans` under the key of the
        component where it learns from there and it is there, else in `doc.ents`.
    RETURNS (LabelledLogits): Logits and truth.
    RAISES (NunerError): N505 if no span of a concept of the component is annotated.
    """
    in_spans = any(pipe.gold_key in doc.spans for doc in references)
    key = pipe.gold_key if in_spans else None
    annotated = Counter(
        span.label_
        for doc in references
        for span in (doc.ents if key is None else doc.spans.get(key, ()))
    )
    for label in annotated:
        # spaCy aligns no span with a label that the other vocabulary has not seen.
        pipe.vocab.strings.add(label)
    examples = [Example(x, y) for x, y in zip(docs, references, strict=True)]
    targets, known = get_targets(examples, pipe.labels, spans_key=key)
    index = {label: i for i, label in enumerate(pipe.labels)}
    spans = {
        (i, span.start, span.end, index[span.label_])
        for i, eg in enumerate(examples)
        for span in get_gold_spans(eg, spans_key=key)
        if span.label_ in index
    }
    if not spans:
        where = f'doc.spans["{pipe.key}"]' if in_spans else "doc.ents"
        labels = ", ".join(pipe.labels)
        raise NunerError(Errors.N505, name=pipe.name, where=where, labels=labels)
    if unknown := sorted(set(annotated) - set(pipe.labels)):
        told = ", ".join(f"{label} ({annotated[label]})" for label in unknown)
        warnings.warn(Warnings.W507.format(name=pipe.name, labels=told), stacklevel=2)
    logits = np.concatenate([pipe.model.ops.to_numpy(a) for a in pipe.predict(docs)])
    return LabelledLogits(logits, targets, known, [len(doc) for doc in docs], spans)


def fit_temperature(data: LabelledLogits, *, exclusive: bool) -> float | None:
    """Find the temperature under which the labels are likeliest.

    data (LabelledLogits): Logits and truth.
    exclusive (bool): As for the component.
    RETURNS (float | None): What logits are divided by (Guo et al. 2017, arXiv
        1706.04599); None if none from 0.05 to 20 is better than a colder or a hotter
        one, which is so for data without a mistake: any certainty suits them.
    RAISES (NunerError): N006 if scipy is not installed.
    """
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as error:
        raise NunerError(Errors.N006, package="scipy", extra="fewshot") from error
    logits, targets = data.logits[data.known], data.targets[data.known]

    def loss(log_temperature: float) -> float:
        p = get_probabilities(logits / np.exp(log_temperature), exclusive=exclusive)
        p = p.astype("f8").clip(1e-12, 1 - 1e-12)
        found = (targets * np.log(p)).sum()
        if exclusive:
            none = (1 - p.sum(axis=1)).clip(1e-12)
            return float(-found - ((1 - targets.sum(axis=1)) * np.log(none)).sum())
        return float(-found - ((1 - targets) * np.log(1 - p)).sum())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    # Without a mistake the loss gets as near to 0 as it can be told apart from it.
    if min(map(loss, bounds)) <= found.fun * 1.001 + 1e-6:
        return None
    return float(np.exp(found.x))


def find_thresholds(
    data: LabelledLogits, probabilities: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Find the thresholds with the best F1 of spans.

    data (LabelledLogits): Logits and truth.
    probabilities (ndarray): *Shape:* (n_tokens, n_concepts)
    RETURNS (tuple): One threshold for all, and one for each concept, which is that
        for all where there are fewer than 5 annotated spans. *Shape:* (n_concepts,)
    """
    n_concepts = probabilities.shape[1]
    gold = np.bincount([span[3] for span in data.spans], minlength=n_concepts)
    candidates = _candidates(probabilities)
    right, found = np.zeros((2, len(candidates), n_concepts))
    for i, threshold in enumerate(candidates):
        limits = np.full(n_concepts, threshold)
        spans = find_strong_spans(probabilities, limits, data.lengths)
        right[i], found[i] = count_right(spans, data.spans, n_concepts)
    overall = 2 * right.sum(axis=1) / np.maximum(found.sum(axis=1) + gold.sum(), 1)
    single = 2 * right / np.maximum(found + gold, 1)
    best = float(candidates[overall.argmax()])
    return best, np.where(gold < MIN_SPANS, best, candidates[single.argmax(axis=0)])


def _candidates(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Thresholds to try, dense where there are many probabilities."""
    # Where most tokens belong to nothing, what matters lies in the upper half of the
    # best probabilities; of short texts with many concepts it may be all of them.
    best = np.sort(probabilities.max(axis=1))
    places = np.linspace(0, 1, CANDIDATES + 1)[:-1]
    parts = [np.quantile(part, places) for part in (best, best[len(best) // 2 :])]
    return np.unique(np.concatenate([*parts, [THRESHOLD]]))


def count_right(
    spans: FoundSpans, gold: set[tuple[int, int, int, int]], n_concepts: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Count spans that are right, and all.

    spans (FoundSpans): What was found.
    gold (set): True spans: doc, start, end, concept.
    n_concepts (int): The number of concepts.
    RETURNS (tuple): Right ones and all of each concept. *Shape:* (n_concepts,) each
    """
    keys = zip(spans.docs, spans.starts, spans.ends, spans.concepts, strict=True)
    hits = [tuple(map(int, key)) in gold for key in keys]
    right = np.bincount(spans.concepts[hits], minlength=n_concepts)
    return right, np.bincount(spans.concepts, minlength=n_concepts)


def span_f1(
    data: LabelledLogits, *, temperature: float, thresholds: Any, exclusive: bool
) -> float:
    """Micro F1 of spans under a calibration.

    data (LabelledLogits): Logits and truth.
    temperature (float): What logits are divided by.
    thresholds (float | ndarray): One, or one for each concept.
    exclusive (bool): As for the component.
    RETURNS (float): F1, from 0 to 1.
    """
    logits = data.logits / temperature
    p = get_probabilities(logits, exclusive=exclusive)
    limits = np.broadcast_to(thresholds, p.shape[1])
    if exclusive:
        active = get_active(logits, limits, exclusive=True)
        spans = find_spans(active, p, data.lengths)
    else:
        spans = find_strong_spans(p, limits, data.lengths)
    right, found = count_right(spans, data.spans, p.shape[1])
    return float(2 * right.sum() / max(found.sum() + len(data.spans), 1))


def get_reliability(data: LabelledLogits, probabilities: NDArray[Any]) -> Any:
    """Compare probabilities with how often they are right.

    data (LabelledLogits): Logits and truth.
    probabilities (ndarray): *Shape:* (n_tokens, n_concepts)
    RETURNS (list): For each of ten bins of equal width that is not empty: mean
        probability, share that is true, number of token-concept pairs.
    """
    p, true = probabilities[data.known].ravel(), data.targets[data.known].ravel()
    bin_of = np.minimum((p * BINS).astype(int), BINS - 1)
    rows = []
    for i in range(BINS):
        inside = bin_of == i
        if inside.any():
            share = float(true[inside].mean())
            rows.append((float(p[inside].mean()), share, int(inside.sum())))
    return rows
