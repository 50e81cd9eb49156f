"""Draws of a few sentences of a labelled set, by the protocols of few-shot work."""

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..errors import Errors, NunerError, Warnings
from .results import ALL

# How often Few-NERD's rule is tried anew, each time in another order.
ATTEMPTS = 100


@dataclass(frozen=True)
class Draw:
    """A drawn support set; `dataclasses.asdict` makes it JSON.

    k (int): The mentions, or words, asked for of each label.
    seed (int): The seed of the draw.
    docs (list[int]): Indices of the drawn Docs in the pool, rising.
    mentions (dict[str, int]): Label -> mentions that the drawn Docs have of it.
    words (dict[str, int]): Label -> words in these mentions.
    protocol (str): How it was drawn, one of `PROTOCOLS`.
    attempts (int): How many orders were tried.
    is_all (bool): Whether it is the whole set, see `take_all`.
    """

    k: int
    seed: int
    docs: list[int]
    mentions: dict[str, int]
    words: dict[str, int] = field(default_factory=dict)
    protocol: str = "mentions"
    attempts: int = 1
    is_all: bool = False


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
    counts = _count(docs, count_mentions)
    drawn = _draw_by_turns(counts, k, seed, "mentions", allow_fewer)
    return _record(docs, drawn, k=k, seed=seed)


def draw_words(
    docs: Sequence[Doc], k: int, *, seed: int = 0, allow_fewer: bool = False
) -> Draw:
    """Draw sentences until the mentions of every label have k words.

    As `draw_docs`, but words (tokens) inside the mentions are counted, which is what
    NuNER's comparison with LLMs goes by (arXiv 2402.15343).

    docs (Sequence[Doc]): The pool, entities in `doc.ents`.
    k (int): Words of each label, 1 or more.
    seed (int): Of the draw's own random generator.
    allow_fewer (bool): Take all mentions of labels that have fewer than k words.
    RETURNS (Draw): The drawn Docs and what they have.
    RAISES (NunerError): As `draw_docs`.
    """
    drawn = _draw_by_turns(_count(docs, count_words), k, seed, "words", allow_fewer)
    return _record(docs, drawn, k=k, seed=seed, protocol="words")


def draw_k_to_2k(
    docs: Sequence[Doc],
    k: int,
    *,
    seed: int = 0,
    allow_fewer: bool = False,
    attempts: int = ATTEMPTS,
) -> Draw:
    """Draw sentences by Few-NERD's greedy rule: k to 2k mentions of every label.

    A random sentence is taken if it brings no label over 2k mentions and has one that
    has fewer than k (Ding et al. 2021, `util/fewshotsampler.py`). Counts only grow, so
    a sentence that is refused once is refused for ever: one pass over a random order
    takes what choosing at random without end would take. If a label is short after it,
    no further choice would mend that, and the next order is tried.

    Where the rarest labels have hardly more than k mentions, all orders end in this
    way: frequent labels are full before a rare one has its sentences. Then labels take
    their sentences in turn, the rarest first, within the same bounds.

    docs (Sequence[Doc]): The pool, entities in `doc.ents`.
    k (int): The fewest mentions of each label, 1 or more.
    seed (int): Of the draw's own random generator.
    allow_fewer (bool): Ask labels that have fewer than k mentions in the pool for all
        of them, with a warning, instead of an error. None may have more than 2k.
    attempts (int): Orders that are tried by Few-NERD's rule, and then as many in turn.
    RETURNS (Draw): The drawn Docs and what they have. If labels had their turn, its
        `attempts` are more than these.
    RAISES (NunerError): N611, N612 and N614 as `draw_docs`; N616 if no order that was
        tried gives every label k mentions and none more than 2k.
    """
    counts = _count(docs, count_mentions)
    total = _check(counts, k, "mentions", allow_fewer)
    wanted = {label: min(k, n) for label, n in total.items()}
    candidates = [i for i, found in enumerate(counts) if found]
    shuffle = random.Random(seed).shuffle
    fewest: dict[str, int] | None = None
    for attempt in range(1, 2 * attempts + 1):
        order = list(candidates)
        shuffle(order)
        if attempt > attempts:
            drawn, have = _take_by_turns(counts, order, total, k, limits=(2 * k,))
        else:
            drawn, have = _take_greedily(counts, order, wanted, limit=2 * k)
        short = {label: have[label] for label, n in wanted.items() if have[label] < n}
        if not short:
            return _record(
                docs, drawn, k=k, seed=seed, protocol="k~2k", attempts=attempt
            )
        if fewest is None or len(short) < len(fewest):
            fewest = short
    found = ", ".join(f"{label} has {n}" for label, n in sorted((fewest or {}).items()))
    found = found or "none was tried"
    raise NunerError(Errors.N616, k=k, most=2 * k, attempts=2 * attempts, found=found)


def _take_greedily(
    counts: Sequence[Counter[str]],
    order: Sequence[int],
    wanted: Mapping[str, int],
    *,
    limit: int,
) -> tuple[set[int], Counter[str]]:
    """Take what a label is short of and brings none over the limit."""
    drawn: set[int] = set()
    have: Counter[str] = Counter()
    for i in order:
        new = counts[i]
        fits = all(have[label] + n <= limit for label, n in new.items())
        if fits and any(have[label] < wanted[label] for label in new):
            drawn.add(i)
            have.update(new)
    return drawn, have


