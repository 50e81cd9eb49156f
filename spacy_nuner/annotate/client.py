"""The client of one OpenAI-compatible server: rates, concurrency, errors."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import Errors, NunerError
from ..masking import MASK, hide, mask, mask_url
from ..readers.answers import Answer
from ..utf8 import replace_surrogates
from .accounting import Report
from .pacing import LONGEST_PAUSE, Pace, retry_after
from .responses import (
    LONGEST_MESSAGE,
    LONGEST_NAME,
    PATHS,
    STOPPED,
    Api,
    Failure,
    find_message,
    read_body,
    read_count,
    read_outcome,
)

if TYPE_CHECKING:
    import httpx2

OPENAI_URL = "https://api.openai.com/v1"
# What all programs on OpenAI's client read.
URL_VARIABLE = "OPENAI_BASE_URL"
KEY_VARIABLE = "OPENAI_API_KEY"
# Most local servers need no key, but the client always sends one.
NO_KEY = "none"
# Longest body of a response, unpacked, in bytes: ten times the longest answer of any
# model, and little enough for many at once.
LONGEST_BODY = 8_000_000
# The headers of a response that openai's client or we read. Others say how its bytes
# were packed and coded.
HEADERS = (
    "location",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
)
_ADVICE = {
    401: f"Check {KEY_VARIABLE} and --base-url.",
    403: "Check what this key may do.",
    404: "Check --model and --base-url.",
}


def default_url() -> str:
    """RETURNS (str): The address in OPENAI_BASE_URL, else that of OpenAI's server."""
    return os.environ.get(URL_VARIABLE, "").strip() or OPENAI_URL


@dataclass(frozen=True)
class Connection:
    """A server and the limits of its use.

    base_url (str): Its address up to `/v1`; that in OPENAI_BASE_URL if not given, else
        OpenAI's.
    concurrency (int): Most requests at once.
    rpm (float | None): Most requests a minute, repeated ones counted.
    tpm (float | None): Most tokens a minute.
    timeout (float): Seconds in which a response has to be there as a whole.
    retries (int): How often a request that failed is sent again.
    RAISES (NunerError): N221 if the address is none.
    """

    base_url: str = field(default_factory=default_url)
    concurrency: int = 32
    rpm: float | None = None
    tpm: float | None = None
    timeout: float = 120.0
    retries: int = 6

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname)
            # Raises where the port is no number.
            valid = valid and parts.port != 0 and self.base_url.isprintable()
            valid = valid and " " not in parts.netloc
        except ValueError:
            valid = False
        if not valid:
            shown = mask_url(self.base_url)
            raise NunerError(Errors.N221, base_url=shown, variable=URL_VARIABLE)


