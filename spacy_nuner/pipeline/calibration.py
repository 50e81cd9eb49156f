"""Thresholds and a temperature for a component, found on labelled data.

The pre-training sees only the concepts of a batch, so its probabilities are far from
calibrated (NuMind's blog says as much); which one to act on has to be measured.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors, NunerError, Warnings
from .decoding import (
    THRESHOLD,
    Bools,
    Floats,
    FoundSpans,
    Ints,
    decode,
    get_probabilities,
    get_spaces,
)
from .label_pipe import LabelPipe
from .targets import (
    cross_entropy,
    get_annotated,
    get_gold_spans,
    get_loss_mask,
    get_targets,
)

CANDIDATES = 100
# Between which temperatures one is looked for.
COLDEST, HOTTEST = 0.05, 20.0
BINS = 10
# A label with fewer annotated spans keeps the threshold of all.
MIN_SPANS = 5


@dataclass(frozen=True)
class LabelledLogits:
    """The logits of a component for labelled docs, and the truth.

    logits, targets: *Shape:* (n_tokens, n_labels) each
    known, spaces: Whether a token is annotated; whether it is white space.
        *Shape:* (n_tokens,) each
    lengths: The number of tokens of each doc.
    spans: True spans: doc, start, end, label.
    exclusive: Whether a token has one label at most.
    begins: As for `decode`. *Shape:* (n_tokens,)
    """

    logits: Floats
    targets: Floats
    known: Bools
    spaces: Bools
    lengths: list[int]
    spans: set[tuple[int, int, int, int]]
    exclusive: bool
    begins: Bools | None = None

    @property
    def mask(self) -> Bools:
        """RETURNS (Bools): See `get_loss_mask`. *Shape:* (n_tokens,)"""
        return get_loss_mask(self.known, self.targets, self.spaces)

    def divide(self, temperature: float) -> "LabelledLogits":
        """RETURNS (LabelledLogits): The same, its logits divided by the temperature."""
        return replace(self, logits=self.logits / np.float32(temperature))

    def find_spans(self, thresholds: Floats | None) -> FoundSpans:
        """Find spans as the component does.

        thresholds (Floats | None): As for `decode`. *Shape:* (n_labels,)
        RETURNS (FoundSpans): Those on annotated tokens; others are neither right nor
            wrong.
        """
        found = decode(
            self.logits,
            self.lengths,
            self.spaces,
            thresholds=thresholds,
            begins=self.begins,
        )
        first = np.cumsum([0, *self.lengths])[found.docs]
        unknown = np.cumsum([0, *~self.known])
        return found.select(
            unknown[first + found.ends] == unknown[first + found.starts]
        )

    def get_f1(self, thresholds: Floats | None) -> float:
        """Score what would be found.

        thresholds (Floats | None): As for `decode`. *Shape:* (n_labels,)
        RETURNS (float): Micro F1 of spans, from 0 to 1.
        """
        right, found = self.count_right(thresholds)
        return float(2 * right.sum() / max(found.sum() + len(self.spans), 1))

    def count_right(self, thresholds: Floats | None) -> tuple[Ints, Ints]:
        """Count what would be found.

        thresholds (Floats | None): As for `decode`. *Shape:* (n_labels,)
        RETURNS (tuple): Right spans and all spans of each label. *Shape:* (n_labels,)
            each
        """
        found = self.find_spans(thresholds)
        keys = zip(*(column.tolist() for column in found[:4]), strict=True)
        hits = np.asarray([key in self.spans for key in keys], dtype=bool)
        n_labels = self.logits.shape[1]
        right = np.bincount(found.labels[hits], minlength=n_labels)
        return right, np.bincount(found.labels, minlength=n_labels)


def get_labelled_logits(
    pipe: LabelPipe, docs: Sequence[Doc], references: Sequence[Doc]
) -> LabelledLogits:
    """Score labelled docs.

    pipe (LabelPipe): The component.
    docs (Sequence[Doc]): The same texts, as the pipes before it left them.
    references (Sequence[Doc]): The annotation, in `doc.spans` under the key of the
        component where it learns from there and it is there, else in `doc.ents`.
    RETURNS (LabelledLogits): Logits and truth.
    RAISES (NunerError): N505 if no span of a label of the component is annotated.
    """
    in_spans = any(pipe.gold_key in doc.spans for doc in references)
    key = pipe.gold_key if in_spans else None
    annotated = Counter(
        span.label_ for doc in references for span in get_annotated(doc, spans_key=key)
    )
    examples = [Example(x, y) for x, y in zip(docs, references, strict=True)]
    gold = get_targets(examples, pipe.labels, spans_key=key)
    index = {label: i for i, label in enumerate(pipe.labels)}
    spans = {
        (i, span.start, span.end, index[span.label_])
        for i, eg in enumerate(examples)
        for span in get_gold_spans(eg, spans_key=key)
        if span.label_ in index
    }
    if not spans:
        where = f'doc.spans["{key}"]' if key else "doc.ents"
        labels = ", ".join(pipe.labels)
        raise NunerError(Errors.N505, name=pipe.name, where=where, labels=labels)
    if unknown := sorted(set(annotated) - set(pipe.labels)):
        found = ", ".join(f"{label} ({annotated[label]})" for label in unknown)
        warnings.warn(Warnings.W507.format(name=pipe.name, labels=found), stacklevel=2)
    logits, boundary = pipe.join_logits(pipe.predict(docs))
    return LabelledLogits(
        logits=logits,
        targets=gold.labels,
        known=gold.known,
        spaces=get_spaces(docs),
        lengths=[len(doc) for doc in docs],
        spans=spans,
        exclusive=pipe.exclusive,
        begins=pipe.get_begins(docs, boundary),
    )


def fit_temperature(data: LabelledLogits) -> float | None:
    """Find the temperature under which the labels are likeliest.

    data (LabelledLogits): Logits and truth.
    RETURNS (float | None): What logits are divided by (Guo et al. 2017, arXiv
        1706.04599); None if none from 0.05 to 20 is better than a colder or a hotter
        one, which is so for data without a mistake: any certainty suits them.
    RAISES (NunerError): N006 if scipy is not installed.
    """
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as error:
        raise NunerError(Errors.N006, package="scipy", extra="fewshot") from error
    logits, mask = data.logits.astype("f8"), data.mask
    count = int(mask.sum())

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        of_token, _ = cross_entropy(
            scaled, data.targets, mask, exclusive=data.exclusive
        )
        return of_token * count

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    # Without a mistake the loss falls to 0 with the temperature.
    if min(map(loss, bounds)) <= found.fun * 1.001 + 1e-6:
        return None
    return float(np.exp(found.x))


def fold_temperature(pipe: LabelPipe, temperature: float) -> None:
    """Divide the logits of a component by a temperature, once and for all.

    pipe (LabelPipe): The component; its output layer is changed. Boundaries have no
        probability: of their logits the sign alone counts.
    temperature (float): What weights and biases are divided by.
    """
    output = pipe.model.get_ref("output_layer").layers[0]
    for name in ("W", "b"):
        output.set_param(name, output.get_param(name) / temperature)
    # Labels that are named later have to fit.
    pipe.temperature *= temperature


def find_thresholds(data: LabelledLogits) -> tuple[float, Floats]:
    """Find the thresholds with the best F1 of spans.

    data (LabelledLogits): Logits and truth.
    RETURNS (tuple): One threshold for all, and one for each label, which is that for
        all where there are fewer than 5 annotated spans. *Shape:* (n_labels,)
    """
    n_labels = data.logits.shape[1]
    gold = np.bincount([span[3] for span in data.spans], minlength=n_labels)
    candidates = _get_candidates(get_probabilities(data.logits, exclusive=False))
    right, found = np.zeros((2, len(candidates), n_labels))
    for i, threshold in enumerate(candidates):
        right[i], found[i] = data.count_right(np.full(n_labels, threshold))
    overall = 2 * right.sum(axis=1) / np.maximum(found.sum(axis=1) + gold.sum(), 1)
    single = 2 * right / np.maximum(found + gold, 1)
    best = float(candidates[overall.argmax()])
    return best, np.where(gold < MIN_SPANS, best, candidates[single.argmax(axis=0)])


def _get_candidates(probabilities: Floats) -> Floats:
    """Thresholds to try, dense where there are many probabilities."""
    # Where most tokens belong to nothing, what matters lies in the upper half of the
    # best probabilities; of short texts with many labels it may be all of them.
    best = np.sort(probabilities.max(axis=1)).astype("f8")
    # Between probabilities: at one, the next batch could be over or under it by chance.
    best = (best[1:] + best[:-1]) / 2
    shares = np.linspace(0, 1, CANDIDATES + 1)[:-1]
    parts = [
        np.quantile(part, shares, method="lower")
        for part in (best, best[len(best) // 2 :])
        if len(part)
    ]
    return np.unique(np.concatenate([*parts, [THRESHOLD]]))


def get_reliability(data: LabelledLogits) -> list[tuple[float, float, int]]:
    """Compare probabilities with how often they are right.

    data (LabelledLogits): Logits and truth.
    RETURNS (list): For each of ten bins of equal width that is not empty: mean
        probability, share that is true, number of token-label pairs.
    """
    probabilities = get_probabilities(data.logits, exclusive=data.exclusive)
    p, true = probabilities[data.mask].ravel(), data.targets[data.mask].ravel()
    bin_of = np.minimum((p * BINS).astype(int), BINS - 1)
    rows = []
    for i in range(BINS):
        inside = bin_of == i
        if inside.any():
            share = float(true[inside].mean())
            rows.append((float(p[inside].mean()), share, int(inside.sum())))
    return rows
