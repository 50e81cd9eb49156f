"""What a component writes on docs: spans with scores, and entities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc, Span, SpanGroup

from .decode import FoundSpans


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
