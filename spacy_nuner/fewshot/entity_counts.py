"""Entities that are right, predicted and gold, as spaCy's scorer counts them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

Counts = tuple[int, int, int]
Ints = NDArray[np.int64]


def count_matches(
    predicted: Iterable[Sequence[Any]], gold: Iterable[Sequence[Any]]
) -> Counts:
    """Count what is the same in both, sentence by sentence.

    predicted (Iterable[Sequence]): For each sentence what was found.
    gold (Iterable[Sequence]): For each sentence what should be.
    RETURNS (Counts): Right, predicted and gold.
    """
    right = n_predicted = n_gold = 0
    for found, wanted in zip(predicted, gold, strict=True):
        right += len(set(found) & set(wanted))
        n_predicted += len(found)
        n_gold += len(wanted)
    return right, n_predicted, n_gold


def count_spans(docs: Sequence[Doc], found: Sequence[Sequence[Span]]) -> Ints:
    """Count the entities that were found in Docs: span and label.

    docs (Sequence[Doc]): The Docs, entities in `doc.ents`.
    found (Sequence[Sequence[Span]]): What was found in each.
    RETURNS (Ints): Right, predicted and gold. *Shape:* (docs, 3)
    """
    rows = [
        count_matches([_list_keys(spans)], [_list_keys(doc.ents)])
        for doc, spans in zip(docs, found, strict=True)
    ]
    return np.asarray(rows, dtype="i8").reshape(-1, 3)


def _list_keys(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label_) for span in spans]


def get_f(counts: Any) -> Any:
    """RETURNS (Floats): F1 of right, predicted and gold entities, 0 of none.
    *Shape:* (..., 3) to (...)
    """
    right, predicted, gold = np.moveaxis(np.asarray(counts, dtype="f8"), -1, 0)
    total = predicted + gold
    return np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)
