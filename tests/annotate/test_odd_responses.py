"""Whatever a server sends becomes an answer or a counted failure in its own words."""

import gzip
import json
import random
import time
import tracemalloc
import zlib

import pytest

from spacy_nuner.annotate.accounting import Limits
from spacy_nuner.annotate.client import LONGEST_BODY
from spacy_nuner.errors import NunerError

from ..conftest import one_in
from .conftest import ask, stored
from .raw_server import (
    CHOICE,
    CONTENT,
    FLOODED,
    RawServer,
    completion,
    drip,
    flood,
    http,
)

pytestmark = pytest.mark.slow

HALF = "\ud800"
DEEP = b"[" * 100_000 + b"]" * 100_000
ERROR = {"message": "injected words", "type": "server_error"}
OK = completion()


def without_message(reason):
    return completion({"finish_reason": reason, "index": 0})


def usage(prompt, completion_tokens=9):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion_tokens}
    return http(200, completion(usage=counts))


def said(content, reason="stop"):
    return http(
        200, completion({"message": {"content": content}} | {"finish_reason": reason})
    )


def with_raw_usage(digits):
    text = json.dumps(OK).replace('"prompt_tokens": 100', f'"prompt_tokens": {digits}')
    return http(200, text, "content-type: application/json")


# Modes that end in an answer, and its verdict.
ANSWERED = {
    "plain": (http(200, OK), "good"),
    "201": (http(201, OK), "good"),
    "203": (http(203, OK), "good"),
    "206": (http(206, OK), "good"),
    "no type": (http(200, json.dumps(OK)), "good"),
    "byte order mark": (http(200, "\ufeff" + json.dumps(OK)), "good"),
    "utf-16": (http(200, json.dumps(OK).encode("utf-16")), "good"),
    "latin-1": (
        http(
            200,
            json.dumps(OK)
            .replace("A name", "Ein Königsname")
            .replace("\\u00f6", "ö")
            .encode("latin-1"),
        ),
        "good",
    ),
    "odd charset": (
        http(200, json.dumps(OK), "content-type: application/json; charset=zlib"),
        "good",
    ),
    "gzip": (
        http(200, gzip.compress(json.dumps(OK).encode()), "content-encoding: gzip"),
        "good",
    ),
    "unknown encoding": (http(200, json.dumps(OK), "content-encoding: own"), "good"),
    "no length": (http(200, json.dumps(OK), length=False), "good"),
    "duplicate keys": (
        http(200, '{"choices": 3, "choices": [' + json.dumps(CHOICE) + "]}"),
        "good",
    ),
    "error null": (http(200, OK | {"error": None}), "good"),
    # Content
    "parts": (said([{"type": "text", "text": CONTENT}]), "good"),
    "thinking part": (
        said(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "x <> y"}]},
                {"type": "text", "text": CONTENT},
            ]
        ),
        "good",
    ),
    "parts of strings": (said(["Ana <> ", "person"]), "good"),
    "one part": (said({"type": "text", "text": CONTENT}), "good"),
    "text value": (said([{"type": "text", "text": {"value": CONTENT}}]), "good"),
    "odd parts": (said([None, 3, {"type": "text", "text": CONTENT}, [[]]]), "good"),
    "no parts": (said([]), "empty"),
    "null content": (said(None), "empty"),
    "number": (said(3), "unreadable"),
    "false": (said(False), "empty"),
    "old completion": (
        http(200, completion({"text": CONTENT, "finish_reason": "stop"})),
        "good",
    ),
    "message a string": (http(200, completion(CHOICE | {"message": CONTENT})), "good"),
    "message null": (http(200, completion(CHOICE | {"message": None})), "empty"),
    "half in content": (said(f"{CONTENT} {HALF}"), "good"),
    "zero byte": (said(f"{CONTENT} \0"), "good"),
    # Refused
    "filtered": (said(None, "content_filter"), "refused"),
    "filter with words": (said("", "content_filter: PROHIBITED_CONTENT"), "refused"),
    "refusal": (
        http(200, completion({"message": {"content": None, "refusal": "No."}})),
        "refused",
    ),
    "refusal part": (said([{"type": "refusal", "refusal": "No."}]), "refused"),
    **{
        reason: (http(200, without_message(reason)), "refused")
        for reason in (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
            *("content_filter: SAFETY", "content_filter", "IMAGE_SAFETY", "sensitive"),
            *(
                "content_filter: OTHER",
                "guardrail_intervened",
                "ERROR_TOXIC",
                "refusal",
            ),
        )
    },
    "azure": (
        http(
            400,
            {
                "error": {
                    "message": "The response was filtered.",
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                }
            },
        ),
        "refused",
    ),
    "azure inner": (
        http(
            400,
            {
                "error": {
                    "message": "Bad.",
                    "code": None,
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
        ),
        "refused",
    ),
    "filter without error": (http(400, {"code": "content_filter"}), "refused"),
    "filter as type": (http(400, {"error": {"type": "content_filter"}}), "refused"),
    "inspection": (
        http(400, {"error": {"code": "data_inspection_failed", "message": "x"}}),
        "refused",
    ),
    "gateway's words": (
        http(
            400,
            {
                "error": {
                    "message": "litellm.ContentPolicyViolationError: AzureException",
                    "code": "400",
                }
            },
        ),
        "refused",
    ),
    "risk": (
        http(400, {"error": {"message": "Content Exists Risk", "code": "invalid"}}),
        "refused",
    ),
    "filter in 200": (http(200, {"error": {"code": "content_filter"}}), "refused"),
    "blocked prompt": (
        http(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        "refused",
    ),
    "blocked for another reason": (
        http(200, {"choices": None, "prompt_feedback": {"block_reason": "OTHER"}}),
        "refused",
    ),
    "flagged": (
        http(
            403,
            {"error": {"code": 403, "message": "Your input was flagged: violence."}},
        ),
        "refused",
    ),
    # Not refused, but nothing in it either
    "OTHER": (http(200, without_message("OTHER")), "empty"),
    "stop": (http(200, without_message("stop")), "empty"),
    # Truncated
    "cut": (said(CONTENT, "length"), "truncated"),
    "MAX_TOKENS": (http(200, without_message("MAX_TOKENS")), "truncated"),
    "model_length": (said(CONTENT, "model_length"), "truncated"),
    # Tokens
    "no usage": (http(200, {"choices": [CHOICE]}), "good"),
    "usage null": (http(200, completion(usage=None)), "good"),
    "usage a list": (http(200, completion(usage=[1, 2])), "good"),
    "usage a string": (http(200, completion(usage="100")), "good"),
    "strings": (usage("100", "9"), "good"),
    "floats": (usage(100.0, 9.0), "good"),
    "halves": (usage(100.5), "good"),
    "negative": (usage(-5), "good"),
    "counts null": (usage(None, None), "good"),
    "counts lists": (usage([], {}), "good"),
    "counts true": (usage(True), "good"),
    "over 2^63": (usage(2**63), "good"),
    "over 2^63 floats": (usage(1e300), "good"),
    "NaN": (usage(float("nan"), float("inf")), "good"),
    "digits": (with_raw_usage("9" * 5000), "good"),
    "words": (usage("many"), "good"),
    # Model and reason
    "model an object": (http(200, completion(model={"id": "m"})), "good"),
    "model a list": (http(200, completion(model=["m"])), "good"),
    "model a number": (http(200, completion(model=2**70)), "good"),
    "model long": (http(200, completion(model="m" * 10**6)), "good"),
    "model half": (http(200, completion(model=f"m{HALF}")), "good"),
    "reason an object": (
        http(200, completion(CHOICE | {"finish_reason": {"a": 1}})),
        "good",
    ),
    "reason a list": (
        http(200, completion(CHOICE | {"finish_reason": ["stop"]})),
        "good",
    ),
    "reason a number": (
        http(200, completion(CHOICE | {"finish_reason": 2**70})),
        "good",
    ),
    "reason half": (http(200, completion(CHOICE | {"finish_reason": HALF})), "good"),
    "reason null": (http(200, completion(CHOICE | {"finish_reason": None})), "good"),
}

PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>Down &amp; out</h1>"
SCRIPT = "<!DOCTYPE html><body><script>var a = 1;</script><p>Be right back</p></body>"

# Modes that end in a failure: its kind and what is told.
FAILED = {
    "202": (
        http(202, {"status": "model is loading"}),
        "malformed",
        "202, model is loading",
    ),
    "204": (http(204), "malformed", "204, an empty response"),
    "203 page": (
        http(203, "<html><body>Sign in</body></html>"),
        "malformed",
        "Sign in",
    ),
    "205": (http(205), "malformed", "205"),
    "empty": (http(200), "malformed", "empty"),
    "null": (http(200, "null"), "malformed", "an empty"),
    "choices empty": (http(200, {"choices": []}), "malformed", "choices"),
    "choices null": (http(200, {"choices": None}), "malformed", "choices"),
    "choices an object": (http(200, {"choices": {"0": 1}}), "malformed", "choices"),
    "choices odd": (http(200, {"choices": [[]]}), "malformed", "choices"),
    "error in 200": (http(200, {"error": ERROR}), "malformed", "injected words"),
    "error in choice": (
        http(200, completion({"error": ERROR, "finish_reason": "error"})),
        "malformed",
        "injected words",
    ),
    "cut JSON": (http(200, json.dumps(OK)[:-9]), "malformed", '"choices"'),
    "deep": (http(200, DEEP), "malformed", "[[[["),
    "deep objects": (http(200, b'{"a":' * 100_000), "malformed", '{"a":'),
    "deep in choices": (
        http(200, b'{"choices": ' + DEEP + b"}"),
        "malformed",
        "choices",
    ),
    "nearly deep": (
        http(200, b'{"choices": ' + b"[" * 900 + b"]" * 900 + b"}"),
        "malformed",
        "",
    ),
    "events": (http(200, "data: {}\n\ndata: [DONE]\n"), "malformed", "data: {}"),
    "page": (http(200, "<html><title>Sign in</title></html>"), "malformed", "Sign in"),
    "broken gzip": (
        http(200, b"plain", "content-encoding: gzip"),
        "malformed",
        "header",
    ),
    "half gzip": (
        http(
            200, gzip.compress(json.dumps(OK).encode())[:-30], "content-encoding: gzip"
        ),
        "malformed",
        "",
    ),
    # Errors
    "error a string": (
        http(500, {"error": "runner has stopped"}),
        "http 500",
        "500, runner has stopped",
    ),
    "error an object": (http(500, {"error": ERROR}), "http 500", "500, injected words"),
    "error a list": (http(500, [{"error": ERROR}]), "http 500", "500, injected words"),
    "errors": (
        http(422, {"errors": [{"message": "a"}, {"message": "b"}]}),
        "http 422",
        "422, a; b",
    ),
    "error true": (
        http(500, {"error": True, "reason": "out of luck"}),
        "http 500",
        "out of luck",
    ),
    "error null in 500": (http(500, {"error": None}), "http 500", "500"),
    "detail": (
        http(422, {"detail": "no such field"}),
        "http 422",
        "422, no such field",
    ),
    "detail list": (
        http(422, {"detail": [{"loc": ["body", "seed"], "msg": "not an integer"}]}),
        "http 422",
        "422, body.seed: not an integer",
    ),
    "message": (
        http(500, {"message": "upstream is gone"}),
        "http 500",
        "500, upstream is gone",
    ),
    "message an object": (http(500, {"message": {"a": 1}}), "http 500", '"a"'),
    "code alone": (http(500, {"error": {"code": 1301}}), "http 500", "1301"),
    "text": (http(500, "no healthy upstream"), "http 500", "500, no healthy upstream"),
    "html": (http(502, PAGE), "http 502", "502 Bad Gateway Down & out"),
    "html script": (http(502, SCRIPT), "http 502", "502, Be right back"),
    "no words": (http(502), "http 502", "502, Bad Gateway"),
    "gz": (
        http(
            503, gzip.compress(b'{"error": "packed words"}'), "content-encoding: gzip"
        ),
        "http 503",
        "503, packed words",
    ),
    "deflate": (
        http(
            503,
            zlib.compress(b'{"error": "packed words"}'),
            "content-encoding: deflate",
        ),
        "http 503",
        "503, packed words",
    ),
    "deep error": (http(500, DEEP), "http 500", "500, [[[["),
    "half in error": (
        http(500, {"error": {"message": f"bad {HALF} half"}}),
        "http 500",
        "bad",
    ),
    "bytes": (http(500, bytes(range(128, 256))), "http 500", "500"),
    "odd charset error": (
        http(500, "words", "content-type: text/plain; charset=zlib"),
        "http 500",
        "500, words",
    ),
    "418": (http(418, "short and stout"), "http 418", "418, short and stout"),
    "451": (http(451, {"error": "law"}), "http 451", "451, law"),
    "600": (http(600, "beyond"), "http 600", "600, beyond"),
    "999": (http(999, "beyond"), "http 999", "999, beyond"),
    "301 to nowhere": (http(301, "moved", "location:"), "http 301", "301, moved"),
    "cookies": (
        http(
            500,
            "words",
            "set-cookie: " + "=;" * 500,
            "set-cookie: \xff=\xff; expires=x",
        ),
        "http 500",
        "500, words",
    ),
    "304": (http(304), "http 304", "304, Not Modified"),
    "300": (http(300, "several"), "http 300", "300, several"),
    # Not stopped by these, though told to wait
    "wait for 99999": (
        http(429, {"error": ERROR}, "retry-after: Fri, 31 Dec 99999 23:59:59 GMT"),
        "http 429",
        "injected words",
    ),
    "wait below zero": (http(429, {"error": ERROR}, "retry-after: -5"), "http 429", ""),
    "wait NaN": (http(429, {"error": ERROR}, "retry-after: NaN"), "http 429", ""),
    "wait words": (
        http(429, {"error": ERROR}, "retry-after: in a while"),
        "http 429",
        "",
    ),
    "wait for ever": (
        http(429, {"error": ERROR}, "retry-after: 1e308"),
        "http 429",
        "",
    ),
    "wait bytes": (
        http(429, {"error": ERROR}, "retry-after: \xe9t\xe9"),
        "http 429",
        "",
    ),
    "wait odd date": (
        http(429, {"error": ERROR}, "retry-after: Mon, 99 Foo 2026 99:99:99 +9999"),
        "http 429",
        "",
    ),
    # No HTTP
    "closed": (b"", "connection", "the server closed the connection"),
    "closed halfway": (http(200, OK)[:-20], "connection", "not completed"),
    "closed in the head": (http(200, OK)[:40], "connection", "closed the connection"),
    "smtp": (b"220 mail.example.com ESMTP\r\n", "connection", ""),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "connection", ""),
    "tls": (b"\x15\x03\x01\x00\x02\x02\x46", "connection", ""),
    "noise": (bytes(range(256)) * 40, "connection", ""),
    "http 9": (b"HTTP/9.9 200 OK\r\n\r\n", "connection", ""),
    "no status": (b"HTTP/1.1 abc OK\r\n\r\n", "connection", ""),
    "status 0": (b"HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n", "", ""),
    "status 99999": (
        b"HTTP/1.1 99999 OK\r\ncontent-length: 0\r\n\r\n",
        "connection",
        "",
    ),
    "101": (
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "http 101",
        "",
    ),
    "length too long": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" + json.dumps(OK).encode(),
        "connection",
        "",
    ),
    "length too short": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n" + json.dumps(OK).encode(),
        "",
        "",
    ),
    "length a word": (
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}",
        "connection",
        "",
    ),
    "length negative": (
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
        "connection",
        "",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        "",
        "",
    ),
    "odd chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "connection",
        "",
    ),
    "half chunk": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{}",
        "connection",
        "",
    ),
    "header of 20 kB": (http(200, OK, "x-long: " + "a" * 20_000), "connection", ""),
    "1,000 headers": (
        http(200, OK, *(f"x-{n}: a" for n in range(1000))),
        "connection",
        "",
    ),
    "header without colon": (http(200, OK, "no colon here"), "connection", ""),
    "header with zero": (http(200, OK, "x: a\0b"), "connection", ""),
}


