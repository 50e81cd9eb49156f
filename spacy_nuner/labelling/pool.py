"""The candidates that are kept of a stream, as many as memory is meant to hold."""

import hashlib
import heapq
from typing import Generic, Protocol, TypeVar

from .choice import normalise_text

# Of the candidates that are kept so many are a uniform sample, which shows what is
# typical; the others are for what is rare.
SAMPLED = 0.5


class Named(Protocol):
    """Whatever has a text."""

    @property
    def text(self) -> str:
        """RETURNS (str): The text."""
        ...


T = TypeVar("T", bound=Named)


class Pool(Generic[T]):
    """Keeps the most promising candidates of a stream, and a uniform sample of it.

    What is kept does not depend on the order of the stream. Of texts that differ in
    case, punctuation, blanks and numbers alone the most promising is kept; where two
    are worth the same, that which is first by its characters.
    """

    def __init__(self, size: int, *, seed: int = 0, sampled: float = SAMPLED) -> None:
        """Start empty.

        size (int): How many candidates are kept.
        seed (int): Another seed, another sample.
        sampled (float): Which share of them is the sample.
        """
        self._salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        n_sampled = min(size, round(size * sampled))
        self._sample = _Best[T](n_sampled)
        self._best = _Best[T](size - n_sampled)

    def __len__(self) -> int:
        return len(self._best.kept) + len(self._sample.kept)

    @property
    def n_sampled(self) -> int:
        """RETURNS (int): How many of the candidates, the first ones, are the sample."""
        return len(self._sample.kept)

    def offer(self, candidate: T, promise: float) -> None:
        """Keep a candidate if it is of the sample, or among the best of the others.

        candidate (T): The candidate.
        promise (float): What it is worth by itself.
        """
        name = normalise_text(candidate.text) or candidate.text
        digest = hashlib.blake2b(name.encode(), digest_size=8, salt=self._salt).digest()
        rank = int.from_bytes(digest, "big")
        lost = self._sample.offer(rank, -rank, promise, candidate)
        if lost is not None:
            rank, promise, candidate = lost
            self._best.offer(rank, promise, promise, candidate)

    def get_candidates(self) -> list[T]:
        """RETURNS (list): The candidates, the sample first, in an order that only they
        and the seed decide."""
        parts = (self._sample.kept, self._best.kept)
        return [kept[rank][2] for kept in parts for rank in sorted(kept)]


class _Best(Generic[T]):
    """The candidates of the highest values, each name once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[int, tuple[float, float, T]] = {}
        self._heap: list[tuple[float, int]] = []

    def offer(
        self, rank: int, value: float, promise: float, candidate: T
    ) -> tuple[int, float, T] | None:
        """RETURNS (tuple | None): Rank, promise and candidate that have no room."""
        item, lost = (value, -rank), None
        if rank in self.kept:
            old, best, other = self.kept[rank]
            if promise < best or (promise == best and candidate.text >= other.text):
                return None
            if value != old:
                self._heap[self._heap.index((old, -rank))] = item
                heapq.heapify(self._heap)
        elif len(self._heap) < self.size:
            heapq.heappush(self._heap, item)
        elif self.size and item > self._heap[0]:
            gone = -heapq.heapreplace(self._heap, item)[1]
            lost = (gone, *self.kept.pop(gone)[1:])
        else:
            return (rank, promise, candidate)
        self.kept[rank] = (value, promise, candidate)
        return lost
