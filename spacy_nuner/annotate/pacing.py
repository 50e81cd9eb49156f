"""Rates, slots and pauses: how fast one server is asked."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import mktime_tz, parsedate_tz

# What is due within these seconds may go at once: a late timer costs no capacity.
BURST = 0.25
# Many requests get the same overload at the same time; it counts once. In seconds.
SHRINK_EVERY = 1.0
SHRINK_BY = 0.8
# A rate is the user's, so it falls less and recovers by 2% a second.
SLOW_BY = 0.95
RECOVER_BY = 1.02
# Statuses by which servers say that there are too many requests.
OVERLOAD = frozenset({429, 503, 529})
# The openai client waits no longer than these seconds for a server; neither do we.
LONGEST_PAUSE = 120.0
# Whoever asks to wait for years has lost the clock, and is not believed.
YEAR = 365 * 86400.0


class Rate:
    """A limit a minute, first come, first served.

    Unlike in a token bucket, an amount may be larger than the burst, and may be
    corrected when the true one is known.
    """

    def __init__(
        self, per_minute: float | None, stopped: asyncio.Event | None = None
    ) -> None:
        """per_minute (float | None): The limit, None for none.

        stopped (asyncio.Event | None): Once it is set nobody waits any more.
        """
        self._stopped = stopped or asyncio.Event()
        self._seconds = 60 / per_minute if per_minute else 0.0
        # The share of the limit since an overload, and when it was computed last.
        self._share = 1.0
        self._updated = time.monotonic()
        self._next = 0.0

    async def take(self, amount: float = 1.0) -> None:
        """Wait until an amount is within the limit.

        amount (float): Requests or tokens.
        """
        now = time.monotonic()
        self._recover(now)
        turn = max(self._next, now - BURST)
        self._next = turn
        self.correct(amount)
        if turn > now:
            await _wait(turn - now, self._stopped)

    def correct(self, amount: float) -> None:
        """Correct what was taken.

        amount (float): How much more (or less, if negative) it was.
        """
        self._next += amount * self._seconds / self._share

    def shrink(self) -> None:
        """Lower the limit after an overload; it recovers with time."""
        self._recover(time.monotonic())
        self._share *= SLOW_BY

    def _recover(self, now: float) -> None:
        # A larger power than is ever needed would overflow.
        passed = min(now - self._updated, 1000.0)
        self._share = min(1.0, self._share * RECOVER_BY**passed)
        self._updated = now


async def _wait(seconds: float, stopped: asyncio.Event) -> None:
    """Sleep, but no longer than until the run is stopped."""
    ways = [asyncio.ensure_future(x) for x in (asyncio.sleep(seconds), stopped.wait())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()


class Pace:
    """The limits of concurrency, of requests and of tokens a minute.

    Concurrency falls by a fifth at an overload and rises by one for every round of good
    answers (additive increase, multiplicative decrease).

    most (int): The highest concurrency, and the one at the start.
    limit (float): The concurrency now.
    tokens (Rate): Tokens a minute.
    stopped (asyncio.Event): Set when nothing more is sent: nobody waits for its turn.
    """

    def __init__(
        self, concurrency: int, *, rpm: float | None = None, tpm: float | None = None
    ) -> None:
        """Start at full speed; see `Connection` for the arguments."""
        self.most = concurrency
        self.limit = float(concurrency)
        self.stopped = asyncio.Event()
        self.tokens = Rate(tpm, self.stopped)
        self._requests = Rate(rpm, self.stopped)
        self._under_way = 0
        self._changed = asyncio.Condition()
        self._shrunk = -SHRINK_EVERY
        self._resume = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until one more request may be under way, which lasts for the block."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < int(self.limit))
            self._under_way += 1
        try:
            yield
        finally:
            async with self._changed:
                self._under_way -= 1
                # One for this slot, and one because the limit may have grown.
                self._changed.notify(2)

    async def before_request(self) -> None:
        """Wait until the next request may go out."""
        while (pause := self._resume - time.monotonic()) > 0:
            if self.stopped.is_set():
                return
            await _wait(pause, self.stopped)
        await self._requests.take()

    def after_response(self, status: int, retry_after: float | None) -> None:
        """Adapt to a response.

        status (int): Its HTTP status.
        retry_after (float | None): Seconds that the server asks to wait; all requests
            wait then.
        """
        now = time.monotonic()
        if status == 200:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
        elif status in OVERLOAD:
            if now - self._shrunk >= SHRINK_EVERY:
                self._shrunk = now
                self.limit = max(1.0, self.limit * SHRINK_BY)
                self.tokens.shrink()
                self._requests.shrink()
            if retry_after is not None:
                self._resume = max(self._resume, now + retry_after)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks to wait.

    headers (Mapping[str, str]): The headers of its response.
    RETURNS (float | None): Seconds from now, None if it does not ask.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _seconds_until(value)
        if math.isfinite(seconds) and seconds < YEAR:
            return max(0.0, seconds)
    return None


def _seconds_until(date: str) -> float:
    try:
        parsed = parsedate_tz(date)
        return mktime_tz(parsed) - time.time() if parsed else math.nan
    except (ValueError, TypeError, OverflowError, IndexError):
        # The year 99999, the 99th of a month.
        return math.nan
