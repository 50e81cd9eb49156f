"""Cross-validation of the probe on one labelled set, over growing shares of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from tqdm import tqdm

from ..errors import Errors, NunerError
from ..printing import printable
from .entity_counts import count_spans
from .probe import Floats, Ints, decode_spans, encode_labels, find_labels, fit_probe

FOLDS = 5
# Shares of the texts that are learned from: all that a fold leaves, a half, a quarter.
SHARES = (4, 2, 1)
# With fewer a fold is a text.
FEWEST_TEXTS = 10
# Orders in which the texts are cut into folds. With many texts one says as much, and
# each of its fits takes longer.
MOST_REPEATS = 2
TEXTS_A_REPEAT = 400


@dataclass(frozen=True)
class Validated:
    """What a probe that had not seen them made of the texts of a labelled set.

    labels (list[str]): The labels, `O` first.
    sizes (list[int]): Texts that were learned from, rising.
    entities (Ints): Entities that were right, predicted and gold.
        *Shape:* (repeats, sizes, docs, 3)
    tokens (Ints): Tokens by their label and the predicted one, over all repeats.
        *Shape:* (sizes, labels, labels)
    groups (Ints): Number of the group of each Doc; those with the same text are one.
        *Shape:* (docs,)
    """

    labels: list[str]
    sizes: list[int]
    entities: Ints
    tokens: Ints
    groups: Ints

    def token_f(self, size: int) -> dict[str, float]:
        """Work out the token F1 of each label.

        size (int): Which of the sizes, as an index.
        RETURNS (dict[str, float]): Label -> F1 from 0 to 1, without `O`.
        """
        table = self.tokens[size]
        total = table.sum(axis=0) + table.sum(axis=1)
        shares = 2 * np.diag(table) / np.maximum(total, 1)
        return dict(zip(self.labels[1:], shares[1:].tolist(), strict=True))


def group_texts(docs: Sequence[Doc]) -> Ints:
    """Number the groups of Docs that have to stay together.

    A Doc with all its sentences is one, and so are Docs of one text, whatever its case
    and white space.

    docs (Sequence[Doc]): The Docs.
    RETURNS (Ints): Number of the group of each. *Shape:* (docs,)
    """
    numbers: dict[str, int] = {}
    texts = (" ".join(doc.text.casefold().split()) for doc in docs)
    return np.asarray([numbers.setdefault(text, len(numbers)) for text in texts])


def leave_out_copies(docs: Sequence[Doc]) -> list[Doc]:
    """Keep one Doc of each text: another copy is nothing more to learn from or to find.

    docs (Sequence[Doc]): The Docs.
    RETURNS (list[Doc]): The first of each group, in their order.
    """
    firsts = np.unique(group_texts(docs), return_index=True)[1]
    return [docs[i] for i in sorted(firsts.tolist())]


def cross_validate(
    docs: Sequence[Doc],
    vectors: Floats,
    *,
    repeats: int | None = None,
    seed: int = 0,
    title: str | None = None,
) -> Validated:
    """Learn from growing shares of a labelled set, and predict what was left out.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    vectors (Floats): Vectors of the tokens of all Docs, one after another.
        *Shape:* (tokens, width)
    repeats (int | None): How often the texts are cut into folds anew; None for as
        often as is worth it.
    seed (int): Of the order of the texts.
    title (str | None): What a progress bar says; None for no bar.
    RETURNS (Validated): What was predicted. In each repeat every Doc is predicted once
        with each size, by a probe that saw no Doc of its group.
    RAISES (NunerError): N634 if there are too few different texts, N614 if there is no
        entity.
    """
    groups = group_texts(docs)
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < FEWEST_TEXTS:
        raise NunerError(Errors.N634, count=n_groups, fewest=FEWEST_TEXTS)
    if not any(doc.ents for doc in docs):
        raise NunerError(Errors.N614, count=len(docs))
    labels = find_labels(docs, docs)
    gold = encode_labels(docs, labels)
    ends = np.cumsum([len(doc) for doc in docs])
    tokens = [np.arange(e - len(doc), e) for doc, e in zip(docs, ends, strict=True)]
    if repeats is None:
        repeats = max(1, min(MOST_REPEATS, TEXTS_A_REPEAT // len(docs)))
    folds = [
        fold for i in range(repeats) for fold in cut_folds(groups, seed=seed, repeat=i)
    ]
    # The same sizes in each fold, however many copies one text has.
    pool = min(len(train) for train, _ in folds)
    sizes = sorted({max(1, pool // share) for share in SHARES})
    entities = np.zeros((repeats, len(sizes), len(docs), 3), dtype="i8")
    confused = np.zeros((len(sizes), len(labels), len(labels)), dtype="i8")
    bar = tqdm(folds, desc=printable(title), leave=False, disable=title is None)
    for number, (train, test) in enumerate(bar):
        held_out = np.concatenate([tokens[i] for i in test])
        for i, size in enumerate(sizes):
            seen = np.concatenate([tokens[j] for j in train[:size]])
            probe = fit_probe(vectors[seen], gold[seen], n_labels=len(labels))
            predicted = probe.predict(vectors[held_out])
            np.add.at(confused[i], (gold[held_out], predicted), 1)
            entities[number // FOLDS, i, test] = count_entities(
                [docs[j] for j in test], predicted, labels
            )
    return Validated(labels, sizes, entities, confused, groups)


def count_entities(docs: Sequence[Doc], predicted: Ints, labels: Sequence[str]) -> Ints:
    """Count the entities of a prediction, as spaCy's scorer does: span and label.

    docs (Sequence[Doc]): The Docs, entities in `doc.ents`.
    predicted (Ints): Index of the label of each token of all Docs. *Shape:* (tokens,)
    labels (Sequence[str]): Names of the labels.
    RETURNS (Ints): Entities that are right, predicted and gold. *Shape:* (docs, 3)
    """
    return count_spans(docs, decode_spans(docs, predicted, labels))


def cut_folds(
    groups: Ints, *, seed: int, repeat: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut a set into folds.

    groups (Ints): Number of the group of each Doc; groups stay together.
    seed, repeat (int): Of the order.
    RETURNS (list): Indices of the Docs to learn from, in random order, and of those to
        predict, by fold.
    """
    n_groups = int(groups.max(initial=-1)) + 1
    order = np.random.default_rng([seed, repeat]).permutation(n_groups)
    place = np.argsort(order)[groups]
    fold = place * FOLDS // n_groups
    shuffled = np.argsort(place, kind="stable")
    folds = fold[shuffled]
    # What follows a fold comes first: small shares differ from fold to fold.
    return [
        (np.concatenate([shuffled[folds > i], shuffled[folds < i]]), held_out)
        for i in range(FOLDS)
        for held_out in [shuffled[folds == i]]
    ]
