"""The API key goes to the server and nowhere else."""

import base64
import json
import os
import subprocess
import sys
import traceback
from itertools import product

import pytest
from typer.testing import CliRunner

from spacy_nuner.annotate.accounting import Report
from spacy_nuner.annotate.client import Connection, Endpoint
from spacy_nuner.cli.app import app
from spacy_nuner.errors import NunerError

from ..conftest import one_in
from .conftest import ask
from .server import Server

KEY = "sk-test-0123456789abcdef-SECRET"
WRONG = "sk-test-fedcba9876543210-WRONG"
CRASH = """
import sys
from spacy_nuner.annotate.client import Endpoint
from spacy_nuner.__main__ import main

async def crash(self, *args):
    key = self._key
    raise RuntimeError("a mistake of ours")

Endpoint.ask = crash
main()
"""


def run(path, folder, server, key, *, program=("-m", "spacy_nuner")):
    given = ("annotate", path, folder / "store.sqlite", "--log", folder / "log.jsonl")
    args = ("--base-url", server.url, "--model", "m", "--retries", "3")
    env = os.environ | {"OPENAI_API_KEY": key, "OPENAI_LOG": "debug"}
    return subprocess.run(
        [sys.executable, *program, *map(str, given), *args],
        env=env,
        capture_output=True,
        check=False,
        cwd=folder,
    )


@pytest.mark.slow
def test_a_key_is_nowhere_but_with_the_server(real_texts, write_sentences, tmp_path):
    path = write_sentences(real_texts[:60])
    runs = []
    with Server(key=KEY, faults=0.02, slow=0.1) as server:
        runs.append(run(path, tmp_path, server, WRONG))
        # The server repeats the key that it refused.
        assert runs[-1].returncode == 1
        assert b"bad key ***" in b" ".join(runs[-1].stdout.split())
        runs.append(run(path, tmp_path, server, KEY))
        assert runs[-1].returncode == 0
        assert len(server.answered) == 60
        more = write_sentences(real_texts[60:70])
        runs.append(run(more, tmp_path, server, KEY, program=("-c", CRASH)))
        assert runs[-1].returncode == 1
        assert b"a mistake of ours" in runs[-1].stderr
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) >= 3
    streams = [stream for one in runs for stream in (one.stdout, one.stderr)]
    for content in (*written, *streams):
        # Wrapped lines could hide it.
        flat = b"".join(content.split())
        assert KEY.encode() not in flat
        assert WRONG.encode() not in flat


class Echo(Server):
    """Says what it got as a key, in some form, to each request."""

    def __init__(self, say, *, status=401, headers=()):
        super().__init__()
        self.say, self.status, self.repeated = say, status, headers

    async def _route(self, scope, body, send):
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        key = headers.get("authorization", "").removeprefix("Bearer ")
        said = self.say(key)
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        repeated = [(name, key.encode()) for name in self.repeated]
        await self._send(send, self.status, content, b"application/json", *repeated)


def message(text):
    return {"error": {"message": text, "type": "x"}}


SAYINGS = {
    "whole": lambda k: message(f"bad key {k}"),
    "in two lines": lambda k: message(f"bad key {k[:15]}\n   {k[15:]}"),
    "the first part": lambda k: message(f"bad key {k[:20]}..."),
    "the last part": lambda k: message(f"bad key ...{k[12:]}"),
    "cut off": lambda k: message("x" * 470 + k),
    "a page that is cut off": lambda k: f"<html>bad key {k[:25]}".encode(),
    "upper case": lambda k: message(f"bad key {k.upper()}"),
    "percent": lambda k: message("".join(f"%{ord(c):02X}" for c in k)),
    "base64": lambda k: message(base64.b64encode(f"u:{k}".encode()).decode()),
    "escaped": lambda k: message("".join(f"\\u{ord(c):04x}" for c in k)),
    "spaced": lambda k: message(" ".join(k)),
    "as a code": lambda k: {"error": {"message": k, "code": k, "type": k, "param": k}},
    "as a list": lambda k: {"detail": [{"input": k, "msg": k}]},
}


