"""Annotation -> targets of tokens and labels -> the loss and its gradient."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example

from .decoding import Bools, Floats, get_line_starts, get_probabilities

# Added to probabilities before their logarithm is taken.
TINY = 1e-9
# Annotated words from which on a label without an example is taken for absent
# (docs/decisions.md, "A label waits for its first example").
ENOUGH_WORDS = 5000


def get_annotated(doc: Doc, *, spans_key: str | None) -> list[Span]:
    """Read the annotated spans of a doc.

    doc (Doc): The annotation.
    spans_key (str | None): Where in `doc.spans` it lies; None for `doc.ents`.
    RETURNS (list[Span]): The spans.
    """
    return list(doc.ents if spans_key is None else doc.spans.get(spans_key, ()))


def get_gold_spans(example: Example, *, spans_key: str | None) -> list[Span]:
    """Read the annotated spans, on the tokens of the predicted doc.

    example (Example): Prediction and annotation; their tokens may differ.
    spans_key (str | None): As for `get_annotated`.
    RETURNS (list[Span]): The spans that can be aligned.
    """
    spans = get_annotated(example.reference, spans_key=spans_key)
    for span in spans:
        # spaCy aligns no span with a label that the other vocabulary has not seen.
        example.x.vocab.strings.add(span.label_)
    return example.get_aligned_spans_y2x(spans, allow_overlap=spans_key is not None)


def get_labels(
    examples: Iterable[Example], *, spans_key: str | None, described_key: str
) -> dict[str, str | None]:
    """Collect the labels of a data set, and what it says of them.

    examples (Iterable[Example]): The examples.
    spans_key (str | None): As for `get_annotated`.
    described_key (str): The group of `doc.spans` whose `attrs["descriptions"]` has
        descriptions of labels, as `spacy nuner convert` writes them.
    RETURNS (dict[str, str | None]): Labels, sorted, each with the first description
        that is found, or None.
    """
    labels: set[str] = set()
    descriptions: dict[str, str] = {}
    for eg in examples:
        spans = get_annotated(eg.reference, spans_key=spans_key)
        labels.update(span.label_ for span in spans)
        if described_key in eg.reference.spans:
            found = eg.reference.spans[described_key].attrs.get("descriptions", {})
            for label, description in found.items():
                descriptions.setdefault(label, description)
    return {label: descriptions.get(label) for label in sorted(labels)}


def find_learned(
    examples: Iterable[Example], labels: Iterable[str], *, spans_key: str | None
) -> set[str]:
    """Find the labels that a data set says something about.

    It is read no further than needed.

    examples (Iterable[Example]): The examples.
    labels (Iterable[str]): The labels.
    spans_key (str | None): As for `get_annotated`.
    RETURNS (set[str]): Those of which there is an example; all of them where
        `ENOUGH_WORDS` are annotated, since a label is hardly missing by chance then.
    """
    everything, words = set(labels), 0
    waiting = set(everything)
    for eg in examples:
        spans = get_annotated(eg.reference, spans_key=spans_key)
        waiting -= {span.label_ for span in spans}
        words += int(_get_known(eg, spans_key).sum())
        if not waiting or words >= ENOUGH_WORDS:
            return everything
    return everything - waiting


def has_line_inside(examples: Iterable[Example], *, spans_key: str | None) -> bool:
    """Find out whether an annotated span goes on in another line, or behind a tab.

    examples (Iterable[Example]): The examples.
    spans_key (str | None): As for `get_annotated`.
    RETURNS (bool): Whether there is one.
    """
    for eg in examples:
        starts = get_line_starts([eg.reference])
        spans = get_annotated(eg.reference, spans_key=spans_key) if starts.any() else ()
        if any(starts[span.start + 1 : span.end].any() for span in spans):
            return True
    return False


class Targets(NamedTuple):
    """What the tokens of examples are annotated with.

    labels (Floats): 1.0 where a token belongs to a label, else 0.0.
        *Shape:* (n_tokens, n_labels)
    known (Bools): Whether a token is annotated at all; one that a span begins or ends
        inside of is not. *Shape:* (n_tokens,)
    begins (Floats): 1.0 where a span begins right behind another of its label.
        *Shape:* (n_tokens, 1)
    asked (Bools): Whether a token and the one before it have one label, so that they
        could be of one span. *Shape:* (n_tokens,)
    """

    labels: Floats
    known: Bools
    begins: Floats
    asked: Bools


def get_targets(
    examples: Sequence[Example], labels: Sequence[str], *, spans_key: str | None
) -> Targets:
    """Build the targets of each token.

    examples (Sequence[Example]): The examples of a batch.
    labels (Sequence[str]): The labels, in the order of the model's output. Spans of
        other labels count as not annotated with any.
    spans_key (str | None): As for `get_annotated`.
    RETURNS (Targets): The targets.
    """
    index = {label: i for i, label in enumerate(labels)}
    total = sum(len(eg.predicted) for eg in examples)
    targets = np.zeros((total, len(labels)), dtype="f")
    known = np.zeros(total, dtype=bool)
    begins, asked = np.zeros((total, 1), dtype="f"), np.zeros(total, dtype=bool)
    start = 0
    for eg in examples:
        end = start + len(eg.predicted)
        found = get_gold_spans(eg, spans_key=spans_key)
        known[start:end] = _get_known(eg, spans_key)
        spans = [span for span in found if span.label_ in index]
        ends = {(span.end, span.label_) for span in spans}
        for span in spans:
            first, last = start + span.start, start + span.end
            targets[first:last, index[span.label_]] = 1.0
            asked[first + 1 : last] = True
            if (span.start, span.label_) in ends:
                asked[first] = True
                begins[first] = 1.0
        start = end
    return Targets(targets, known, begins, asked)


def get_loss_mask(known: Bools, labels: Floats, spaces: Bools) -> Bools:
    """Find the tokens that count in the loss.

    White space has the vector of the token before it: behind a span it would have that
    of the label, and none.

    known, labels: As in `Targets`.
    spaces (Bools): Whether a token is white space. *Shape:* (n_tokens,)
    RETURNS (Bools): Those annotated, without white space outside of spans.
        *Shape:* (n_tokens,)
    """
    return known & (~spaces | labels.any(axis=1))


def _get_known(example: Example, spans_key: str | None) -> Bools:
    if spans_key is None:
        return np.asarray([tag is not None for tag in example.get_aligned_ner()], bool)
    known = np.full(len(example.predicted), spans_key in example.reference.spans)
    for span in get_annotated(example.reference, spans_key=spans_key):
        if not example.get_aligned_spans_y2x([span], allow_overlap=True):
            known[example.alignment.y2x[span.start : span.end]] = False
    return known


def cross_entropy(
    logits: Floats, targets: Floats, known: Bools, *, exclusive: bool
) -> tuple[float, Floats]:
    """Compare logits with the truth.

    logits, targets (Floats): *Shape:* (n_tokens, n_labels) each
    known (Bools): Whether a token is annotated; others count for nothing.
        *Shape:* (n_tokens,)
    exclusive (bool): Softmax over the labels and "none", whose logit is 0, instead of
        one sigmoid for each label.
    RETURNS (tuple): The cross-entropy, averaged over the annotated tokens, and its
        gradient. *Shape:* (n_tokens, n_labels)
    """
    if exclusive:
        # A token may carry two annotated labels only by mistake; share it out.
        targets = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1.0)
    p = get_probabilities(logits, exclusive=exclusive)
    count = max(int(known.sum()), 1)
    gradient = (p - targets) * known[:, np.newaxis] / count
    if exclusive:
        # What is left is "none", else the complement of each label.
        p_rest = 1 - p.sum(axis=1, keepdims=True).clip(max=1.0)
        rest = 1 - targets.sum(axis=1, keepdims=True)
    else:
        p_rest, rest = 1 - p, 1 - targets
    found = (targets * np.log(p + TINY)).sum(axis=1)
    missed = (rest * np.log(p_rest + TINY)).sum(axis=1)
    return -float((found + missed)[known].sum() / count), gradient