@pytest.fixture(scope="module")
def server():
    modes = {name: row[0] for name, row in (ANSWERED | FAILED | STOPPED).items()}
    keys = {name: f"m{number}" for number, name in enumerate(modes)}
    with RawServer({keys[name]: sent for name, sent in modes.items()}) as server:
        server.keys = keys
        yield server


def run(server, path, store_path, mode, **options):
    options = {"retries": 0, "timeout": 5.0} | options
    return ask(path, store_path, server.url(server.keys[mode]), **options)


@pytest.fixture
def path(write_sentences):
    return write_sentences(["Ana went home."])


STOPPED = {
    **{
        f"{status}": (
            http(status, "", "location: https://example.com/api/v1/chat/completions"),
            "N206",
            f"{status}.*https://example.com/api/v1",
        )
        for status in (301, 302, 303, 307, 308)
    },
    "303 relative": (
        http(307, "", "location: /other/v1/chat/completions"),
        "N206",
        "307.*/other/v1",
    ),
    **{
        f"odd {number}": (http(301, "", f"location: {url}"), "N206", "301")
        for number, url in enumerate(
            ("http://[", "http://a:9999999/", "//", "\xff\xfe", "javascript:x", "%00")
        )
    },
    "loop": (http(308, "", "location: ?"), "N206", "308"),
    "402": (
        http(402, {"error": "Insufficient Balance"}),
        "N206",
        "402, Insufficient Balance",
    ),
}


