"""The commands sample, annotate and export, as a user types them."""

import json
import os

import pytest
from typer.testing import CliRunner

from spacy_nuner.annotate.accounting import Limits
from spacy_nuner.annotate.client import Connection
from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.cli.annotate import annotate
from spacy_nuner.cli.app import app
from spacy_nuner.cli.export import export
from spacy_nuner.cli.sample import sample

from ..annotate.raw_server import RawServer, http
from ..annotate.server import Server

PRICES = {"currency": "USD", "models": {"m": {"input": 1.0, "output": 2.0}}}


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    def run(*args, code=0):
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        assert result.exit_code == code, result.output
        # Messages are wrapped to the width of the screen.
        return " ".join(result.output.split())

    return run


@pytest.fixture
def source(assets, tmp_path):
    path = tmp_path / "source.jsonl"
    lines = (assets / "annotations" / "arts-media.jsonl").read_text(encoding="utf8")
    path.write_text("".join(line + "\n" for line in lines.splitlines()[:60]))
    return path


def test_from_a_source_to_records(run, source, tmp_path):
    sentences, store = tmp_path / "sentences.jsonl", tmp_path / "store.sqlite"
    prices, log = tmp_path / "prices.json", tmp_path / "log.jsonl"
    prices.write_text(json.dumps(PRICES))
    assert "40 sentences in" in run("sample", source, sentences, "--n", 40)
    with Server() as server:
        args = ("annotate", sentences, store, "--base-url", server.url, "--model", "m")
        printed = run(*args, "--prices", prices, "--dry-run")
        assert "40 sentences, 0 need no asking, 40 to ask in 40 requests" in printed
        assert "4 bytes a token" in printed
        assert "100 tokens a sentence, the mean of the answers in assets" in printed
        assert server.requests == 0
        assert not store.exists()
        printed = run(*args, "--prices", prices, "--log", log, "--temperature", "0")
        assert "40 answers, 40 requests sent, 4,000 tokens sent and 2,000" in printed
        assert "0.0080 USD" in printed
        assert server.bodies[0]["temperature"] == 0.0
        printed = run(*args, "--temperature", "0")
        assert "40 need no asking, 0 to ask" in printed
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    assert len(events) == 42
    assert events[0]["params"] == {"temperature": 0.0}
    assert events[-1]["statuses"] == {"200": 40}
    assert "40 answers in" in run("export", store, tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    expected = [json.loads(line) for line in sentences.read_text().splitlines()]
    assert [(one["id"], one["text"]) for one in records] == [
        (one["id"], one["text"]) for one in expected
    ]
    assert all(list(one) == ["id", "text", "answer"] for one in records)


def test_the_commands_are_functions(source, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    sentences, store = tmp_path / "sentences.jsonl", tmp_path / "store.sqlite"
    drawn = sample(str(source), sentences, n=20, max_documents=30)
    assert (drawn.drawn, drawn.documents) == (20, 30)
    settings = Settings(load_prompt("paper"), "m", {"temperature": 0})
    with Server() as server:
        connection = Connection(base_url=server.url, concurrency=4)
        for batch, answers in ((True, 20), (False, 0)):
            report = annotate(
                *(sentences, store, settings, connection, Limits()),
                batch=batch,
                poll=0.02,
            )
            assert report.answers == answers
        assert len(server.answered) == 20
    assert export(store, tmp_path / "answers.jsonl") == {"good": 20}


def test_the_estimate_learns_from_the_server_and_the_store(run, source, tmp_path):
    store = tmp_path / "store.sqlite"
    with Server(tokenizer=True) as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        assert "the server's tokenizer" in run(*args, "--dry-run")
        run(*args)
        printed = run(*args, "--seed", "1", "--dry-run")
        assert "50 tokens a sentence, the mean of the newest 60 answers" in printed


def test_a_run_in_batches_as_json(run, source, tmp_path):
    store, output = tmp_path / "store.sqlite", tmp_path / "answers.jsonl"
    with Server() as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        shape = ("--structured", "--per-request", "4", "--extra", '{"top_p": 0.5}')
        printed = run(*args, *shape, "--batch", "--poll", "0.02", "--max-tokens", "99")
        assert "60 answers" in printed
        line = json.loads(server.files["file-0"].splitlines()[0])
        assert (line["body"]["top_p"], line["body"]["max_tokens"]) == (0.5, 99)
    run("export", store, output)
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(one["entities"] for one in records)


def test_bad_answers_are_reported_and_asked_again(run, source, tmp_path):
    store = tmp_path / "store.sqlite"
    with Server(reply=lambda body: "I would rather not.") as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        printed = run(*args)
        assert "W204" in printed
        assert "60 unreadable" in printed
        assert "W204" in run("export", store, tmp_path / "answers.jsonl")
        server.reply = None
        assert "60 answers" in run(*args, "--retry", "bad", "--temperature", "1")
        assert "0 to ask" in run(*args, "--retry", "bad")


def test_failures_are_reported(run, source, tmp_path):
    store = tmp_path / "store.sqlite"
    with Server(faults=0.02) as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        printed = run(*args, "--retries", "0", "--timeout", "1")
        assert "W203" in printed
        server.faults = 0.1
        assert "N207" in run(*args, "--retries", "0", "--timeout", "1", code=1)
        server.faults = 0.0
        run(*args)
    assert "60 answers in" in run("export", store, tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    ("more", "number"),
    [
        (["--prompt", "none"], "N203"),
        (["--max-cost", "1"], "N215"),
        (["--extra", "{"], "N213"),
        (["--extra", "3"], "N213"),
        (["--prices", "none.json"], "N220"),
        (["--base-url", "https://api.openai.com/v1"], "N205"),
        (["--log", "source.jsonl/log.jsonl"], "N003"),
        (["--log", "/dev/full"], "N032"),
        (["--base-url", "localhost:8000/v1"], "N221"),
        (["--base-url", "http://[::1/v1"], "N221"),
        (["--base-url", "http://"], "N221"),
        (["--base-url", "http://localhost:eighty/v1"], "N221"),
        (["--base-url", "http://a b/v1"], "N221"),
        (["--base-url", "http://a\ud800/v1"], "N221"),
        (["--model", "m\udcff"], "N222"),
        (["--temperature", "inf"], "N222"),
        (["--extra", '{"top_p": NaN}'], "N222"),
        (["--extra", '{"top_p": 1e999}'], "N222"),
        (["--extra", '{"user": "\\ud800"}'], "N222"),
        (["--extra", "[" * 100_000], "N213"),
        (["--extra", '{"max_tokens": "many"}', "--retries", "0"], "N207"),
    ],
)
def test_settings_that_make_no_sense(run, source, tmp_path, monkeypatch, more, number):
    monkeypatch.chdir(tmp_path)
    args = ("annotate", source, tmp_path / "store.sqlite", "--model", "m")
    assert number in run(*args, "--base-url", "http://127.0.0.1:9", *more, code=1)


@pytest.mark.parametrize(
    ("given", "variable"),
    [(None, ""), (None, "?api-version=1"), ("--base-url", "http://127.0.0.1:9/v1")],
)
def test_the_address_in_the_environment(
    run, source, tmp_path, monkeypatch, given, variable
):
    store = tmp_path / "store.sqlite"
    with Server() as server:
        address = server.url + variable if given is None else variable
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        more = (given, server.url) if given else ()
        printed = run("annotate", source, store, "--model", "m", *more)
        assert len(server.answered) == 60
    notice = f"The server is that in OPENAI_BASE_URL: {address}"
    assert (notice in printed) == (given is None)
    # From Python too.
    assert Connection().base_url == address
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert Connection().base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "example.com")
    assert "N221" in run("annotate", source, store, "--model", "m", code=1)


@pytest.mark.parametrize("batch", [[], ["--batch", "--poll", "0.02"]])
def test_the_responses_api(run, source, tmp_path, batch):
    store, log = tmp_path / "store.sqlite", tmp_path / "log.jsonl"
    with Server() as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        api = ("--api", "responses", "--max-tokens", "99", "--log", log)
        assert "60 answers" in run(*args, *api, *batch)
        line = server.files["file-0"].splitlines()[0] if batch else b"{}"
        body = json.loads(line)["body"] if batch else server.bodies[0]
        assert body["max_output_tokens"] == 99
    assert json.loads(log.read_text().splitlines()[0])["api"] == "responses"
    assert "60 answers in" in run("export", store, tmp_path / "answers.jsonl")
    assert "expected" in run(*args, "--api", "soap", code=2)


def test_an_address_that_redirects(run, source, tmp_path):
    with Server() as server:
        moved = http(308, "", f"location: {server.url}/chat/completions")
        with RawServer({"m": moved}) as first:
            args = ("annotate", source, tmp_path / "store.sqlite", "--model", "m")
            printed = run(*args, "--base-url", first.url("m"), code=1)
            assert "N206" in printed
            assert f"It redirects to {server.url}: if you trust" in printed
            # Neither the texts nor a key go to where nobody said.
            assert server.requests == 0


def test_ids_and_names_that_hold_half_a_surrogate_pair(run, tmp_path):
    source, store = tmp_path / "source.jsonl", tmp_path / "store.sqlite"
    rows = ['{"id": "a\\ud800", "text": "Ana left."}', '{"text": "Ana \\udc00 left."}']
    source.write_text("\n".join(rows))
    prompt = tmp_path / os.fsdecode(b"prompt\xff.txt")
    prompt.write_text("Input: {text}")
    with Server() as server:
        args = ("--base-url", server.url, "--model", "m", "--prompt", prompt)
        printed = run("annotate", source, store, *args)
    assert "1 answers" in printed
    assert "1 with broken characters (first:" in printed
    run("export", store, tmp_path / "answers.jsonl")
    line = json.loads((tmp_path / "answers.jsonl").read_text(encoding="utf8"))
    assert line["id"] == "a\ufffd"


def test_a_price_before_there_is_a_key(run, source, tmp_path):
    store = tmp_path / "store.sqlite"
    assert "60 to ask" in run("annotate", source, store, "--model", "m", "--dry-run")
    # What is repeated is asked about once, so it costs nothing.
    source.write_text(2 * source.read_text(encoding="utf8"), encoding="utf8")
    printed = run("annotate", source, store, "--model", "m", "--dry-run")
    assert "120 sentences, 60 need no asking, 60 to ask in 60 requests" in printed
    assert "60 sentences are there more than once" in printed


@pytest.mark.parametrize("name", ["-", "/dev/null"])
def test_sentences_that_can_be_read_once_alone(run, tmp_path, name):
    store = tmp_path / "store.sqlite"
    assert "can't be read twice" in run("annotate", name, store, "--model", "m", code=1)
    assert not store.exists()


def test_files_that_hold_no_sentence(run, tmp_path):
    empty, store = tmp_path / "empty.jsonl", tmp_path / "store.sqlite"
    empty.write_text("\n")
    args = ("--base-url", "http://127.0.0.1:9", "--model", "m")
    assert "N201" in run("annotate", empty, store, *args, code=1)
    assert "N005" in run("annotate", tmp_path / "no", store, *args, code=1)
    assert "N201" in run("sample", empty, tmp_path / "out.jsonl", "--n", 1, code=1)
    assert not (tmp_path / "out.jsonl").exists()
    assert "N212" in run("export", store, tmp_path / "out.jsonl", code=1)
    before = empty.read_bytes()
    assert "N030" in run("sample", empty, empty, "--n", 1, code=1)
    assert "N110" in run("export", store, empty, code=1)
    assert empty.read_bytes() == before
    assert "N212" in run("export", tmp_path / "no", tmp_path / "out.jsonl", code=1)


def test_lines_that_are_left_out_are_shown(run, source, tmp_path):
    with source.open("ab") as file:
        file.write(b"\xff\n{}\n")
    printed = run("sample", source, tmp_path / "out.jsonl", "--n", 10)
    assert "[W201] Left out of" in printed
    assert "1 not UTF-8 (first: source.jsonl:61)" in printed
    store = tmp_path / "store.sqlite"
    printed = run("annotate", source, store, "--model", "m", "--dry-run")
    assert "W201" in printed
    assert "1 not UTF-8 (first:" in printed
    # The path may be broken over two lines.
    assert "source.jsonl:62)" in printed.replace(" ", "")


def test_what_waits_in_a_batch_is_shown(run, source, tmp_path):
    store = tmp_path / "store.sqlite"
    with Server() as server:
        args = ("annotate", source, store, "--base-url", server.url, "--model", "m")
        # The batch is made, but can't be collected.
        server.broken = "GET /v1/batches/"
        assert "N206" in run(*args, "--batch", "--retries", "0", code=1)
        printed = run(*args, "--dry-run")
        assert "60 sentences are in a batch, which --batch collects" in printed
        assert "0 to ask" in printed
        server.broken = None
        assert "60 answers" in run(*args, "--batch", "--poll", "0.02")


def test_a_store_of_several_prompts(run, source, tmp_path):
    store, output = tmp_path / "store.sqlite", tmp_path / "answers.jsonl"
    with Server() as server:
        for model in ("a", "b"):
            args = ("--base-url", server.url, "--model", model)
            run("annotate", source, store, *args)
        run("annotate", source, store, *args, "--prompt", "blog")
    assert "N211" in run("export", store, output, code=1)
    assert "N211" in run("export", store, output, "--model", "b", code=1)
    run("export", store, output, "--model", "b", "--prompt", "blog")
    assert "N212" in run("export", store, output, "--model", "c", code=1)


def test_too_few_sentences(run, source, tmp_path):
    printed = run("sample", source, tmp_path / "out.jsonl", "--n", 1000)
    assert "W202" in printed
