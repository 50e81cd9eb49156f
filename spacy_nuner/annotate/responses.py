"""What a server responds becomes an answer, or a failure in the server's own words."""

import html
import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

from ..readers.answers import TRUNCATED, Answer
from ..utf8 import replace_surrogates

# OpenAI's ways to ask a model, and their paths under the base URL.
Api = Literal["chat", "responses", "completions"]
PATHS: dict[Api, str] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "completions": "/completions",
}

# Counts of tokens from here on are a mistake of the server's.
MOST_TOKENS = 10**9
# The kind of failure of a request that was not sent, since the run was stopped.
STOPPED = "stopped"
# Names (of a model, of a reason to stop) and messages are cut here, in characters.
LONGEST_NAME = 200
LONGEST_MESSAGE = 500
# Longer numbers are read as floats: Python refuses thousands of digits.
LONGEST_INTEGER = 18

FILTERED = "content_filter"
# How other servers than OpenAI's say that an answer was too long, or that it ended
# before the model did: Mistral, Anthropic, Gemini; OpenRouter, vLLM, DeepSeek.
_CUT = {
    *("length", "maxtokens", "maxoutputtokens", "modellength"),
    *("modelcontextwindowexceeded", "contextlengthexceeded"),
    *("error", "abort", "insufficientsystemresource"),
}
# Reasons to stop and codes of errors of content filters, letters alone: OpenAI, Azure,
# Gemini, Bedrock, Anthropic, Cohere, Alibaba, Zhipu and ByteDance.
_FILTER = re.compile(
    "contentfilter|contentpolicy|contentblocked|responsibleai|prohibitedcontent|"
    "sensitivecontent|datainspection|moderationblocked|guardrail|"
    "(?:safety|recitation|blocklist|spii|toxic|^sensitive|^refusal|^invalidprompt|"
    "^blocked|^filtered|^moderat(?:ion|ed)|^unsafe)$"
)
# What filters without a code of their own say (DeepSeek, xAI, OpenRouter), and gateways
# that hand on another server's error as words.
_FILTER_WORDS = re.compile(
    "contentpolicyviolation|contentmanagementpolicy|contentexistsrisk|"
    "contentviolatesusage|inappropriatecontent|inputwasflagged|responsibleai"
)
# Statuses of requests that were refused for what is in them.
_FILTER_STATUSES = frozenset({None, 400, 403, 422, 451})
_CODES = ("code", "type", "reason")
# Gemini says why it blocked a prompt, and that it did.
_BLOCKED = ("blockReason", "block_reason")
_CAUSES = (
    *("error", "innererror", "inner_error", "promptFeedback", "prompt_feedback"),
    *("response", "incomplete_details"),
)
# Where servers put what they have to say, the best place first.
_WORDS = (
    *("message", "error_description", "error", "errors", "detail", "msg", "reason"),
    *("title", "incomplete_details", "status"),
)
# Deeper than this no server says anything.
_DEEPEST = 6
_PAGE = re.compile(
    r"\s*<(?:!--|(?:!doctype|\?xml|html|head|body|title|h1)\b)", re.IGNORECASE
)
_UNSEEN = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"<[^>]*>?")
# The first line of an event stream, or a comment that keeps a connection open.
_STREAM = re.compile(r"\s*(?:data|event|id|retry)?:")


# What `json.loads` never returns.
_NO_JSON = object()


class Failure(NamedTuple):
    """A request that got no answer in spite of the retries.

    kind (str): "timeout", "connection", "malformed" or "http 500" and so on.
    reason (str): The message of the server or the library, without the key.
    todo (str): What to do, where every other request would fail too; else empty.
    """

    kind: str
    reason: str
    todo: str = ""


class MalformedAnswer(ValueError):
    """JSON that holds no answer; the message is what it says instead."""


def read_body(content: bytes) -> Any:
    """Read the body of a response.

    content (bytes): The body, unpacked.
    RETURNS (Any): Its JSON; that of an event stream put together, which some gateways
        send unasked; its text if it holds none.
    """
    text = content.decode("utf-8", errors="replace")
    data = _read_json(content)
    if data is _NO_JSON:
        data = _read_json(text)
    if data is _NO_JSON and _STREAM.match(text):
        data = _read_stream(text)
    return text if data is _NO_JSON else data