@pytest.mark.parametrize("mode", ANSWERED)
def test_it_becomes_an_answer(server, path, tmp_path, mode):
    report = run(server, path, tmp_path / "store.sqlite", mode)
    assert report.verdicts == {ANSWERED[mode][1]: 1}
    assert report.failures == {}
    assert server.requests[server.keys[mode]] == 1


@pytest.mark.parametrize("mode", FAILED)
def test_it_becomes_a_failure(server, path, tmp_path, mode):
    _, kind, words = FAILED[mode]
    report = run(server, path, tmp_path / "store.sqlite", mode)
    assert report.answers == 0
    assert report.failures == {kind: 1} if kind else report.failures.total() == 1
    assert words in report.reason
    assert report.reason


@pytest.mark.parametrize("mode", STOPPED)
def test_it_ends_the_run(server, path, tmp_path, mode):
    _, number, words = STOPPED[mode]
    with pytest.raises(NunerError, match=f"{number}(.|\n)*{words}"):
        run(server, path, tmp_path / "store.sqlite", mode)


# Times and sizes


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n"
MEGABYTE = b"100000\r\n" + b" " * 2**20 + b"\r\n"
BOMB = gzip.compress(b" " * 100 * 2**20)
UNENDING = {
    "dripping body": (
        drip(HEAD + b"content-length: 9999\r\n\r\n", b" "),
        "timeout",
        "no whole response within 1 seconds",
    ),
    "dripping head": (drip(HEAD, b"x: y\r\n"), "timeout", "no whole response"),
    "dripping line": (drip(HEAD + b"x: ", b"y"), "timeout", "no whole response"),
    "dripping error": (
        drip(b"HTTP/1.1 500 No\r\ncontent-length: 9999\r\n\r\n", b" "),
        "timeout",
        "no whole response",
    ),
    "silent": (drip(b"", b"", 5.0), "timeout", "no whole response"),
    "endless body": (flood(CHUNKED + b"\r\n", MEGABYTE), "too long", "than 8 MB"),
    "endless error": (
        flood(b"HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n", MEGABYTE),
        "http 400",
        "400",
    ),
    "endless head": (
        flood(HEAD, b"x: " + b"y" * 1000 + b"\r\n"),
        "connection",
        "header",
    ),
    "endless line": (flood(HEAD + b"x: ", b"y" * 1000), "connection", "8190 bytes"),
    "endless gzip": (
        flood(CHUNKED + b"content-encoding: gzip\r\n\r\n", MEGABYTE),
        "malformed",
        "header",
    ),
    "bomb": (http(200, BOMB, "content-encoding: gzip"), "too long", "than 8 MB"),
    "bomb twice": (
        http(200, gzip.compress(BOMB), "content-encoding: gzip, gzip"),
        "too long",
        "than 8 MB",
    ),
    "bomb of zlib": (
        http(500, zlib.compress(b"a" * 100 * 2**20), "content-encoding: deflate"),
        "http 500",
        "500, aaaa",
    ),
    "50 MB": (
        flood(HEAD + b"content-length: 50000000\r\n\r\n", b" " * 2**16),
        "too long",
        "than 8 MB",
    ),
}