def holds_key(content):
    """Whether a dozen of its characters are readable, in any of the forms."""
    flat = b"".join(content.split()).lower()
    forms = [KEY, base64.b64encode(f"u:{KEY}".encode()).decode()]
    forms += ["".join(form.format(ord(c)) for c in KEY) for form in ("%{:02X}",)]
    forms += ["".join(f"\\u{ord(c):04x}" for c in KEY)]
    sizes = [12, 14, 36, 72]
    return any(
        form[i : i + size].lower().encode() in flat
        for form, size in zip(forms, sizes, strict=True)
        for i in range(len(form) - size + 1)
    )


@pytest.mark.parametrize("case", one_in(3, product(SAYINGS, (False, True))), ids=repr)
def test_whatever_a_server_says(
    case, real_texts, write_sentences, tmp_path, monkeypatch
):
    saying, batch = case
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    path = write_sentences(real_texts[:1])
    log, store = tmp_path / "log.jsonl", tmp_path / "st.sqlite"
    with (
        Echo(SAYINGS[saying]) as server,
        pytest.raises(NunerError, match="N206") as caught,
    ):
        ask(path, store, server.url, retries=0, log=log, batch=batch)
    # Also to who calls it from Python and prints the error with its causes.
    shown = "".join(traceback.format_exception(caught.value)).encode()
    for content in (shown, *(file.read_bytes() for file in tmp_path.iterdir())):
        assert not holds_key(content), content


def test_an_answer_that_repeats_the_key(
    real_texts, write_sentences, tmp_path, monkeypatch
):
    def answer(key):
        said = {"role": "assistant", "content": f"Ana <> person\n{key} <> key"}
        choice = {"message": said, "finish_reason": f"stop {key}"}
        return {"object": "chat.completion", "model": key, "choices": [choice]}

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = write_sentences(real_texts[:1])
    log, store = tmp_path / "log.jsonl", tmp_path / "st.sqlite"
    with Echo(answer, status=200) as server:
        report = ask(path, store, server.url, log=log)
    assert report.answers == 1
    for file in tmp_path.iterdir():
        assert not holds_key(file.read_bytes())
    assert b"Ana <> person" in store.read_bytes()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (f"{KEY[:9]}\n{KEY[9:]}", "a blank or a line break"),
        (f"{KEY[:9]} {KEY[9:]}", "a blank or a line break"),
        (f"{KEY}é", "a letter beyond ASCII"),
    ],
)
def test_a_key_that_can_not_be_sent(key, found, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(NunerError, match="N050") as caught:
        Endpoint(Connection(), Report())
    assert found in str(caught.value) and not holds_key(str(caught.value).encode())


def test_what_the_command_does_not_store(write_sentences, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = write_sentences(["Ana left."])
    command = ["annotate", str(path), str(tmp_path / "st"), "--model", "m"]
    command += ["--log", str(tmp_path / "log.jsonl")]
    for extra in ({"api_key": "other"}, {"user": KEY}):
        given = [*command, "--extra", json.dumps(extra)]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 1 and "N051" in result.output
        assert not holds_key(result.output.encode())
    url = "http://me:hunter2hunter2@127.0.0.1:9/v1"
    result = CliRunner().invoke(app, [*command, "--base-url", url])
    assert result.exit_code == 1 and "N052" in result.output
    assert "hunter2" not in result.output
    url = "http://127.0.0.1:9/v1?api-key=hunter2hunter2"
    result = CliRunner().invoke(app, [*command, "--base-url", url, "--retries", "0"])
    assert result.exit_code == 1
    assert "api-key=***" in (tmp_path / "log.jsonl").read_text("utf8")
    written = [file.read_bytes() for file in tmp_path.iterdir()]
    for content in (result.output.encode(), *written):
        assert b"hunter2" not in content


@pytest.mark.slow
@pytest.mark.parametrize("program", ["spacy_nuner", "spacy nuner"])
def test_what_the_client_logs(program, write_sentences, tmp_path):
    path = write_sentences(["Ana left."])
    server = Echo(SAYINGS["whole"], headers=(b"x-request-id", b"set-cookie"))
    with server:
        done = run(path, tmp_path, server, KEY, program=("-m", *program.split()))
    assert done.returncode == 1 and b"request_id: ***" in done.stderr
    assert not holds_key(done.stdout) and not holds_key(done.stderr)