def take_all(docs: Sequence[Doc]) -> Draw:
    """Take all sentences, those without an entity too.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    RETURNS (Draw): All of them; its k is the mentions of the most frequent label.
    RAISES (NunerError): N614 if no Doc has an entity.
    """
    total = sum(_count(docs, count_mentions), Counter[str]())
    most = max(total.values())
    return _record(docs, range(len(docs)), k=most, seed=0, is_all=True)


# How sentences are drawn, by what the command line calls it.
PROTOCOLS: dict[str, Callable[..., Draw]] = {
    "mentions": draw_docs,
    "k~2k": draw_k_to_2k,
    "words": draw_words,
}


def find_protocol(name: str) -> Callable[..., Draw]:
    """Find what draws by a protocol.

    name (str): One of `PROTOCOLS`.
    RETURNS (Callable): Called as `draw_docs` is.
    RAISES (NunerError): N617 if there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise NunerError(Errors.N617, found=name, known=", ".join(PROTOCOLS))
    return PROTOCOLS[name]


def draw_groups(
    docs: Sequence[Doc],
    protocol: str,
    k: Sequence[int | str],
    *,
    draws: int,
    seed: int = 0,
    allow_fewer: bool = False,
) -> list[list[Draw]]:
    """Make all draws from a set by a protocol.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    protocol (str): One of `PROTOCOLS`.
    k (Sequence[int | str]): Numbers, or "all" for the whole set, once.
    draws (int): Draws of each number.
    seed (int): Of the first draw; draw d has seed + d.
    allow_fewer (bool): As the protocol has it.
    RETURNS (list[list[Draw]]): The draws of each k.
    RAISES (NunerError): N617 and what the protocol raises.
    """
    draw = find_protocol(protocol)
    groups = [
        [draw(docs, n, seed=seed + d, allow_fewer=allow_fewer) for d in range(draws)]
        for n in sorted({n for n in k if not isinstance(n, str)})
    ]
    if ALL in k:
        groups.append([replace(take_all(docs), protocol=protocol)])
    return groups


def count_mentions(doc: Doc) -> Counter[str]:
    """RETURNS (Counter[str]): Label -> entities of a Doc."""
    return Counter(ent.label_ for ent in doc.ents)


def count_words(doc: Doc) -> Counter[str]:
    """RETURNS (Counter[str]): Label -> words in entities of a Doc."""
    return Counter(token.ent_type_ for token in doc if token.ent_type_)


def _count(
    docs: Sequence[Doc], count: Callable[[Doc], Counter[str]]
) -> list[Counter[str]]:
    counts = [count(doc) for doc in docs]
    if not any(counts):
        raise NunerError(Errors.N614, count=len(docs))
    return counts


def _draw_by_turns(
    counts: Sequence[Counter[str]], k: int, seed: int, unit: str, allow_fewer: bool
) -> set[int]:
    total = _check(counts, k, unit, allow_fewer)
    order = list(range(len(counts)))
    random.Random(seed).shuffle(order)
    return _take_by_turns(counts, order, total, k, limits=(2 * k, None))[0]


def _take_by_turns(
    counts: Sequence[Counter[str]],
    order: Sequence[int],
    total: Mapping[str, int],
    k: int,
    *,
    limits: Sequence[int | None],
) -> tuple[set[int], Counter[str]]:
    """Let labels take sentences until they have k, the rarest first; within one limit
    of all labels, then within the next.
    """
    drawn: set[int] = set()
    have: Counter[str] = Counter()
    for label in sorted(total, key=lambda name: (total[name], name)):
        for limit in limits:
            for i in order:
                if have[label] >= k:
                    break
                new = counts[i]
                if i in drawn or not new[label]:
                    continue
                if limit is None or all(have[x] + new[x] <= limit for x in new):
                    drawn.add(i)
                    have.update(new)
    return drawn, have


def _record(docs: Sequence[Doc], drawn: Iterable[int], **fields: Any) -> Draw:
    chosen = sorted(drawn)
    mentions, words = (
        sum((count(docs[i]) for i in chosen), Counter[str]())
        for count in (count_mentions, count_words)
    )
    return Draw(
        docs=chosen,
        mentions=dict(sorted(mentions.items())),
        words=dict(sorted(words.items())),
        **fields,
    )


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


def _check(
    counts: Sequence[Counter[str]], k: int, unit: str, allow_fewer: bool
) -> Counter[str]:
    """Count what there is of each label, and see that it is enough."""
    if k < 1:
        raise NunerError(Errors.N612, k=k)
    total = sum(counts, Counter[str]())
    short = [f"{label} has {n}" for label, n in sorted(total.items()) if n < k]
    if short:
        found = ", ".join(short)
        if not allow_fewer:
            raise NunerError(Errors.N611, k=k, unit=unit, found=found)
        warnings.warn(Warnings.W603.format(k=k, unit=unit, found=found), stacklevel=4)
    return total
