"""How sentences are chosen."""

from enum import StrEnum
from typing import NamedTuple


class Strategy(StrEnum):
    """How sentences are chosen."""

    cover = "cover"
    uncertainty = "uncertainty"
    random = "random"


class Weights(NamedTuple):
    """What a possible span of probability p is worth.

    It is worth `uncertainty` x min(p, 1 - p) + `presence` x p, divided by
    (1 + labelled mentions of its label) ** `balance`. A sentence is worth the sum over
    its spans or, if `coverage`, over all spans that are like them.
    """

    uncertainty: float
    presence: float
    balance: float
    coverage: bool


# All but "random". docs/decisions.md has the reasons, docs/results.md the figures.
STRATEGIES = {
    Strategy.cover: Weights(2.0, 1.0, 0.5, True),
    Strategy.uncertainty: Weights(1.0, 0.0, 0.0, False),
}
