"""One OpenAI-compatible server: requests with the client's own retries."""

import json
import math
import os
import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import NunerError
from .answers import Answer, read_completion
from .pacing import Pace
from .report import Report

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
# Own servers mostly ask for no key, but the client sends one always.
NO_KEY = "none"
CHAT_PATH = "/chat/completions"
# The client does not wait longer for a server that names a time; neither do we.
LONGEST_PAUSE = 120.0
_TODO = {
    401: f"Check {KEY_VARIABLE} and --base-url.",
    403: "Check what this key may do.",
    404: "Check --model and --base-url.",
}


class Failure(NamedTuple):
    """A request that got no answer in spite of the retries.

    kind (str): "timeout", "connection", "malformed" or "http 500" and so on.
    reason (str): In the server's or the library's words, without the key.
    todo (str): What to do, where no other request would fare better; else empty.
    """

    kind: str
    reason: str
    todo: str = ""


class Endpoint:
    """A server that answers `/v1/chat/completions`.

    base_url (str): Its address.
    client (AsyncOpenAI): The client, for files and batches.
    """

    def __init__(
        self,
        base_url: str,
        *,
        pace: Pace,
        report: Report,
        retries: int = 6,
        timeout: float = 120.0,
        needs_key: bool = True,
    ) -> None:
        """base_url (str): The address up to `/v1`.
        pace (Pace): Holds every request back, repeated ones too.
        report (Report): Counts requests and statuses.
        retries (int): How often the client sends a request again.
        timeout (float): Seconds to wait for a response.
        needs_key (bool): Whether OpenAI is going to be asked anything.
        RAISES (NunerError): N006 without the packages `openai` and `aiohttp`, N205
            without a key.
        """
        try:
            import aiohttp  # noqa: F401
            import openai
        except ImportError as error:
            package = f"the package '{error.name}'"
            raise NunerError("N006", package=package, extra="annotate") from error
        self.base_url = base_url
        self._key = os.environ.get(KEY_VARIABLE, "")
        if needs_key and not self._key and is_openai(base_url):
            raise NunerError("N205", base_url=base_url)
        self._pace = pace
        self._report = report
        # Hooks see each try of a request, retries too, which the client's caller
        # does not.
        hooks: dict[str, list[Any]] = {
            "request": [self._before],
            "response": [self._after],
        }
        self.client = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=base_url,
            max_retries=retries,
            timeout=timeout,
            # With aiohttp a request takes half as much of the processor; the other
            # one searches a list of all connections for each.
            http_client=openai.DefaultAioHttpClient(event_hooks=hooks),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def ask(self, body: dict[str, Any]) -> Answer | Failure:
        """Send a request until it is answered or the retries are used up.

        body (dict[str, Any]): The JSON of the request.
        RETURNS (Answer | Failure): The answer, or why there is none.
        """
        import httpx2
        import openai

        try:
            # Not `chat.completions.create`: it fits arguments and result into models,
            # which doubles the time that a request takes of the processor.
            response = await self.client.post(
                CHAT_PATH, body=body, cast_to=httpx2.Response
            )
            return read_completion(
                json.loads(response.content), latency=response.elapsed.total_seconds()
            )
        except openai.OpenAIError as error:
            return self.explain(error)

    async def count_tokens(self, model: str, text: str) -> int | None:
        """Ask the server's tokenizer, where there is one (vLLM, llama.cpp).

        model (str): The model.
        text (str): The text.
        RETURNS (int | None): The number of tokens, None if the server has no
            `/tokenize`.
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
        """Say why a request failed.

        error (OpenAIError): What the client raised.
        RETURNS (Failure): The reason, and what to do if no other request can do better.
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
        reason = self.redact(f"{status}, {_said(error)}")[:500]
        return Failure(f"http {status}", reason, todo)

    def redact(self, text: str) -> str:
        """text (str): Words of the server. RETURNS (str): The same without the key."""
        return text.replace(self._key, "***") if self._key else text

    async def _before(self, request: Any) -> None:
        await self._pace.before_request()
        self._report.requests += request.url.path.endswith(CHAT_PATH)

    async def _after(self, response: Any) -> None:
        if not response.request.url.path.endswith(CHAT_PATH):
            return
        status = response.status_code
        self._report.statuses[status] += 1
        wait = retry_after(response.headers)
        if wait is not None and wait > LONGEST_PAUSE:
            wait = None
        self._pace.after_response(status, wait)
        if status == 200:
            await self._check(response)

    async def _check(self, response: Any) -> None:
        import httpx2

        try:
            read_completion(json.loads(await response.aread()))
        except ValueError as error:
            # A response cut short or made of something else is worth another try, and
            # the client gives one to what its HTTP library could not read.
            said = f"no chat completion: {error}"
            raise httpx2.DecodingError(said, request=response.request) from error


def _said(error: "openai.APIStatusError") -> str:
    """The message in the JSON of an error; versions of the client unpack it or not."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    return error.message


def is_openai(base_url: str) -> bool:
    """base_url (str): An address. RETURNS (bool): Whether it is OpenAI's own."""
    return urlsplit(base_url).hostname == urlsplit(OPENAI_URL).hostname


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks to wait.

    headers (Mapping[str, str]): Of its response.
    RETURNS (float | None): Seconds from now, None if it does not say.
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