@pytest.mark.parametrize("mode", one_in(3, UNENDING))
def test_it_is_read_up_to_a_bound_of_time_and_size(path, tmp_path, mode):
    # Slow where memory is traced.
    import openai.resources  # noqa: F401

    sent, kind, words = UNENDING[mode]
    with RawServer({"m": sent}) as server:
        tracemalloc.start()
        begin = time.monotonic()
        report = ask(path, tmp_path / "s", server.url("m"), retries=0, timeout=1.0)
        took = time.monotonic() - begin
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # What is not read is not sent: buffers are small.
        sent = sum(FLOODED.values())
        FLOODED.clear()
    assert report.failures == {kind: 1}
    assert words in report.reason
    # Of what comes slowly time is the bound, of what comes fast size is.
    assert kind != "timeout" or took < 5
    assert sent < 2 * LONGEST_BODY
    # The raw server's own buffers are among them.
    assert most < 10 * LONGEST_BODY


def test_it_is_asked_for_again_where_that_may_help(path, tmp_path):
    modes = {
        "malformed": http(202, {"status": "loading"}),
        "connection": b"SSH-2.0-OpenSSH\r\n",
        "long": http(200, completion(pad=" " * 9 * 10**6)),
        "400": http(400, "no"),
        "refused": http(400, {"error": {"code": "content_filter"}}),
        "SAFETY": http(200, without_message("SAFETY")),
    }
    with RawServer(modes) as server:
        for number, mode in enumerate(modes):
            store_path = tmp_path / f"{number}.sqlite"
            ask(path, store_path, server.url(mode), retries=1)
    assert server.requests == dict.fromkeys(modes, 1) | {
        "malformed": 2,
        "connection": 2,
    }


