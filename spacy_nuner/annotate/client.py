"""The client of one OpenAI-compatible server: rates, concurrency, errors."""

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import Errors, NunerError
from ..masking import MASK, hide, mask, mask_url
from ..readers.answers import Answer, read_completion
from .accounting import Report

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
# Most local servers need no key, but the client always sends one.
NO_KEY = "none"
CHAT_PATH = "/chat/completions"
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
_TODO = {
    401: f"Check {KEY_VARIABLE} and --base-url.",
    403: "Check what this key may do.",
    404: "Check --model and --base-url.",
}


@dataclass(frozen=True)
class Connection:
    """A server and the limits of its use.

    base_url (str): Its address up to `/v1`.
    concurrency (int): Most requests at once.
    rpm (float | None): Most requests a minute, repeated ones counted.
    tpm (float | None): Most tokens a minute.
    timeout (float): Seconds to wait for a response.
    retries (int): How often a request that failed is sent again.
    """

    base_url: str = OPENAI_URL
    concurrency: int = 32
    rpm: float | None = None
    tpm: float | None = None
    timeout: float = 120.0
    retries: int = 6


class Rate:
    """A limit a minute, first come, first served.

    Unlike in a token bucket, an amount may be larger than the burst, and may be
    corrected when the true one is known.
    """

    def __init__(self, per_minute: float | None) -> None:
        """per_minute (float | None): The limit, None for none."""
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
            await asyncio.sleep(turn - now)

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


class Pace:
    """The limits of concurrency, of requests and of tokens a minute.

    Concurrency falls by a fifth at an overload and rises by one for every round of good
    answers (additive increase, multiplicative decrease).

    most (int): The highest concurrency, and the one at the start.
    limit (float): The concurrency now.
    tokens (Rate): Tokens a minute.
    """

    def __init__(
        self, concurrency: int, *, rpm: float | None = None, tpm: float | None = None
    ) -> None:
        """Start at full speed; see `Connection` for the arguments."""
        self.most = concurrency
        self.limit = float(concurrency)
        self.tokens = Rate(tpm)
        self._requests = Rate(rpm)
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
            await asyncio.sleep(pause)
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


class Failure(NamedTuple):
    """A request that got no answer in spite of the retries.

    kind (str): "timeout", "connection", "malformed" or "http 500" and so on.
    reason (str): The message of the server or the library, without the key.
    todo (str): What to do, where every other request would fail too; else empty.
    """

    kind: str
    reason: str
    todo: str = ""


