"""k-shot draws: a few sentences with k mentions of each label."""

import random
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..errors import Errors, NunerError, Warnings


@dataclass(frozen=True)
class Draw:
    """A drawn support set; `dataclasses.asdict` makes it JSON.

    k (int): The mentions asked for of each label.
    seed (int): The seed of the draw.
    docs (list[int]): Indices of the drawn Docs in the pool, rising.
    mentions (dict[str, int]): Label -> mentions that the drawn Docs have of it.
    """

    k: int
    seed: int
    docs: list[int]
    mentions: dict[str, int]


def draw_docs(
    docs: Sequence[Doc], k: int, *, seed: int = 0, allow_fewer: bool = False
) -> Draw:
    """Draw sentences until every label has k mentions.

    The labels have their turn from the rarest to the most frequent. In its turn a
    label takes sentences with a mention of it in random order until it has k, first
    those that bring no label over 2k mentions, then, only if these do not suffice,
    the others. A turn looks at each sentence at most twice, so a draw always ends.
    The random order depends on the seed alone: draws of one seed and different k
    share most of their sentences.

    docs (Sequence[Doc]): The pool, entities in `doc.ents`.
    k (int): Mentions of each label, 1 or more.
    seed (int): Of the draw's own random generator.
    allow_fewer (bool): Take all mentions of labels that have fewer than k, with a
        warning, instead of an error.
    RETURNS (Draw): The drawn Docs and what they have.
    RAISES (NunerError): N611 if a label has fewer than k mentions in the pool, N612
        if k is not positive, N614 if no Doc has an entity.
    """
    if k < 1:
        raise NunerError(Errors.N612, k=k)
    counts = [Counter(ent.label_ for ent in doc.ents) for doc in docs]
    total = sum(counts, Counter[str]())
    if not total:
        raise NunerError(Errors.N614, count=len(docs))
    _check_counts(total, k, allow_fewer)
    order = list(range(len(docs)))
    random.Random(seed).shuffle(order)
    drawn: set[int] = set()
    have: Counter[str] = Counter()
    for label in sorted(total, key=lambda name: (total[name], name)):
        for limit in (2 * k, None):
            for i in order:
                if have[label] >= k:
                    break
                new = counts[i]
                if i in drawn or not new[label]:
                    continue
                if limit is None or all(have[x] + new[x] <= limit for x in new):
                    drawn.add(i)
                    have.update(new)
    return Draw(k=k, seed=seed, docs=sorted(drawn), mentions=dict(sorted(have.items())))


def gather_tokens(
    docs: Sequence[Doc], draws: Sequence[Draw]
) -> tuple[list[Doc], list[NDArray[np.int64]]]:
    """Find the tokens of draws among those of all Docs that some draw has.

    docs (Sequence[Doc]): The pool.
    draws (Sequence[Draw]): Draws from it.
    RETURNS (tuple[list[Doc], list[Ints]]): The Docs, and for each draw the indices of
        its tokens among the tokens of these Docs, one after another.
    """
    drawn = sorted({i for draw in draws for i in draw.docs})
    ends = np.cumsum([len(docs[i]) for i in drawn]).tolist()
    tokens = {
        i: np.arange(end - len(docs[i]), end)
        for i, end in zip(drawn, ends, strict=True)
    }
    return [docs[i] for i in drawn], [
        np.concatenate([tokens[i] for i in draw.docs]) for draw in draws
    ]


def _check_counts(total: Counter[str], k: int, allow_fewer: bool) -> None:
    short = [f"{label} has {n}" for label, n in sorted(total.items()) if n < k]
    if not short:
        return
    found = ", ".join(short)
    if not allow_fewer:
        raise NunerError(Errors.N611, k=k, found=found)
    warnings.warn(Warnings.W603.format(k=k, found=found), stacklevel=3)