def test_an_odd_response_costs_no_other_sentence(write_sentences, tmp_path):
    """One process, one store, every kind of response by turns."""
    rows = [*ANSWERED.values(), *FAILED.values()]
    path = write_sentences([f"Ana has {number} cats." for number in range(len(rows))])
    turns = iter(row[0] for row in rows)

    async def respond(path, writer):
        writer.write(next(turns))
        await writer.drain()

    store_path = tmp_path / "store.sqlite"
    limits = Limits(failures=len(rows))
    with RawServer({"m": respond}) as server:
        url = server.url("m")
        report = ask(path, store_path, url, retries=0, limits=limits, concurrency=4)
        assert report.answers == len(ANSWERED)
        assert report.failures.total() == len(FAILED)
        assert len(stored(store_path)) == len(ANSWERED)
        turns = iter([http(200, OK)] * len(rows))
        assert ask(path, store_path, url).answers == len(FAILED)


def mutate(generator, content):
    """Some bytes of a response exchanged, left out, repeated or cut off."""
    content = bytearray(content)
    for _ in range(generator.randint(1, 3)):
        # Rather in the head than in the body.
        end = generator.choice([20, 120, len(content), len(content)])
        at = generator.randrange(min(end, len(content)))
        change = generator.randrange(5)
        if change == 0:
            content[at] = generator.randrange(256)
        elif change == 1:
            del content[at : at + generator.randint(1, 30)]
        elif change == 2:
            content[at:at] = content[at : at + 30] * generator.randint(1, 5)
        elif change == 3:
            content[at:at] = generator.choice(
                [b"\r\n", b"\0", b"\xff", b"{", b'"', b"9"]
            )
        elif len(content) > 40:
            del content[max(at, 20) :]
        if len(content) < 40:
            break
    return bytes(content)