class Endpoint:
    """A server that answers `/v1/chat/completions`.

    base_url (str): Its address.
    pace (Pace): The limits of all requests, retries included.
    client (AsyncOpenAI): The client, for files and batches; use the endpoint inside
        of `async with endpoint.client`, which closes the connections.
    """

    def __init__(
        self, connection: Connection, report: Report, *, needs_key: bool = True
    ) -> None:
        """Make the client; nothing is sent.

        connection (Connection): The server.
        report (Report): Counts requests and statuses.
        needs_key (bool): Whether OpenAI's server needs a key; not for a dry run.
        RAISES (NunerError): N006 without the packages `openai` and `aiohttp`, N050 or
            N205 without a key that can be sent, N052 with a password in the address.
        """
        try:
            import aiohttp  # noqa: F401
            import openai
        except ImportError as error:
            package = f"the package '{error.name}'"
            raise NunerError(Errors.N006, package=package, extra="annotate") from error
        self.base_url = connection.base_url
        # From here on no text shows what is secret in it.
        shown = mask_url(self.base_url)
        if "@" in urlsplit(self.base_url).netloc:
            raise NunerError(Errors.N052, base_url=shown, variable=KEY_VARIABLE)
        self._key = _read_key()
        hide(self._key)
        if needs_key and not self._key and is_openai(self.base_url):
            raise NunerError(Errors.N205, base_url=shown)
        self.pace = Pace(connection.concurrency, rpm=connection.rpm, tpm=connection.tpm)
        self._report = report
        # Hooks are called for retries too.
        hooks: dict[str, list[Any]] = {
            "request": [self._before],
            "response": [self._after],
        }
        self.client = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=self.base_url,
            max_retries=connection.retries,
            timeout=connection.timeout,
            # A request takes half the CPU time with aiohttp: httpx searches a list of
            # all connections for each.
            http_client=openai.DefaultAioHttpClient(event_hooks=hooks),
        )

    async def ask(self, body: dict[str, Any]) -> Answer | Failure:
        """Send a request until it is answered or the retries are used up.

        body (dict[str, Any]): The JSON of the request.
        RETURNS (Answer | Failure): The answer, or why there is none.
        """
        import httpx2
        import openai

        try:
            # `chat.completions.create` makes models of arguments and result, which
            # doubles the CPU time of a request.
            response = await self.client.post(
                CHAT_PATH, body=body, cast_to=httpx2.Response
            )
            return read_completion(
                json.loads(response.content), latency=response.elapsed.total_seconds()
            )
        except openai.OpenAIError as error:
            return self.explain(error)

    async def count_tokens(self, model: str, text: str) -> int | None:
        """Count tokens with the server's `/tokenize` (vLLM, llama.cpp).

        model (str): The model.
        text (str): The text.
        RETURNS (int | None): The number of tokens, None if the server has none.
        """
        import httpx2
        import openai

        root = self.base_url.rstrip("/").removesuffix("/v1")
        # vLLM reads `prompt`, llama.cpp `content`.
        body = {"model": model, "prompt": text, "content": text}
        quick = self.client.with_options(max_retries=0, timeout=10.0)
        try:
            response = await quick.post(
                f"{root}/tokenize", body=body, cast_to=httpx2.Response
            )
            data = json.loads(response.content)
            return int(data["count"] if "count" in data else len(data["tokens"]))
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def explain(self, error: "openai.OpenAIError") -> Failure:
        """Find out why a request failed.

        error (OpenAIError): What the client raised.
        RETURNS (Failure): The reason.
        """
        import httpx2
        import openai

        if isinstance(error, openai.APIStatusError):
            return self._explain_status(error)
        cause = error.__cause__ or error
        kind = "connection"
        if isinstance(cause, httpx2.DecodingError):
            kind = "malformed"
        elif isinstance(error, openai.APITimeoutError) and not isinstance(
            cause, httpx2.ConnectTimeout
        ):
            return Failure("timeout", "no response in time")
        reason = str(cause) or type(cause).__name__
        return Failure(kind, self.redact(reason))

    def _explain_status(self, error: "openai.APIStatusError") -> Failure:
        status = error.status_code
        todo = _TODO.get(status, "")
        wait = retry_after(error.response.headers)
        if error.code == "insufficient_quota":
            todo = "The account has no money left: add some."
        elif wait is not None and wait > LONGEST_PAUSE:
            todo = f"It asks to wait {wait:.0f} seconds: come back then."
        reason = self.redact(f"{status}, {_message(error)}")[:500]
        return Failure(f"http {status}", reason, todo)

    def refusal(self, failure: Failure) -> NunerError:
        """Make the error of a server that can't be used.

        failure (Failure): The last failure.
        RETURNS (NunerError): N206.
        """
        todo = failure.todo or "Run the same command again to go on."
        reason = failure.reason.rstrip(".")
        url = mask_url(self.base_url)
        return NunerError(Errors.N206, base_url=url, reason=reason, todo=todo)

    def redact(self, text: str) -> str:
        """Remove the key from a text, whole or in pieces; see `masking.mask`.

        text (str): Any text, such as a message of the server.
        RETURNS (str): The text without the key.
        """
        # Also one that is too short to be a secret.
        return mask(text.replace(self._key, MASK) if self._key else text)

    async def _before(self, request: Any) -> None:
        await self.pace.before_request()
        self._report.requests += request.url.path.endswith(CHAT_PATH)

    async def _after(self, response: Any) -> None:
        if not response.request.url.path.endswith(CHAT_PATH):
            return
        status = response.status_code
        self._report.statuses[status] += 1
        wait = retry_after(response.headers)
        if wait is not None and wait > LONGEST_PAUSE:
            wait = None
        self.pace.after_response(status, wait)
        if status != 200:
            return
        import httpx2

        try:
            read_completion(json.loads(await response.aread()))
        except ValueError as error:
            # A response that is cut short or no JSON is retried: the client retries
            # what its HTTP library could not decode.
            message = f"no chat completion: {error}"
            raise httpx2.DecodingError(message, request=response.request) from error


def _read_key() -> str:
    """The key, without the blanks that come with it when it is copied."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not (key.isascii() and key.isprintable()) or " " in key:
        # Not what it is: the error is printed.
        found = "a blank or a line break" if key.isascii() else "a letter beyond ASCII"
        raise NunerError(Errors.N050, variable=KEY_VARIABLE, found=found)
    return key


def _message(error: "openai.APIStatusError") -> str:
    """The message in the JSON of an error, which some versions of openai unpack."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    return error.message


def is_openai(base_url: str) -> bool:
    """Check whether an address is OpenAI's own server.

    base_url (str): The address.
    RETURNS (bool): Whether it is.
    """
    return urlsplit(base_url).hostname == urlsplit(OPENAI_URL).hostname


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
            date = parsedate_tz(value)
            if date is None:
                continue
            seconds = mktime_tz(date) - time.time()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
