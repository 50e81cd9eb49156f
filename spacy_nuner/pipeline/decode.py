"""From logits of tokens to scored spans, for all docs of a batch at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class FoundSpans(NamedTuple):
    """Spans of a batch, sorted by doc, start and end.

    docs, starts, ends, concepts: Index of the doc, first token in it, the token after
        the last, index of the concept. *Shape:* (n_spans,) each
    scores: Mean probability of the span's tokens. *Shape:* (n_spans,)
    """

    docs: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    concepts: NDArray[np.int64]
    scores: NDArray[np.float32]


def get_probabilities(logits: Any, *, exclusive: bool) -> Any:
    """Turn logits into probabilities.

    logits (ndarray): *Shape:* (n_tokens, n_concepts)
    exclusive (bool): Softmax over the concepts and "none", whose logit is 0, instead
        of one sigmoid for each concept.
    RETURNS (ndarray): Probabilities, without a column for "none".
        *Shape:* (n_tokens, n_concepts)
    """
    if not exclusive:
        # Split by sign, so that exp never overflows.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    top = np.maximum(logits.max(axis=1, keepdims=True, initial=0.0), 0.0)
    exp = np.exp(logits - top)
    return exp / (exp.sum(axis=1, keepdims=True) + np.exp(-top))


def get_active(logits: Any, thresholds: Any, *, exclusive: bool) -> Any:
    """Tell which token belongs to which concept.

    logits (ndarray): *Shape:* (n_tokens, n_concepts)
    thresholds (ndarray): A probability for each concept, not used if exclusive.
        *Shape:* (n_concepts,)
    exclusive (bool): The likeliest of the concepts and "none" wins.
    RETURNS (ndarray): Booleans. *Shape:* (n_tokens, n_concepts)
    """
    if not exclusive or not logits.size:
        return get_probabilities(logits, exclusive=False) > thresholds
    winners = np.zeros(logits.shape, dtype=bool)
    winners[np.arange(len(winners)), logits.argmax(axis=1)] = True
    # "none" has the logit 0, and wins against a concept that knows nothing yet.
    return winners & (logits > 0)


def find_spans(
    active: Any, probabilities: NDArray[Any], lengths: Sequence[int]
) -> FoundSpans:
    """Join neighbouring tokens of a concept to spans; none crosses a doc's edge.

    active (ndarray): Booleans. *Shape:* (n_tokens, n_concepts)
    probabilities (ndarray): *Shape:* (n_tokens, n_concepts)
    lengths (Sequence[int]): The number of tokens of each doc.
    RETURNS (FoundSpans): The spans.
    """
    n_tokens, n_concepts = active.shape
    doc_of = np.repeat(np.arange(len(lengths)), lengths)
    first_token = np.concatenate([[0], np.cumsum(lengths)]).astype("i8")
    # An empty row before each doc and at the end keeps the docs apart.
    padded = np.zeros((n_tokens + len(lengths) + 1, n_concepts), dtype=bool)
    padded[np.arange(n_tokens) + doc_of + 1] = active
    edges = padded[1:] != padded[:-1]
    concepts, rows = np.nonzero(edges.T)
    # Edges come in pairs: where a span begins and where it has ended.
    concepts, begin_rows, end_rows = concepts[::2], rows[::2], rows[1::2]
    docs = _doc_of_rows(begin_rows, first_token, len(lengths))
    begins, ends = begin_rows - docs, end_rows - docs
    summed = np.zeros((n_tokens + 1, n_concepts), dtype="f8")
    np.cumsum(probabilities, axis=0, out=summed[1:])
    totals = summed[ends, concepts] - summed[begins, concepts]
    scores = (totals / np.maximum(ends - begins, 1)).astype("f4")
    starts, ends = begins - first_token[docs], ends - first_token[docs]
    order = np.lexsort((concepts, ends, starts, docs))
    return FoundSpans(
        docs[order], starts[order], ends[order], concepts[order], scores[order]
    )


def _doc_of_rows(rows: Any, first_token: Any, n_docs: int) -> Any:
    # The first token of doc d stands in padded row first_token[d] + d + 1; an edge at
    # row r lies between padded rows r and r + 1.
    first_rows = first_token[:n_docs] + np.arange(n_docs)
    return np.searchsorted(first_rows, rows, side="right") - 1


def drop_edge_spaces(active: Any, spaces: Any, lengths: Sequence[int]) -> Any:
    """Keep white space tokens only inside a span, not at its edges.

    active (ndarray): Booleans. *Shape:* (n_tokens, n_concepts)
    spaces (ndarray): Whether a token is white space. *Shape:* (n_tokens,)
    lengths (Sequence[int]): The number of tokens of each doc.
    RETURNS (ndarray): Booleans of the same shape.
    """
    where = np.flatnonzero(spaces)
    if not len(where):
        return active
    bounds = np.cumsum([0, *lengths])
    out = active.copy()
    outside = np.isin(where, bounds) | np.isin(where + 1, bounds)
    left = active[np.maximum(where - 1, 0)]
    right = active[np.minimum(where + 1, len(active) - 1)]
    out[where] &= left & right & ~outside[:, np.newaxis]
    return out