class Endpoint:
    """A server that answers as OpenAI's does.

    base_url (str): Its address.
    address (str): Its address as it may be shown and stored, without secrets.
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
            N205 without a key that can be sent, N052 with a password in the address,
            N221 if the address is none, N224 if proxies, certificates or headers in the
            environment can't be used.
        """
        try:
            import aiohttp  # noqa: F401
            import httpx2
            import openai
        except ImportError as error:
            package = f"the package '{error.name}'"
            raise NunerError(Errors.N006, package=package, extra="annotate") from error
        # From here on no text shows what is secret in it.
        self.address = mask_url(connection.base_url)
        # Azure's has its version as a parameter.
        url, _, query = connection.base_url.partition("#")[0].partition("?")
        self.base_url = url.strip()
        try:
            httpx2.URL(self.base_url)
        except httpx2.InvalidURL as error:
            # Which is stricter than `urlsplit`.
            found = {"base_url": self.address, "variable": URL_VARIABLE}
            raise NunerError(Errors.N221, **found) from error
        if "@" in urlsplit(self.base_url).netloc:
            url = self.address
            raise NunerError(Errors.N052, base_url=url, variable=KEY_VARIABLE)
        self._key = _read_key()
        hide(self._key)
        if needs_key and not self._key and is_openai(self.base_url):
            raise NunerError(Errors.N205, base_url=self.address)
        self.pace = Pace(connection.concurrency, rpm=connection.rpm, tpm=connection.tpm)
        self._timeout = connection.timeout
        self._report = report
        try:
            self.client = openai.AsyncOpenAI(
                api_key=self._key or NO_KEY,
                base_url=self.base_url,
                default_query=dict(parse_qsl(query)),
                max_retries=connection.retries,
                timeout=connection.timeout,
                http_client=self._make_http_client(),
            )
            _check_headers(self.client.default_headers)
        except (httpx2.InvalidURL, OSError, ValueError) as error:
            # What the client reads from the environment.
            raise NunerError(Errors.N224, reason=error) from error

    def _make_http_client(self) -> "httpx2.AsyncClient":
        """The client under openai's, whose retries come through here too."""
        import openai

        endpoint = self

        # A request takes half the CPU time with aiohttp: httpx searches a list of all
        # connections for each.
        class HttpClient(openai.DefaultAioHttpClient):
            async def send(
                self, request: "httpx2.Request", *, stream: bool = False, **_: Any
            ) -> "httpx2.Response":
                return await endpoint._send(super().send, request, stream=stream)

        # Cookies are aiohttp's: httpx fails at the next request after an odd one.
        return HttpClient(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])))

    async def ask(self, body: dict[str, Any], api: Api = "chat") -> Answer | Failure:
        """Send a request until it is answered or the retries are used up.

        body (dict[str, Any]): The JSON of the request.
        api (Api): What is asked.
        RETURNS (Answer | Failure): The answer, or why there is none.
        """
        import httpx2
        import openai

        try:
            # `chat.completions.create` makes models of arguments and result, which
            # doubles the CPU time of a request.
            response = await self.client.post(
                PATHS[api], body=body, cast_to=httpx2.Response
            )
        except openai.APIStatusError as error:
            response = error.response
        except openai.OpenAIError as error:
            return self.explain(error)
        return self.read(
            response.status_code,
            read_body(response.content),
            api=api,
            latency=response.elapsed.total_seconds(),
            headers=response.headers,
        )

    def read(
        self,
        status: int | None,
        data: Any,
        *,
        api: Api,
        latency: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer | Failure:
        """Turn a response into an answer or a failure.

        Secrets that a server repeats are masked in failures here, in answers where they
        are stored.

        status, data, api, latency: See `read_outcome`.
        headers (Mapping[str, str] | None): Its headers, which may name a time to wait
            or another address.
        RETURNS (Answer | Failure): The outcome.
        """
        outcome = read_outcome(status, data, api=api, latency=latency)
        if isinstance(outcome, Failure):
            return self._mask(outcome._replace(todo=_todo(status, data, headers or {})))
        return outcome

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
        except openai.OpenAIError:
            return None
        data = read_body(response.content)
        if not isinstance(data, dict):
            return None
        tokens = data.get("tokens")
        count = len(tokens) if isinstance(tokens, list) else None
        return read_count(data.get("count", count))

    def explain(self, error: Exception) -> Failure:
        """Find out why a request failed.

        error (Exception): What the client raised.
        RETURNS (Failure): The reason.
        """
        import aiohttp
        import httpx2
        import openai

        if isinstance(error, openai.APIStatusError):
            response = error.response
            outcome = self.read(
                error.status_code,
                read_body(response.content),
                api="chat",
                headers=response.headers,
            )
            if isinstance(outcome, Failure):
                return outcome
            return Failure("refused", outcome.refusal or "")
        if isinstance(error, openai.OpenAIError) and isinstance(error.args[0], Failure):
            # Of our own, see `_send`.
            return error.args[0]
        cause = error.__cause__ or error
        if isinstance(error, openai.APITimeoutError) and not isinstance(
            # What a connection that ended is called by openai's adapter of aiohttp.
            cause,
            httpx2.ConnectTimeout,
        ):
            seconds = f"{self._timeout:g} seconds"
            return Failure("timeout", f"no whole response within {seconds}")
        malformed = isinstance(cause, httpx2.DecodingError)
        kind = "malformed" if malformed else "connection"
        reason = str(cause) or type(cause).__name__
        if isinstance(cause.__cause__, aiohttp.ServerDisconnectedError):
            # Of which aiohttp shows an object.
            reason = "the server closed the connection"
        return self._mask(Failure(kind, reason))

    def refusal(self, failure: Failure) -> NunerError:
        """Make the error of a server that can't be used.

        failure (Failure): The last failure.
        RETURNS (NunerError): N206.
        """
        todo = failure.todo or "Run the same command again to go on."
        reason = failure.reason.rstrip(".")
        url = self.address
        return NunerError(Errors.N206, base_url=url, reason=reason, todo=todo)

    def redact(self, text: str) -> str:
        """Remove the key from a text, whole or in pieces; see `masking.mask`.

        text (str): Any text, such as a message of the server.
        RETURNS (str): The text without the key.
        """
        # Also one that is too short to be a secret.
        return mask(text.replace(self._key, MASK) if self._key else text)

    def stop(self) -> None:
        """Send nothing more, retries included."""
        self.pace.stopped.set()

    def _mask(self, failure: Failure) -> Failure:
        kind, reason, todo = (
            " ".join(replace_surrogates(self.redact(t)).split()) for t in failure
        )
        return Failure(kind[:LONGEST_NAME], reason[:LONGEST_MESSAGE], todo)

    def _check(
        self, status: int, data: Any, api: Api | None
    ) -> Answer | Failure | None:
        """What is wrong with a response of a good status: it is asked for again."""
        if api is not None:
            return read_outcome(status, data, api=api)
        if isinstance(data, dict) and ("id" in data or not data.get("error")):
            return None
        return Failure("malformed", f"{status}, {find_message(status, data)}")

    async def _send(
        self,
        send: "Callable[..., Awaitable[httpx2.Response]]",
        request: "httpx2.Request",
        *,
        stream: bool,
    ) -> "httpx2.Response":
        """Send a request once, and read the response within bounds of time and size.

        What HTTP libraries raise becomes what openai's client retries; an answer of a
        length that no model writes is not asked for again.
        """
        import aiohttp
        import httpx2
        import openai

        path = request.url.path
        api = next((one for one, end in PATHS.items() if path.endswith(end)), None)
        await self.pace.before_request()
        if self.pace.stopped.is_set():
            raise openai.OpenAIError(Failure(STOPPED, "the run was stopped"))
        self._report.requests += api is not None
        start = time.monotonic()
        # A file of 200 MB takes its time, and the bound is one on silence.
        limit = (
            None if path.endswith("/files") else request.extensions["timeout"]["read"]
        )
        try:
            async with asyncio.timeout(limit):
                # A request that is sent on would hand texts to an unknown server, and
                # without them where POST becomes GET.
                response = await send(request, stream=True, follow_redirects=stream)
                if stream and response.is_success:
                    return response
                content, whole = await _read_bounded(response)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error), request=request) from error
        except (aiohttp.ClientError, ValueError, AssertionError) as error:
            # What openai's adapter of aiohttp leaves as it is, or fails at itself; and
            # a proxy of a kind that aiohttp does not know.
            message = getattr(error, "message", "") or str(error) or repr(error)
            raise httpx2.RemoteProtocolError(message, request=request) from error
        status = response.status_code
        if api is not None:
            self._report.statuses[status] += 1
            wait = retry_after(response.headers)
            if wait is not None and wait > LONGEST_PAUSE:
                wait = None
            self.pace.after_response(status, wait)
        if response.is_success and not whole:
            reason = f"the response is longer than {LONGEST_BODY / 1e6:g} MB"
            raise openai.OpenAIError(Failure("too long", reason))
        if response.is_success:
            outcome = self._check(status, read_body(content), api)
            if isinstance(outcome, Failure):
                raise httpx2.DecodingError(outcome.reason, request=request)
        # As bytes, since only ASCII may be given as text.
        given = [
            (name.encode(), response.headers[name].encode())
            for name in HEADERS
            if name in response.headers
        ]
        plain = httpx2.Response(status, headers=given, content=content, request=request)
        plain.elapsed = timedelta(seconds=time.monotonic() - start)
        return plain


