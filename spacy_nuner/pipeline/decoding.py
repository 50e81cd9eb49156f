"""Logits -> spans: the one decoder of components, calibration and benchmarks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IDX, IS_SPACE
from spacy.tokens import Doc, Span, SpanGroup

from ..sentences import find_lines

# Arrays on the processor.
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

# Of the values of `token.ent_iob`.
BEGIN = 3
# The threshold of a label where none is set.
THRESHOLD = 0.5
# A token joins a span from this share of the threshold on, but the span as a whole has
# to be over it (docs/decisions.md, "A span is judged as a whole").
JOIN_SHARE = 2 / 3
# Tokens that are scored at once: logits of 1,000 labels for so many are 16 MB.
# Allocators reuse blocks of that size, and 1,000 long docs at once would be gigabytes.
MAX_TOKENS = 4096


class FoundSpans(NamedTuple):
    """Spans of a batch, sorted by doc, start and end.

    docs, starts, ends, labels: Index of the doc, first token in it, the token after the
        last, index of the label. *Shape:* (n_spans,) each
    scores: Mean probability of the span's tokens. *Shape:* (n_spans,)
    """

    docs: Ints
    starts: Ints
    ends: Ints
    labels: Ints
    scores: Floats

    def select(self, chosen: Bools) -> "FoundSpans":
        """Take some of the spans.

        chosen (Bools): Which. *Shape:* (n_spans,)
        RETURNS (FoundSpans): Those, in the same order.
        """
        return FoundSpans._make(column[chosen] for column in self)


def decode(
    logits: Floats,
    lengths: Sequence[int],
    spaces: Bools,
    *,
    thresholds: Floats | None,
    begins: Bools | None = None,
) -> FoundSpans:
    """Find the spans in the logits of a batch.

    logits (Floats): On the processor. *Shape:* (n_tokens, n_labels)
    lengths (Sequence[int]): The number of tokens of each doc.
    spaces (Bools): Whether a token is white space; a span has none at its edges.
        *Shape:* (n_tokens,)
    thresholds (Floats | None): For labels that are independent of each other, the
        probability over which a span belongs to each. *Shape:* (n_labels,) None: one
        label a token at most, the likeliest of them and "none".
    begins (Bools | None): Whether a span begins even if the token before has the same
        label; None for nowhere. *Shape:* (n_tokens,)
    RETURNS (FoundSpans): The spans: neighbouring tokens of a label, up to where one
        begins.
    """
    active = get_active(logits, thresholds)
    active = drop_edge_spaces(active, spaces, lengths, begins=begins)
    # Ten times as fast as nonzero of a table.
    rows, labels = np.divmod(np.flatnonzero(active), max(active.shape[1], 1))
    # Few cells are active, so only theirs are computed.
    if thresholds is None:
        among_all = get_probabilities(logits[rows], exclusive=True)
        probabilities = among_all[np.arange(len(rows)), labels]
    else:
        probabilities = get_probabilities(logits[rows, labels], exclusive=False)
    found = join_cells(rows, labels, probabilities, lengths, begins=begins)
    if thresholds is None:
        return found
    return found.select(found.scores > np.asarray(thresholds)[found.labels])


def get_probabilities(logits: Floats, *, exclusive: bool) -> Floats:
    """Turn logits into probabilities.

    logits (Floats): *Shape:* (n_tokens, n_labels)
    exclusive (bool): Softmax over the labels and "none", whose logit is 0, instead of
        one sigmoid for each label.
    RETURNS (Floats): Probabilities, without a column for "none". Same shape.
    """
    if not exclusive:
        # Split by sign, so that exp never overflows.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    top = np.maximum(logits.max(axis=1, keepdims=True, initial=0.0), 0.0)
    exp = np.exp(logits - top)
    return exp / (exp.sum(axis=1, keepdims=True) + np.exp(-top))


def get_active(logits: Floats, thresholds: Floats | None) -> Bools:
    """Find the tokens that may lie in a span of each label.

    logits (Floats): *Shape:* (n_tokens, n_labels)
    thresholds (Floats | None): As for `decode`; a token needs the share `JOIN_SHARE`.
    RETURNS (Bools): *Shape:* (n_tokens, n_labels)
    """
    if thresholds is not None:
        # p > t where the logit is greater than that of t: no need for all p.
        needed = JOIN_SHARE * np.asarray(thresholds)
        with np.errstate(divide="ignore"):
            limits = np.log(needed) - np.log1p(-needed)
        return logits > limits.astype(logits.dtype)
    winners = np.zeros(logits.shape, dtype=bool)
    if logits.size:
        winners[np.arange(len(winners)), logits.argmax(axis=1)] = True
    # "none" has the logit 0, and wins against a label that knows nothing yet.
    return winners & (logits > 0)


def drop_edge_spaces(
    active: Bools,
    spaces: Bools,
    lengths: Sequence[int],
    *,
    begins: Bools | None = None,
) -> Bools:
    """Take white space at the edges of spans out of them.

    active (Bools): *Shape:* (n_tokens, n_labels)
    spaces (Bools): Whether a token is white space. *Shape:* (n_tokens,)
    lengths (Sequence[int]): The number of tokens of each doc.
    begins (Bools | None): As for `decode`: there is an edge too.
    RETURNS (Bools): *Shape:* (n_tokens, n_labels)
    """
    rows = np.flatnonzero(spaces)
    if not len(rows):
        return active
    bounds = np.cumsum([0, *lengths])
    # White space tokens of a doc that follow each other stay or go together.
    runs = np.flatnonzero((np.diff(rows, prepend=-2) > 1) | np.isin(rows, bounds))
    sizes = np.diff(runs, append=len(rows))
    first, last = rows[runs], rows[runs + sizes - 1]
    inside = ~(np.isin(first, bounds) | np.isin(last + 1, bounds))
    stays = np.logical_and.reduceat(active[rows], runs, axis=0)
    stays &= active[np.maximum(first - 1, 0)] & inside[:, np.newaxis]
    stays &= active[np.minimum(last + 1, len(active) - 1)]
    if begins is not None:
        edge = np.logical_or.reduceat(begins[rows], runs)
        edge |= begins[np.minimum(last + 1, len(active) - 1)]
        stays &= ~edge[:, np.newaxis]
    out = active.copy()
    out[rows] = np.repeat(stays, sizes, axis=0)
    return out


def join_cells(
    rows: Ints,
    labels: Ints,
    probabilities: Floats,
    lengths: Sequence[int],
    *,
    begins: Bools | None = None,
) -> FoundSpans:
    """Join neighbouring tokens of a label to spans; none crosses a doc's edge.

    rows, labels (Ints): Index of each active token in the batch, and of its label.
        *Shape:* (n_cells,) each
    probabilities (Floats): *Shape:* (n_cells,)
    lengths (Sequence[int]): The number of tokens of each doc.
    begins (Bools | None): As for `decode`. *Shape:* (n_tokens,)
    RETURNS (FoundSpans): The spans.
    """
    order = np.lexsort((rows, labels))
    rows, labels, p = rows[order], labels[order], probabilities[order]
    first_token = np.concatenate([[0], np.cumsum(lengths)]).astype("i8")
    docs = np.searchsorted(first_token, rows, side="right") - 1
    # A cell goes on with a span if its left neighbour has the same label and doc.
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (
        (labels[1:] != labels[:-1])
        | (rows[1:] != rows[:-1] + 1)
        | (docs[1:] != docs[:-1])
    )
    if begins is not None:
        is_first |= begins[rows]
    first = np.flatnonzero(is_first)
    sizes = np.diff(first, append=len(rows))
    scores = (np.add.reduceat(p, first, dtype="f8") / sizes).astype("f4")
    docs, labels = docs[first], labels[first]
    starts = rows[first] - first_token[docs]
    ends = starts + sizes
    order = np.lexsort((labels, ends, starts, docs))
    return FoundSpans(
        docs[order], starts[order], ends[order], labels[order], scores[order]
    )


def get_spaces(docs: Sequence[Doc]) -> Bools:
    """Find the tokens that are white space.

    docs (Sequence[Doc]): The docs.
    RETURNS (Bools): *Shape:* (n_tokens,)
    """
    tables = [doc.to_array([IS_SPACE]).reshape(-1) for doc in docs]
    return np.concatenate([np.zeros(0, dtype="u8"), *tables]).astype(bool)


def get_line_starts(docs: Sequence[Doc]) -> Bools:
    """Find the tokens with which a line begins, or a cell behind a tab.

    docs (Sequence[Doc]): The docs.
    RETURNS (Bools): Lines of prose that was wrapped begin nothing. *Shape:* (n_tokens,)
    """
    spaces = get_spaces(docs)
    starts = np.zeros(len(spaces), dtype=bool)
    if not spaces.any():
        return starts
    ends = np.cumsum([len(doc) for doc in docs]).tolist()
    for doc, end in zip(docs, ends, strict=True):
        own = slice(end - len(doc), end)
        blanks = {i: doc[i].text for i in np.flatnonzero(spaces[own]).tolist()}
        if not any(text.strip(" ") for text in blanks.values()):
            continue
        starts[own] = np.isin(doc.to_array([IDX]), find_lines(doc.text))
        cells = [
            i + 1 for i, text in blanks.items() if "\t" in text and i + 1 < len(doc)
        ]
        starts[own][cells] = True
    return starts


def make_spans(
    docs: Sequence[Doc], found: FoundSpans, labels: Sequence[str]
) -> list[tuple[list[Span], Floats]]:
    """Make spaCy's spans of what was found.

    docs (Sequence[Doc]): The docs.
    found (FoundSpans): The spans of all docs.
    labels (Sequence[str]): The labels.
    RETURNS (list): For each doc its spans, and their scores. *Shape:* (n_spans,)
    """
    bounds = np.searchsorted(found.docs, np.arange(len(docs) + 1)).tolist()
    columns = (found.starts.tolist(), found.ends.tolist(), found.labels.tolist())
    rows = list(zip(*columns, strict=True))
    # Spans are made faster from a label's hash than from its text.
    present = np.unique(found.labels).tolist()
    hashes: dict[int, int] = {}
    for vocab in {id(doc.vocab): doc.vocab for doc in docs}.values():
        hashes = {i: vocab.strings.add(labels[i]) for i in present}
    return [
        (
            [Span(doc, a, b, label=hashes[label]) for a, b, label in rows[first:last]],
            found.scores[first:last],
        )
        for doc, first, last in zip(docs, bounds, bounds[1:], strict=False)
    ]


def set_group(doc: Doc, spans: Sequence[Span], scores: Floats, *, key: str) -> None:
    """Write spans and their scores into `doc.spans`.

    doc (Doc): The doc to change; a group under the key is replaced.
    spans (Sequence[Span]): The spans.
    scores (Floats): They go into the group's `attrs["scores"]`, in the order of the
        spans. *Shape:* (n_spans,)
    key (str): Where in `doc.spans`.
    """
    doc.spans[key] = SpanGroup(doc, name=key, spans=spans, attrs={"scores": scores})


def set_ents(
    doc: Doc, spans: Sequence[Span], ranks: Floats, *, overwrite: bool
) -> list[int]:
    """Fill `doc.ents`: the best first, none over another or over a blocked token.

    doc (Doc): The doc to change. Tokens that were blocked (`doc.set_ents([],
        blocked=...)`) stay so.
    spans (Sequence[Span]): What may become an entity.
    ranks (Floats): The higher, the better. *Shape:* (n_spans,)
    overwrite (bool): Whether entities that the doc has are replaced; else they stay,
        whatever the ranks.
    RETURNS (list[int]): Indices of the spans that are entities now, in order.
    """
    ents = [] if overwrite else list(doc.ents)
    tags = doc.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2)
    # spaCy's sign of a blocked token: the beginning of an entity without a label.
    blocked = np.flatnonzero((tags[:, 0] == BEGIN) & (tags[:, 1] == 0)).tolist()
    taken = {i for ent in ents for i in range(ent.start, ent.end)} | set(blocked)
    chosen = []
    for i in np.argsort(-np.asarray(ranks), kind="stable").tolist():
        tokens = range(spans[i].start, spans[i].end)
        if taken.isdisjoint(tokens):
            taken.update(tokens)
            chosen.append(i)
    doc.set_ents(
        [*ents, *(spans[i] for i in chosen)],
        blocked=[doc[i : i + 1] for i in blocked],
        default="outside",
    )
    return sorted(chosen)