@pytest.mark.parametrize("seed", range(4))
def test_responses_with_damaged_bytes(write_sentences, tmp_path, seed):
    generator = random.Random(seed)
    rows = [*ANSWERED.values(), *FAILED.values()]
    whole = [row[0] for row in rows if 40 < len(row[0]) < 10_000]
    path = write_sentences([f"Ana has {number} cats." for number in range(200)])

    async def respond(path, writer):
        writer.write(mutate(generator, generator.choice(whole)))
        await writer.drain()

    options = {"retries": 0, "timeout": 2.0, "limits": Limits(failures=1000)}
    with RawServer({"m": respond}) as server:
        report = ask(path, tmp_path / "store.sqlite", server.url("m"), **options)
    assert report.answers + report.failures.total() == 200
    assert len(stored(tmp_path / "store.sqlite")) == report.answers > 0


# Batches


def batch_server(rows, **changed):
    """A server of one batch whose output file has these rows."""
    steps = {
        "/files": {"id": "file-1"},
        "/batches": {"id": "b1", "metadata": {}, "created_at": 2**40, "data": []},
        "/batches/b1": {"id": "b1", "status": "completed", "output_file_id": "out"},
        "/files/out/content": b"\n".join(rows),
    } | changed

    async def respond(path, writer):
        step = steps[path.partition("/v1")[2].partition("?")[0]]
        sent = (
            step
            if isinstance(step, bytes) and step[:5] == b"HTTP/"
            else http(200, step)
        )
        writer.write(sent)
        await writer.drain()

    return RawServer({"m": respond})


