"""Bodies, addresses and proxies as servers, gateways and people have them."""

import json

import pytest
from typer.testing import CliRunner

from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.responses import read_body, read_response
from spacy_nuner.cli.app import app
from spacy_nuner.errors import NunerError

from .conftest import ask
from .raw_server import CHOICE, CONTENT, USAGE, RawServer, completion, http

OK = json.dumps(completion())


def chunk(delta, reason=None, **fields):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Lisbon <> city <> A thought.\n"}),
    *(chunk({"content": piece}) for piece in (CONTENT[:6], CONTENT[6:])),
    {"choices": [{"index": 1, "delta": {"content": "other"}}]},
    chunk({}, "stop"),
    {"choices": [], "usage": USAGE, "model": "m"},
]
RESPONSE = {
    "status": "completed",
    "output": [{"type": "message", "content": [{"text": CONTENT}]}],
}


def stream(events, end="data: [DONE]\n\n", lines="\n"):
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + end
    return text.replace("\n", lines)


READ = {
    "blank lines": "\n     \n\n" * 40 + OK,
    "comments": ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n" + OK,
    "keep-alive": ": keep-alive\n\n\n" + OK,
    "stream": stream(CHUNKS),
    "stream with CRLF": stream(CHUNKS, lines="\r\n"),
    "stream without [DONE]": stream(CHUNKS, end=""),
    "stream without a reason": stream(CHUNKS[:-2]),
    "stream with comments": ": ping\n\n"
    + stream(CHUNKS).replace("\n\n", "\n\n: p\n\n"),
    "stream of one": stream([completion()]),
}


@pytest.mark.parametrize("name", READ)
def test_keep_alive_and_streams_that_nobody_asked_for(name):
    body = read_body(READ[name].encode())
    message = body["choices"][0]["message"]
    content = message["content"]
    assert "".join(filter(None, content)) == CONTENT
    assert body["model"] == "m"


@pytest.mark.parametrize(
    "text",
    [
        stream(CHUNKS[:4], end=""),
        stream(CHUNKS).replace('"content": "Ana <>', '"content": Ana <>'),
        ": only a comment",
        "data: [DONE]\n\n",
        "data:",
        "data: 3\n\n",
        ":" * 10_000,
        "data: {}\n\n" * 1000,
    ],
)
def test_a_stream_that_is_cut_or_damaged_is_no_answer(text):
    assert read_body(text.encode()) == text


def test_the_error_in_a_stream_is_told(write_sentences, tmp_path):
    error = {"error": {"message": "overloaded", "code": 502}}
    failed = {**chunk({"content": ""}, "error"), **error}
    modes = {"m": http(200, stream([*CHUNKS[:3], failed]))}
    with RawServer(modes) as server:
        path = write_sentences(["Ana went home."])
        report = ask(path, tmp_path / "store", server.url("m"), retries=0)
    assert report.failures == {"malformed": 1}
    assert report.reason == "overloaded"


def test_the_stream_of_a_response():
    events = [
        {"type": "response.created", "response": {"status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "Ana"},
        {"type": "response.completed", "response": RESPONSE},
    ]
    assert read_response(read_body(stream(events).encode())).content == CONTENT


def test_what_a_model_says_before_its_answer_is_left_out():
    said = {"type": "message", "phase": "commentary", "content": "Let me look."}
    data = RESPONSE | {"output": [said, *RESPONSE["output"]]}
    assert read_response(data).content == CONTENT


@pytest.mark.parametrize(
    "reason",
    [
        *("model_context_window_exceeded", "context_length_exceeded"),
        *("error", "abort", "insufficient_system_resource"),
    ],
)
def test_an_answer_that_was_cut_off_is_truncated(write_sentences, tmp_path, reason):
    modes = {"m": http(200, completion(CHOICE | {"finish_reason": reason}))}
    with RawServer(modes) as server:
        path = write_sentences(["Ana went home."])
        report = ask(path, tmp_path / "store", server.url("m"), retries=0)
    assert report.verdicts == {"truncated": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<!-- cached -->\n<html><body>Gone fishing</body></html>", "Gone fishing"),
        ({"status": "completed", "output": {"0": 1}}, '"output"'),
    ],
)
def test_the_words_of_a_failure(write_sentences, tmp_path, body, words):
    loaded = load_prompt("paper")
    with RawServer({"m": http(200, body)}) as server:
        path = write_sentences(["Ana went home."])
        report = ask(
            path,
            tmp_path / "store",
            server.url("m"),
            retries=0,
            settings=Settings(loaded, "m", {}, "responses"),
        )
    assert words in report.reason
    assert "cached" not in report.reason


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1", "http://[::1]x", "http://[v1.a]/v1", "http://256.1.1.1/v1"),
        *("http://１２７.0.0.1/v1", "http://xn--a-ecp.ru\u0301/v1", "[::1]:80"),
    ],
)
def test_an_address_that_is_none(write_sentences, tmp_path, url):
    path = write_sentences(["Ana went home."])
    with pytest.raises(NunerError, match="N221"):
        ask(path, tmp_path / "store", url)


def test_parameters_and_blanks_of_an_address(write_sentences, tmp_path):
    seen = []

    async def respond(path, writer):
        seen.append(path)
        writer.write(http(200, completion()))
        await writer.drain()

    path = write_sentences(["Ana went home."])
    with RawServer({"m": respond}) as server:
        for number, end in enumerate(("", "/", "?api-version=preview", "/?a=1&b=2")):
            ask(path, tmp_path / f"{number}", server.url("m") + end)
        command = ["annotate", path, tmp_path / "cli", "--model", "m", "--base-url"]
        blank = f" {server.url('m')} "
        result = CliRunner().invoke(app, [str(one) for one in (*command, blank)])
        assert result.exit_code == 0, result.output
    ends = ["", "", "?api-version=preview", "?a=1&b=2", ""]
    assert seen == [f"/m/v1/chat/completions{end}" for end in ends]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nowhere/at/all.pem"),
        ("OPENAI_PROJECT_ID", "é"),
        ("OPENAI_ORG_ID", "a\nb"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: é"),
    ],
)
def test_an_environment_that_can_not_be_used(
    write_sentences, tmp_path, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    path = write_sentences(["Ana went home."])
    with pytest.raises(NunerError, match="N224"):
        ask(path, tmp_path / "store", "http://127.0.0.1:9/v1")


def test_a_proxy_that_can_not_be_used(write_sentences, tmp_path, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5h://x")
    path = write_sentences(["Ana went home."])
    report = ask(path, tmp_path / "store", "http://127.0.0.1:9/v1", retries=0)
    assert report.failures == {"connection": 1}