async def _read_bounded(response: "httpx2.Response") -> tuple[bytes, bool]:
    """The unpacked body up to LONGEST_BODY, and whether that is all of it."""
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > LONGEST_BODY:
                return bytes(content[:LONGEST_BODY]), False
    finally:
        await response.aclose()
    return bytes(content), True


def _todo(status: int | None, data: Any, headers: Mapping[str, str]) -> str:
    """What to do where every other request would fail too; else empty."""
    error = data.get("error") if isinstance(data, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    location = headers.get("location")
    wait = retry_after(headers)
    if status is not None and 300 <= status < 400 and location:
        url = mask_url(location)
        for path in PATHS.values():
            url = url.removesuffix(path)
        return (
            f"It redirects to {url}: if you trust that address, give it as --base-url."
        )
    if status == 402 or code == "insufficient_quota":
        return "The account has no money left: add some."
    if wait is not None and wait > LONGEST_PAUSE:
        return f"It asks to wait {wait:.0f} seconds: come back then."
    return _ADVICE.get(status or 0, "")


def _check_headers(headers: Mapping[str, Any]) -> None:
    """Raise ValueError for a header that can't be sent, such as OpenAI's project."""
    for name, value in headers.items():
        # Others are marks of headers that are left out.
        texts = (name, value) if isinstance(value, str) else (name,)
        if not all(text.isascii() and text.isprintable() for text in texts):
            raise ValueError(f"the header {name} has a letter beyond ASCII or a break")


def _read_key() -> str:
    """The key, without the blanks that come with it when it is copied."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not (key.isascii() and key.isprintable()) or " " in key:
        # Not what it is: the error is printed.
        found = "a blank or a line break" if key.isascii() else "a letter beyond ASCII"
        raise NunerError(Errors.N050, variable=KEY_VARIABLE, found=found)
    return key


def is_openai(base_url: str) -> bool:
    """Check whether an address is OpenAI's own server.

    base_url (str): The address.
    RETURNS (bool): Whether it is.
    """
    return urlsplit(base_url).hostname == urlsplit(OPENAI_URL).hostname