def test_a_batch_with_a_row_of_every_kind_is_collected(
    write_sentences, tmp_path, monkeypatch
):
    """What was paid for is stored, and the rest is counted or asked again."""
    outcomes = {
        "good": {"status_code": 200, "body": OK},
        "as text": {"status_code": "200", "body": OK},
        "created": {"status_code": 201, "body": OK},
        "no status": {"body": OK},
        "refused": {"status_code": 400, "body": {"error": {"code": "content_filter"}}},
        "gemini": {"status_code": 200, "body": without_message("SAFETY")},
        "half": {"status_code": 200, "body": completion(model=HALF, usage=3)},
        "usage": {"status_code": 200, "body": completion(usage={"prompt_tokens": "x"})},
        "error": {"status_code": 500, "body": {"error": "out of luck"}},
        "page": {"status_code": 502, "body": "<html><body>Down</body></html>"},
        "odd status": {"status_code": {"a": 1}, "body": None},
        "deep": {"status_code": 200, "body": [[[[[[[[[[[]]]]]]]]]]]},
        "list": [1],
        "null": None,
    }
    names = list(outcomes)
    path = write_sentences([f"Ana is {name}." for name in names])
    monkeypatch.setattr("spacy_nuner.annotate.batch.uuid.uuid4", FixedName)
    rows = [
        json.dumps({"custom_id": f"name-{number}", "response": outcomes[name]}).encode()
        for number, name in enumerate(names)
    ]
    rows += [b"", b"[]", b'{"custom_id": 3}', b'{"custom', DEEP]
    store_path = tmp_path / "store.sqlite"
    with batch_server(rows) as server:
        report = ask(path, store_path, server.url("m"), batch=True)
    assert report.verdicts == {"good": 6, "refused": 2}
    assert report.failures == {"malformed": 4, "http 500": 1, "http 502": 1}
    assert len(stored(store_path)) == 8