def read_outcome(
    status: int | None, data: Any, *, api: Api = "chat", latency: float | None = None
) -> Answer | Failure:
    """Find out what a response means for its request.

    status (int | None): Its HTTP status; None where a batch names none.
    data (Any): See `read_body`.
    api (Api): What was asked.
    latency (float | None): Seconds that it took.
    RETURNS (Answer | Failure): The answer, which is empty and refused where a content
        filter turned the request away, or why there is none.
    """
    if status is None or 200 <= status < 300:
        read = read_response if api == "responses" else read_completion
        try:
            return read(data, latency=latency)
        except MalformedAnswer as error:
            said = str(error) if status in (None, 200) else f"{status}, {error}"
            failure = Failure("malformed", said)
    else:
        failure = Failure(f"http {status}", f"{status}, {find_message(status, data)}")
    if _is_filtered(status, data):
        # What was not answered is not charged.
        return Answer(
            "",
            finish_reason=FILTERED,
            refusal=failure.reason,
            prompt_tokens=0,
            completion_tokens=0,
            latency=latency,
        )
    return failure


def read_completion(data: Any, *, latency: float | None = None) -> Answer:
    """Take the answer out of a completion of a chat, or of a text.

    data (Any): The JSON of the response.
    latency (float | None): Seconds that it took.
    RETURNS (Answer): The answer, with OpenAI's word for the reason to stop where it was
        truncated or filtered.
    RAISES (MalformedAnswer): If the JSON is no completion.
    """
    choices = data.get("choices") if isinstance(data, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise MalformedAnswer(find_message(None, data))
    if error := choice.get("error"):
        # OpenRouter's way to say that another server failed.
        raise MalformedAnswer(find_message(None, error))
    message = choice.get("message", choice.get("text"))
    reason = choice.get("finish_reason")
    # Gemini leaves out the message where it was filtered or spent on thinking.
    if message is None and reason is None:
        raise MalformedAnswer(find_message(None, data))
    parts = message if isinstance(message, dict) else {"content": message}
    content, refusal = _read_content(parts.get("content"))
    refusal = _read_text(parts.get("refusal")) or refusal
    return _make_answer(data, content, reason, refusal, latency)


def read_response(data: Any, *, latency: float | None = None) -> Answer:
    """Take the answer out of a response of OpenAI's Responses API.

    data (Any): The JSON of the response.
    latency (float | None): Seconds that it took.
    RETURNS (Answer): The answer: the texts of all messages, without reasoning and
        without calls of tools.
    RAISES (MalformedAnswer): If the JSON is no response, or one that failed.
    """
    output = data.get("output") if isinstance(data, dict) else None
    status = data.get("status", "completed") if isinstance(data, dict) else None
    if not isinstance(output, list) or status not in ("completed", "incomplete"):
        raise MalformedAnswer(find_message(None, data))
    parts: list[Any] = []
    for item in output:
        if (
            isinstance(item, dict)
            and item.get("type", "message") == "message"
            # What the model says before it calls tools or goes on thinking.
            and item.get("phase") != "commentary"
        ):
            content = item.get("content")
            parts += content if isinstance(content, list) else [content]
    content, refusal = _read_content(parts)
    details = data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason is None:
        reason = "stop" if status == "completed" else TRUNCATED
    return _make_answer(data, content, reason, refusal, latency)


def find_message(status: int | None, data: Any) -> str:
    """Find what a server says about what went wrong.

    status (int | None): The HTTP status, whose phrase stands in for an empty body.
    data (Any): See `read_body`.
    RETURNS (str): Its words in one line: the message in the JSON, the text of a page,
        or the body as it is. Never empty.
    """
    words = _find_words(data)
    if not words and data not in (None, "", {}, []):
        words = _dump(data)
    if not words.strip() and status is not None:
        try:
            words = HTTPStatus(status).phrase
        except ValueError:
            words = ""
    # Long before the cut, so that a key which is masked later is still whole.
    words = " ".join(replace_surrogates(words[: 20 * LONGEST_MESSAGE]).split())
    return words or "an empty response"


def read_count(value: Any) -> int | None:
    """Read a number of tokens.

    value (Any): A number, or one in words.
    RETURNS (int | None): The number; None if it can't be one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        count = int(float(value))
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count < MOST_TOKENS else None


def _read_json(data: bytes | str) -> Any:
    try:
        return json.loads(data, parse_int=_read_integer)
    except (ValueError, RecursionError):
        return _NO_JSON


def _read_stream(text: str) -> Any:
    """The answer of an event stream, or JSON after comments; else _NO_JSON."""
    lines = re.split(r"\r\n|\r|\n", text)
    rest = "\n".join(line for line in lines if not line.startswith(":"))
    blocks = [re.findall("^data: ?(.*)", one, re.M) for one in rest.split("\n\n")]
    found = ["\n".join(block) for block in blocks if block]
    if not found:
        return _read_json(rest)
    events = [_read_json(one) for one in found if one != "[DONE]"]
    if not all(isinstance(event, dict) for event in events):
        # One that is damaged leaves a gap.
        return _NO_JSON
    for event in reversed(events):
        if event.get("error"):
            return {"error": event["error"]}
        if event.get("type") == "error":
            return event
        if isinstance(event.get("response"), dict):
            # Of the Responses API; the last event has all of it.
            return event["response"]
    return _join_chunks(events, ended="[DONE]" in found)


def _join_chunks(chunks: Sequence[dict[str, Any]], *, ended: bool) -> Any:
    """The chat completion of a stream; _NO_JSON where it came to no end."""
    joined: dict[str, Any] = {}
    reason: Any = None
    parts: list[Any] = []
    refusals: list[str] = []
    for chunk in chunks:
        joined |= {key: chunk[key] for key in ("model", "usage") if chunk.get(key)}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index"):
            continue
        if "message" in choice:
            return chunk
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
        content = delta.get("content")
        parts += content if isinstance(content, list) else [content]
        refusals.append(_read_text(delta.get("refusal")))
        reason = choice.get("finish_reason") or reason
    if not parts or not (reason or ended):
        return _NO_JSON
    message = {"content": parts, "refusal": "".join(refusals)}
    return joined | {"choices": [{"message": message, "finish_reason": reason}]}


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def _make_answer(
    data: dict[str, Any],
    content: str,
    reason: Any,
    refusal: str | None,
    latency: float | None,
) -> Answer:
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    name = _read_name(reason)
    letters = _letters(name or "")
    if letters in _CUT:
        name = TRUNCATED
    elif _FILTER.search(letters):
        refusal = refusal or name
        name = FILTERED
    return Answer(
        content=content,
        finish_reason=name,
        refusal=refusal,
        served=_read_name(data.get("model")),
        prompt_tokens=read_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        completion_tokens=read_count(
            usage.get("completion_tokens", usage.get("output_tokens"))
        ),
        latency=latency,
    )


def _read_content(content: Any) -> tuple[str, str | None]:
    """The text of a message and its refusal; parts with reasoning are left out."""
    texts: list[str] = []
    refusals: list[str] = []
    whole = isinstance(content, list)
    for part in content if whole else [content]:
        if not isinstance(part, dict):
            # A number among parts is no text.
            texts.append(
                "" if whole and not isinstance(part, str) else _read_text(part)
            )
        elif part.get("type") == "refusal":
            refusals.append(_read_text(part.get("refusal")))
        elif part.get("type", "text") in ("text", "output_text"):
            text = part.get("text")
            # The Assistants API has it one level deeper.
            text = text.get("value") if isinstance(text, dict) else text
            # Some servers hand over the JSON that was asked for as an object.
            plain = "text" in part or "type" in part
            texts.append(_read_text(text if plain else _dump(part)))
    return "".join(texts), "".join(refusals) or None


def _read_text(value: Any) -> str:
    if value is None or isinstance(value, bool | list | dict):
        return ""
    return replace_surrogates(value if isinstance(value, str) else _dump(value))


def _read_name(value: Any) -> str | None:
    """A name as a short text, whatever it is given as."""
    if value is None:
        return None
    return _read_text(value)[:LONGEST_NAME]


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text[: 4 * LONGEST_MESSAGE])).lower()


def _is_filtered(status: int | None, data: Any) -> bool:
    if status not in _FILTER_STATUSES and status not in range(200, 300):
        return False
    if any(_FILTER.search(_letters(code)) for code in _find_codes(data)):
        return True
    return bool(_FILTER_WORDS.search(_letters(find_message(None, data))))


def _find_codes(data: Any, depth: int = 0) -> Sequence[str]:
    """The codes of an error and of what caused it."""
    if not isinstance(data, dict) or depth > _DEEPEST:
        return []
    codes = [data[key] for key in _CODES if isinstance(data.get(key), str)]
    codes += [FILTERED for key in _BLOCKED if data.get(key)]
    for key in _CAUSES:
        codes += _find_codes(data.get(key), depth + 1)
    return codes


def _find_words(data: Any, depth: int = 0) -> str:
    if isinstance(data, str):
        return _read_page(data) if _PAGE.match(data) else data
    if depth > _DEEPEST:
        return ""
    if isinstance(data, list):
        found = [_find_words(one, depth + 1) for one in data[:3]]
        return "; ".join(filter(None, found))
    if not isinstance(data, dict):
        return ""
    for key in _WORDS:
        words = _find_words(data.get(key), depth + 1)
        # A response of another API, say.
        if words and words != "completed":
            # FastAPI names the field that is wrong next to the message.
            field = data.get("loc") if key == "msg" else None
            if isinstance(field, list):
                words = f"{'.'.join(map(str, field[:5]))}: {words}"
            return words
    return ""


def _read_page(page: str) -> str:
    text = _UNSEEN.sub(" ", page[: 40 * LONGEST_MESSAGE])
    return html.unescape(_TAG.sub(" ", text))


def _dump(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return f"{type(value).__name__} that can't be written"
