"""What a component writes on docs: spans with scores, and entities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc, Span, SpanGroup

# The threshold of a concept where none is set.
THRESHOLD = 0.5
# A token joins a span from this share of the threshold on, but the span as a whole has
# to be over it (docs/decisions.md, "A span is judged as a whole").
JOIN_SHARE = 2 / 3


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


def get_cell_probabilities(
    logits: Any, rows: Any, concepts: Any, *, exclusive: bool, temperature: float = 1.0
) -> Any:
    """Turn some cells of the logits into probabilities.

    logits (ndarray): *Shape:* (n_tokens, n_concepts)
    rows, concepts (ndarray): Which cells. *Shape:* (n_cells,) each
    exclusive (bool): See `get_probabilities`.
    temperature (float): What logits are divided by.
    RETURNS (ndarray): *Shape:* (n_cells,)
    """
    if not exclusive:
        cells = logits[rows, concepts] / temperature
        return get_probabilities(cells, exclusive=False)
    among_all = get_probabilities(logits[rows] / temperature, exclusive=True)
    return among_all[np.arange(len(rows)), concepts]


def get_active(
    logits: Any, thresholds: Any, *, exclusive: bool, temperature: float = 1.0
) -> Any:
    """Tell which token may lie in a span of which concept.

    logits (ndarray): *Shape:* (n_tokens, n_concepts)
    thresholds (ndarray): A probability for each concept, of which a token needs the
        share `JOIN_SHARE`; not used if exclusive. *Shape:* (n_concepts,)
    exclusive (bool): The likeliest of the concepts and "none" wins.
    temperature (float): What logits are divided by before they become probabilities.
    RETURNS (ndarray): Booleans. *Shape:* (n_tokens, n_concepts)
    """
    if not exclusive or not logits.size:
        # p > t where the logit is greater than that of t: no need for all p, nor for
        # all logits to be divided.
        needed = JOIN_SHARE * np.asarray(thresholds)
        with np.errstate(divide="ignore"):
            limits = np.log(needed) - np.log1p(-needed)
        return logits > (limits * temperature).astype(logits.dtype)
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
    rows, concepts = np.nonzero(active)
    return join_cells(rows, concepts, probabilities[rows, concepts], lengths)


def join_cells(
    rows: Any, concepts: Any, probabilities: Any, lengths: Sequence[int]
) -> FoundSpans:
    """Do the same with the active cells alone, of which there are few.

    rows, concepts (ndarray): Index of the token in the batch and of the concept.
        *Shape:* (n_cells,) each
    probabilities (ndarray): *Shape:* (n_cells,)
    lengths (Sequence[int]): The number of tokens of each doc.
    RETURNS (FoundSpans): The spans.
    """
    order = np.lexsort((rows, concepts))
    rows, concepts, p = rows[order], concepts[order], probabilities[order]
    first_token = np.concatenate([[0], np.cumsum(lengths)]).astype("i8")
    docs = np.searchsorted(first_token, rows, side="right") - 1
    # A cell goes on with a span if its left neighbour has the same concept and doc.
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = (
        (concepts[1:] != concepts[:-1])
        | (rows[1:] != rows[:-1] + 1)
        | (docs[1:] != docs[:-1])
    )
    first = np.flatnonzero(begins)
    sizes = np.diff(first, append=len(rows))
    scores = (np.add.reduceat(p, first, dtype="f8") / sizes).astype("f4")
    docs, concepts = docs[first], concepts[first]
    starts = rows[first] - first_token[docs]
    ends = starts + sizes
    order = np.lexsort((concepts, ends, starts, docs))
    return FoundSpans(
        docs[order], starts[order], ends[order], concepts[order], scores[order]
    )


def find_strong_spans(
    probabilities: NDArray[Any], thresholds: NDArray[Any], lengths: Sequence[int]
) -> FoundSpans:
    """Find the spans of concepts that are independent of each other.

    probabilities (ndarray): *Shape:* (n_tokens, n_concepts)
    thresholds (ndarray): A probability for each concept. *Shape:* (n_concepts,)
    lengths (Sequence[int]): The number of tokens of each doc.
    RETURNS (FoundSpans): Those that are over the threshold as a whole.
    """
    active = probabilities > JOIN_SHARE * thresholds
    return drop_weak(find_spans(active, probabilities, lengths), thresholds)


def drop_weak(found: FoundSpans, thresholds: Any) -> FoundSpans:
    """Keep the spans whose score is over the threshold of their concept.

    found (FoundSpans): Spans.
    thresholds (ndarray): A probability for each concept. *Shape:* (n_concepts,)
    RETURNS (FoundSpans): Some of them.
    """
    kept = found.scores > np.asarray(thresholds)[found.concepts]
    return FoundSpans._make(column[kept] for column in found)


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
    # White space tokens of a doc that follow each other stay or go together.
    begins = (np.diff(where, prepend=-2) > 1) | np.isin(where, bounds)
    runs = np.flatnonzero(begins)
    sizes = np.diff(runs, append=len(where))
    first, last = where[runs], where[runs + sizes - 1]
    inside = ~(np.isin(first, bounds) | np.isin(last + 1, bounds))
    kept = np.logical_and.reduceat(active[where], runs, axis=0)
    kept &= active[np.maximum(first - 1, 0)] & inside[:, np.newaxis]
    kept &= active[np.minimum(last + 1, len(active) - 1)]
    out = active.copy()
    out[where] = np.repeat(kept, sizes, axis=0)
    return out


# Logits of 1,000 concepts for so many tokens are 16 MB: allocators reuse blocks of that
# size, and 1,000 long docs at once would be gigabytes.
MAX_TOKENS = 4096


def get_spaces(docs: Sequence[Doc]) -> Any:
    """Tell which tokens are white space.

    docs (Sequence[Doc]): The docs.
    RETURNS (ndarray): Booleans. *Shape:* (n_tokens,)
    """
    tables = [doc.to_array([IS_SPACE]).reshape(-1) for doc in docs]
    return np.concatenate([np.zeros(0, dtype="u8"), *tables]).astype(bool)


def set_spans(
    docs: Sequence[Doc], found: FoundSpans, labels: Sequence[str], *, key: str
) -> list[tuple[list[Span], Any]]:
    """Write spans into `doc.spans`, their scores beside them.

    docs (Sequence[Doc]): The docs to change; what stood under the key is replaced.
    found (FoundSpans): The spans of all docs.
    labels (Sequence[str]): The label of each concept.
    key (str): Where in `doc.spans` they go; the scores go into the group's
        `attrs["scores"]`, in the order of the spans.
    RETURNS (list): For each doc its spans, and their scores. *Shape:* (n_spans,)
    """
    bounds = np.searchsorted(found.docs, np.arange(len(docs) + 1)).tolist()
    rows = list(
        zip(
            found.starts.tolist(),
            found.ends.tolist(),
            found.concepts.tolist(),
            strict=True,
        )
    )
    # Spans are made faster from a label's hash than from its text.
    present = np.unique(found.concepts).tolist()
    hashes = {i: docs[0].vocab.strings.add(labels[i]) for i in present}
    out = []
    for doc, first, last in zip(docs, bounds, bounds[1:], strict=False):
        spans = [
            Span(doc, start, end, label=hashes[concept])
            for start, end, concept in rows[first:last]
        ]
        scores = found.scores[first:last]
        doc.spans[key] = SpanGroup(doc, name=key, spans=spans, attrs={"scores": scores})
        out.append((spans, scores))
    return out


def set_ents(doc: Doc, spans: Sequence[Span], scores: Any, *, overwrite: bool) -> None:
    """Fill `doc.ents`: the best first, none over another.

    doc (Doc): The doc to change.
    spans (Sequence[Span]): What may become an entity.
    scores (ndarray): What is best: score or coverage. *Shape:* (n_spans,)
    overwrite (bool): Whether entities that stand already go; else they keep their
        place, whatever the scores.
    """
    chosen = [] if overwrite else list(doc.ents)
    taken = {i for ent in chosen for i in range(ent.start, ent.end)}
    for i in np.argsort(-scores, kind="stable"):
        tokens = range(spans[i].start, spans[i].end)
        if taken.isdisjoint(tokens):
            taken.update(tokens)
            chosen.append(spans[i])
    doc.set_ents(chosen, default="outside")
