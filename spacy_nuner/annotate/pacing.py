"""How fast to ask: requests and tokens a minute, and how many requests at once."""

import asyncio
import time
from collections import deque
from types import TracebackType

# A quarter of a second's worth may go at once, so that a late timer loses no capacity.
BURST = 0.25
# Many requests hear of one overload at the same time; it counts once.
SHRINK_EVERY = 1.0
SHRINK_BY = 0.8
# A rate is what was told, so it gives way less, and is back after some three seconds.
SLOW_BY = 0.95
RECOVER_BY = 1.02
# Statuses by which servers say that there are too many requests.
OVERLOAD = frozenset({429, 503, 529})


class Rate:
    """Spaces amounts out so that no more than so many a minute are taken.

    First come, first served. Other than in a bucket of tokens, an amount may be larger
    than what goes at once, and may be corrected when the true one is known.
    """

    def __init__(self, per_minute: float) -> None:
        """per_minute (float): The limit."""
        self._seconds = 60 / per_minute
        # Of the limit, since an overload; and when that was looked at last.
        self._share = 1.0
        self._seen = 0.0
        self._next = 0.0

    async def take(self, amount: float = 1.0) -> None:
        """Wait for the turn. amount (float): How much of the limit it takes."""
        now = time.monotonic()
        self._recover(now)
        turn = max(self._next, now - BURST)
        self._next = turn + amount * self._seconds / self._share
        if turn > now:
            await asyncio.sleep(turn - now)

    def correct(self, amount: float) -> None:
        """amount (float): How much more (or less, if negative) was taken in truth."""
        self._next += amount * self._seconds / self._share

    def shrink(self) -> None:
        """Take an overload into account: the limit is higher than what is allowed."""
        self._recover(time.monotonic())
        self._share *= SLOW_BY

    def _recover(self, now: float) -> None:
        passed, self._seen = now - self._seen, now
        if self._share < 1:
            self._share = min(1.0, self._share * RECOVER_BY**passed)


class Slots:
    """How many requests are under way at once: fewer after an overload, then more.

    The limit falls by a fifth at an overload and rises by one for every round of good
    answers (additive increase, multiplicative decrease).
    """

    def __init__(self, most: int) -> None:
        """most (int): The highest limit, and the one at the start."""
        self.most = most
        self.limit = float(most)
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while self._used >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._used += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._used -= 1
        self._wake()

    def shrink(self) -> None:
        """Take an overload into account."""
        self.limit = max(1.0, self.limit * SHRINK_BY)

    def grow(self) -> None:
        """Take a good answer into account."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._wake()

    def _wake(self) -> None:
        free = int(self.limit) - self._used
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


class Pace:
    """Everything that holds requests back.

    slots (Slots): How many are under way at once.
    tokens (Rate | None): Tokens a minute, None for no limit.
    """

    def __init__(
        self, concurrency: int, *, rpm: float | None = None, tpm: float | None = None
    ) -> None:
        """concurrency (int): Most requests at once.
        rpm (float | None): Most requests a minute, repeated ones counted.
        tpm (float | None): Most tokens a minute.
        """
        self.slots = Slots(concurrency)
        self.tokens = Rate(tpm) if tpm else None
        self._requests = Rate(rpm) if rpm else None
        rates = [rate for rate in (self.tokens, self._requests) if rate is not None]
        self._adapting: list[Slots | Rate] = [self.slots, *rates]
        self._shrunk = -SHRINK_EVERY
        self._resume = 0.0

    async def before_request(self) -> None:
        """Wait until the next request may go out."""
        while (pause := self._resume - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._requests is not None:
            await self._requests.take()

    def after_response(self, status: int, retry_after: float | None) -> None:
        """Learn from a response.

        status (int): Its HTTP status.
        retry_after (float | None): Seconds that the server asks to wait. All requests
            wait then, not only the one that was told.
        """
        if status in OVERLOAD:
            self._shrink()
            if retry_after is not None:
                self._resume = max(self._resume, time.monotonic() + retry_after)
        elif status == 200:
            self.slots.grow()

    def _shrink(self) -> None:
        now = time.monotonic()
        if now - self._shrunk >= SHRINK_EVERY:
            self._shrunk = now
            for one in self._adapting:
                one.shrink()
