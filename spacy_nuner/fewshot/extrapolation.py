"""What more labels would bring: a cross-validated learning curve, carried on."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .entity_counts import get_f

if TYPE_CHECKING:
    from .cross_validation import Validated

Doubles = NDArray[np.float64]

# Share of new draws whose F1 is to lie inside an interval.
LEVEL = 0.9
SAMPLES = 1000

# What is known before anything is measured, in logits of entity F1.
#
# What twice as many texts add: mean and standard deviation over data sets.
SLOPE, SLOPE_SPREAD = 0.35, 0.2
# By how much that changes with each further doubling, as a standard deviation.
BEND = 0.08
# Standard deviation of a probe over draws with one entity; with n of them it is the
# square root of n smaller.
DRAW_SPREAD = 1.2


# Under what is drawn by a Gamma distribution.
TINY = 1e-12


class Interval(NamedTuple):
    """An expected value from 0 to 1, or a difference, and where `LEVEL` of them lie."""

    value: float
    low: float
    high: float

    @classmethod
    def from_samples(cls, samples: Doubles) -> Self:
        """RETURNS (Interval): Median and quantiles. samples: *Shape:* (samples,)"""
        tail = (1 - LEVEL) / 2
        low, value, high = np.quantile(samples, [tail, 0.5, 1 - tail]).tolist()
        return cls(value, low, high)


class LearningCurve:
    """Entity F1 over the number of texts that were learned from.

    The logit of F1 is a straight line over the logarithm of the number of texts: two
    parameters, and F1 stays between 0 and 1. Their uncertainty is that of a bootstrap
    over the groups of texts, which are what was measured on, and over the repeats. The
    slope of a few texts says little, so it is drawn towards `SLOPE` by as much as it is
    uncertain. An interval is one for another draw of so many texts of the same source:
    it holds the luck of the texts at hand, that of the new ones, and that the line may
    bend.
    """

    def __init__(self, validated: "Validated", *, seed: int = 0) -> None:
        """validated (Validated): What was predicted with each number of texts.

        seed (int): Of the bootstrap. Curves of one set with the same seed have the same
            samples, so that they can be compared.
        """
        counts = validated.entities.astype("f8")
        repeats, _, docs, _ = counts.shape
        self.sizes = validated.sizes
        self.texts = docs
        # *Shape:* (sizes,)
        self.scores = get_f(counts.sum(axis=(0, 2)))
        # Entities of a text.
        self._density = counts[0, 0, :, 2].sum() / docs
        rng = np.random.default_rng(seed)
        weights = _draw_texts(validated.groups, rng)
        shares = rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=SAMPLES)
        # First the repeats, then the texts. A repeat has the same entities once more,
        # which makes nothing surer: their mean counts. *Shape:* (samples, sizes, 3)
        flat = counts.transpose(2, 0, 1, 3).reshape(docs, -1)
        summed = (weights @ flat).reshape(SAMPLES, repeats, -1, 3)
        sampled = (summed * shares[:, :, None, None]).sum(axis=1) / repeats
        #: *Shape:* (samples, sizes)
        self._sampled = get_f(sampled)
        self._level, self._slope = self._fit(sample_logits(sampled, rng), rng)
        self._noise = rng.normal(size=(4, SAMPLES))

    def _fit(
        self, logits: Doubles, rng: np.random.Generator
    ) -> tuple[Doubles, Doubles]:
        """Fit a line to each sample. *Shape:* (samples,) each

        Its level is that at the largest share that was learned from, as measured there:
        few texts may be off the line.
        """
        steps = np.log2(np.asarray(self.sizes, dtype="f8") / self.sizes[-1])
        if len(steps) == 1:
            slope = SLOPE + SLOPE_SPREAD * rng.normal(size=len(logits))
            return logits[:, 0], slope
        centred = steps - steps.mean()
        measured = (logits @ centred) / (centred @ centred)
        # Of the mean of the two, weighted by their certainty.
        trust = SLOPE_SPREAD**2 / (SLOPE_SPREAD**2 + measured.var())
        rest = measured.std() * np.sqrt(trust * (1 - trust))
        slope = SLOPE + trust * (measured - SLOPE) + rest * rng.normal(size=len(logits))
        return logits[:, -1], slope

    def predict(self, texts: int) -> Interval:
        """Say which F1 to expect.

        texts (int): Labelled texts to learn from.
        RETURNS (Interval): Entity F1 from 0 to 1.
        """
        return Interval.from_samples(_sigmoid(self._get_samples(texts)))

    def gain(self, texts: int) -> Interval:
        """Say what more texts than there are would bring.

        texts (int): Labelled texts to learn from.
        RETURNS (Interval): What is added to the F1 of the texts at hand.
        """
        more, now = self._get_samples(texts), self._get_samples(self.texts)
        return Interval.from_samples(_sigmoid(more) - _sigmoid(now))

    def compare(self, other: "LearningCurve") -> Interval:
        """Compare with another encoder on the same texts, as far as was measured.

        The interval is one for other texts to find entities in; what is learned from
        stays the same.

        other (LearningCurve): The other's curve, with the same seed.
        RETURNS (Interval): By how much the F1 of this one is higher.
        """
        return Interval.from_samples(self._sampled[:, -1] - other._sampled[:, -1])

    def _get_samples(self, texts: int) -> Doubles:
        """Logits of F1 with so many texts. *Shape:* (samples,)"""
        steps = np.log2(texts / self.sizes[-1])
        mine, new, bend, more = self._noise
        entities = max(self._density, 0.5)
        # What is labelled stays when more comes, with its share of the luck.
        kept = min(texts, self.texts)
        added = texts - kept
        luck = (new * np.sqrt(kept) + more * np.sqrt(added)) / texts
        return (
            self._level
            + self._slope * steps
            + bend * BEND * abs(steps)
            + mine * DRAW_SPREAD / np.sqrt(entities * self.texts)
            + luck * DRAW_SPREAD / np.sqrt(entities)
        )


def sample_counts(counts: NDArray[np.int64], groups: Any, *, seed: int = 0) -> Doubles:
    """Entities of a bootstrap over the groups of texts.

    counts (Ints): Entities that are right, predicted and gold. *Shape:* (docs, 3)
    groups (Ints): Number of the group of each Doc. *Shape:* (docs,)
    seed (int): With the same one two predictions of a set can be compared.
    RETURNS (Doubles): The same of each sample. *Shape:* (samples, 3)
    """
    weights = _draw_texts(groups, np.random.default_rng(seed))
    return np.asarray(weights @ counts, dtype="f8")


def add_luck(samples: Doubles, entities: float, *, seed: int = 0) -> Doubles:
    """Add the luck of the texts that were learned from, and that of other ones.

    A head is held to have as much of it as a probe.

    samples (Doubles): Entities with these texts, of `sample_counts`.
        *Shape:* (samples, 3)
    entities (float): How many there were to learn from.
    seed (int): Another seed, other luck.
    RETURNS (Doubles): Entity F1 with another draw of as many texts. *Shape:* (samples,)
    """
    rng = np.random.default_rng([seed, 1])
    luck = rng.normal(size=(2, len(samples))).sum(axis=0)
    luck *= DRAW_SPREAD / np.sqrt(max(entities, 1))
    return np.asarray(_sigmoid(sample_logits(samples, rng) + luck))


def _draw_texts(groups: Any, rng: np.random.Generator) -> Any:
    """How often each Doc is in a sample. *Shape:* (samples, docs)"""
    n_groups = int(groups.max()) + 1
    even = np.full(n_groups, 1 / n_groups)
    return rng.multinomial(n_groups, even, size=SAMPLES)[:, groups]


def sample_logits(counts: Doubles, rng: np.random.Generator) -> Doubles:
    """Logits of the F1 that may be behind such counts.

    Where all or nothing was right, that may have been so by chance, and more so of few
    entities; so what is right and what is not are drawn anew, by Gamma distributions.
    Before anything is seen most is held to be missed.

    counts (Doubles): Entities that are right, predicted and gold. *Shape:* (..., 3)
    rng (Generator): Draws them.
    RETURNS (Doubles): *Shape:* (...)
    """
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    failures = (predicted + gold) / 2 - right
    found = np.log(np.maximum(rng.gamma(right + 0.25), TINY))
    failed = np.log(np.maximum(rng.gamma(failures + 0.5), TINY))
    return np.asarray(found - failed)


def _sigmoid(logits: Doubles) -> Any:
    return 1 / (1 + np.exp(-logits))