class FixedName:
    hex = "name"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"/files": "no JSON"}, "malformed|no JSON"),
        ({"/files": b"<html><body>Sign in</body></html>"}, "Sign in"),
        ({"/files": {"error": {"message": "no room"}}}, "no room"),
        ({"/files": {"id": ["file-1"]}}, "id or a status is list"),
        ({"/files": {"id": HALF}}, "id or a status"),
        ({"/files": http(500, {"detail": "no files here"})}, "no files here"),
        ({"/files": http(204)}, "204"),
        ({"/files": DEEP}, r"\[\[\["),
        ({"/files": b"HTTP/9 nonsense"}, "HTTP"),
        ({"/files/out/content": http(404, {"detail": "it is gone"})}, "N225.*b1"),
        ({"/files/out/content": http(403, {"detail": "not yours"})}, "not yours"),
        (
            {"/files/out/content": b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}"},
            "not completed",
        ),
        ({"/batches/b1": {"id": "b1", "status": None}}, "id or a status"),
        ({"/batches/b1": {"id": "b1"}}, "status"),
        ({"/batches/b1": [1]}, r"\[1\]"),
        ({"/batches": {"id": 3, "data": []}}, "id or a status is int"),
        (
            {
                "/batches/b1": {
                    "id": "b1",
                    "status": "failed",
                    "errors": {"data": [{"message": ["too", "many"]}]},
                }
            },
            "N214.*too; many",
        ),
    ],
)
def test_a_batch_api_that_is_none(path, tmp_path, changed, words):
    with batch_server([], **changed) as server:
        url = server.url("m")
        with pytest.raises(NunerError, match=f"(?s)N2(06|14).*{words}|{words}"):
            ask(path, tmp_path / "store.sqlite", url, batch=True, retries=0)


def test_a_list_of_batches_without_an_end(path, tmp_path):
    """A server without pages, which gives the first one again and again."""
    listed = {
        "id": "b1",
        "data": [{"id": "x", "metadata": None, "created_at": 2**40}],
        "has_more": True,
    }
    steps = {"/batches": listed, "/batches/b1": {"id": "b1", "status": "failed"}}
    with batch_server([], **steps) as server, pytest.raises(NunerError, match="N214"):
        ask(path, tmp_path / "store.sqlite", server.url("m"), batch=True)


@pytest.mark.parametrize("data", [3, [{"id": "x", "metadata": [1]}]])
def test_a_list_of_batches_that_is_none(path, tmp_path, data):
    """It is asked for where nobody knows whether a batch was made."""
    seen = []

    async def respond(asked, writer):
        seen.append(asked.partition("/v1")[2].partition("?")[0])
        lost = seen[-1] == "/batches" and seen.count("/batches") == 1
        given = {"id": "file-1"} if seen[-1] == "/files" else {"data": data}
        writer.write(http(500, {}) if lost else http(200, given))
        await writer.drain()

    with RawServer({"m": respond}) as server:
        for words in ("N206", "N206.*Batch API"):
            with pytest.raises(NunerError, match=f"(?s){words}"):
                url = server.url("m")
                ask(path, tmp_path / "store.sqlite", url, batch=True, retries=0)
    assert seen == ["/files", "/batches", "/batches"]
