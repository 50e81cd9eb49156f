"""How sentences are chosen."""

from enum import StrEnum
from typing import NamedTuple


class Strategy(StrEnum):
    """How sentences are chosen."""

    spans = "spans"
    balance = "balance"
    uncertainty = "uncertainty"
    random = "random"


class Weights(NamedTuple):
    """What a possible span of probability p is worth.

    It is worth `uncertainty` x min(p, 1 - p) + `presence` x p, divided by
    (1 + mentions of its label) ** `balance`, times how far it lies from what is
    labelled or chosen, if `novelty`.
    """

    uncertainty: float
    presence: float
    balance: float
    novelty: bool


# All but "random". docs/decisions.md has the reasons; none was measured yet.
STRATEGIES = {
    Strategy.spans: Weights(2.0, 1.0, 0.5, True),
    Strategy.balance: Weights(2.0, 1.0, 0.5, False),
    Strategy.uncertainty: Weights(1.0, 0.0, 0.0, False),
}
