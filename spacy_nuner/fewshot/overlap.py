"""How many labels of a test set the pre-training corpus had by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..concept_names import clean_concept, readable_name

# Cosine over which two names of concepts count as similar; over it FiNERweb takes
# concepts for near-duplicates.
SIMILAR = 0.75
# The most frequent concepts are compared by similarity. The long tail, most of it
# annotated once, would take minutes.
MOST_COMPARED = 20_000

Encode = Callable[[Sequence[str]], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Overlap:
    """What the corpus has of a label.

    name (str): The words of the label.
    exact (bool): Whether a concept is written as the label is.
    folded (bool): Whether one has the same words, whatever the case.
    nearest (str): The most similar concept.
    similarity (float): Its cosine.
    """

    name: str
    exact: bool
    folded: bool
    nearest: str
    similarity: float

    @property
    def similar(self) -> bool:
        """RETURNS (bool): Whether one is similar, those of the same words included."""
        return self.folded or self.similarity >= SIMILAR

    def __str__(self) -> str:
        if self.exact:
            return "exact"
        if self.folded:
            return "case-folded"
        sign = "similar" if self.similar else "nearest"
        return f"{sign}: {self.nearest} ({self.similarity:.2f})"


def find_overlap(
    names: Mapping[str, str | None], concepts: Mapping[str, int], encode: Encode
) -> dict[str, Overlap]:
    """Look labels up among the concepts of a corpus.

    names (Mapping[str, str | None]): Label -> what it is called; None for the label
        read as words.
    concepts (Mapping[str, int]): Concept -> how often the corpus has it; one or more.
    encode (Callable): From names to vectors. *Shape:* (names, width)
    RETURNS (dict[str, Overlap]): Label -> what there is of it.
    """
    words = {label: name or readable_name(label) for label, name in names.items()}
    # Case-folded, as `spacy nuner convert` writes them; another corpus may have others.
    folded = {clean_concept(concept) for concept in concepts}
    ranked = sorted(concepts, key=lambda concept: (-concepts[concept], concept))
    compared = ranked[:MOST_COMPARED]
    similarity = _normalise(encode(list(words.values()))) @ (
        _normalise(encode([clean_concept(name) or name for name in compared])).T
    )
    best = similarity.argmax(axis=1)
    return {
        label: Overlap(
            name,
            exact=label in concepts,
            folded=label in concepts or clean_concept(name) in folded,
            nearest=compared[column],
            similarity=float(row[column]),
        )
        for (label, name), row, column in zip(
            words.items(), similarity, best.tolist(), strict=True
        )
    }


def count_overlap(overlap: Mapping[str, Overlap]) -> str:
    """Say how many labels of a test set the corpus has by name.

    overlap (Mapping[str, Overlap]): What `find_overlap` found.
    RETURNS (str): A sentence.
    """
    exact, folded, similar = (
        sum(getattr(one, key) for one in overlap.values())
        for key in ("exact", "folded", "similar")
    )
    return (
        f"Of the {len(overlap)} types of the test set, the pre-training corpus has "
        f"{exact} by exactly that name, {folded} case-folded and {similar} by a "
        f"similar name (cosine of {SIMILAR} or more)."
    )


def _normalise(vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, 1e-12)
