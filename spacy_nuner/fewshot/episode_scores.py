"""Scores of episodes: counts of all of them, F1 and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .entity_counts import Counts, Ints, get_f

RESAMPLES = 2000
# Of each 100 intervals 95 hold the value of endlessly many episodes.
PERCENTILES = (2.5, 97.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EpisodeScore:
    """What was found in one episode; `dataclasses.asdict` makes it JSON.

    seed (int): The seed of the episode, or its line in a file of episodes.
    support, query (int): Sentences of the two sets.
    counts (dict[str, Counts]): Type -> entities that are right, predicted and gold.
    spans (Counts): The same of spans, whatever their type, before any is dropped.
    steps (tuple[int, int]): Steps of adapting to spans and to types.
    seconds (float): How long it took.
    """

    seed: int
    support: int
    query: int
    counts: dict[str, Counts]
    spans: Counts
    steps: tuple[int, int]
    seconds: float


def score_episodes(episodes: Sequence[EpisodeScore]) -> dict[str, Any]:
    """Sum up episodes.

    episodes (Sequence[EpisodeScore]): At least one.
    RETURNS (dict[str, Any]): "ents_p", "ents_r" and "ents_f" over the counts of all
        episodes, "ents_f_interval", "ents_per_type" with "p", "r" and "f" as
        `spacy evaluate` has them, and "spans_f". From 0 to 1.
    """
    counts = sum_counts(episodes)
    right, predicted, gold = counts.sum(axis=0).tolist()
    types: dict[str, Ints] = {}
    for one in episodes:
        for name, found in one.counts.items():
            types[name] = types.get(name, np.zeros(3, "i8")) + np.asarray(found)
    return {
        **_get_prf((right, predicted, gold), "ents_"),
        "ents_f_interval": get_interval(get_f(_resample(counts))),
        "ents_per_type": {
            name: _get_prf(tuple(found.tolist()), "")
            for name, found in sorted(types.items())
        },
        "spans_f": float(
            get_f(np.asarray([one.spans for one in episodes]).sum(axis=0))
        ),
    }


def compare_episodes(
    episodes: Sequence[EpisodeScore], base: Sequence[EpisodeScore]
) -> tuple[float, list[float]] | None:
    """Compare two models on the episodes that both saw.

    episodes (Sequence[EpisodeScore]): Of one.
    base (Sequence[EpisodeScore]): Of the other.
    RETURNS (tuple[float, list[float]] | None): By how much the F1 of the first is
        higher, and the interval of that: each resample has the same episodes of both.
        None if they have no episode in common.
    """
    of_base = {one.seed: one for one in base}
    pairs = [(one, of_base[one.seed]) for one in episodes if one.seed in of_base]
    if not pairs:
        return None
    own, other = (sum_counts(side) for side in zip(*pairs, strict=True))
    gain = float(get_f(own.sum(axis=0)) - get_f(other.sum(axis=0)))
    return gain, get_interval(get_f(_resample(own)) - get_f(_resample(other)))


def sum_counts(episodes: Sequence[EpisodeScore]) -> Ints:
    """RETURNS (Ints): Counts of each episode. *Shape:* (n_episodes, 3)"""
    return np.asarray(
        [np.sum(list(one.counts.values()), axis=0) for one in episodes], dtype="i8"
    )


def get_interval(values: Floats) -> list[float]:
    """RETURNS (list[float]): Lower and upper end. *Shape of values:* (n_resamples,)"""
    low, high = np.percentile(values, PERCENTILES).tolist()
    return [low, high]


def _resample(counts: Ints) -> Ints:
    """Sums over as many episodes, drawn with replacement. *Shape:* (RESAMPLES, 3)"""
    rng = np.random.default_rng(0)
    n = len(counts)
    # How often each episode is drawn: as good as a list of them, and one product.
    times = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return times @ counts


def _get_prf(counts: Sequence[int], prefix: str) -> dict[str, float]:
    right, predicted, gold = counts
    return {
        f"{prefix}p": right / predicted if predicted else 0.0,
        f"{prefix}r": right / gold if gold else 0.0,
        f"{prefix}f": float(get_f(counts)),
    }
