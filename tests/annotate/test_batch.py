"""The Batch API: files within the limits, batches that outlive their process."""

import asyncio
import json
import os
import signal
import sqlite3
import time

import pytest

from spacy_nuner.annotate import batch
from spacy_nuner.annotate.accounting import Limits, Price
from spacy_nuner.errors import NunerError

from .conftest import ask, settings_for, stored
from .server import Server, annotate, asked

pytestmark = pytest.mark.slow


@pytest.fixture
def store_path(tmp_path):
    return tmp_path / "store.sqlite"


def test_batches_answer_what_is_missing(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:40])
    with Server() as server:
        ask(write_sentences(real_texts[:10], "ten.jsonl"), store_path, server.url)
        limits = Limits(price=Price(input=0.5, output=1.0))
        report = ask(path, store_path, server.url, batch=True, limits=limits)
        assert len(server.batches) == 1
        assert server.answered == dict.fromkeys(real_texts[:40], 1)
        lines = [json.loads(line) for line in server.files["file-0"].splitlines()]
    assert report.answers == 30
    assert report.cost == pytest.approx(30 * 0.0002 / 2)
    assert len({line["custom_id"] for line in lines}) == 30
    assert all(len(line["custom_id"]) <= 64 for line in lines)
    assert lines[0]["url"] == "/v1/chat/completions"
    assert lines[0]["body"] == settings_for().body([real_texts[10]])
    contents = {text: answer.content for text, answer in stored(store_path).items()}
    assert contents == {text: annotate(text) for text in real_texts[:40]}
    assert not list(store_path.parent.glob(".store*"))


@pytest.mark.parametrize(
    ("limit", "value", "files"), [("MOST_REQUESTS", 12, 3), ("MOST_BYTES", 12_000, 3)]
)
def test_no_file_is_over_the_limits(
    real_texts, write_sentences, store_path, monkeypatch, limit, value, files
):
    monkeypatch.setattr(batch, limit, value)
    path = write_sentences(real_texts[:30])
    with Server() as server:
        assert ask(path, store_path, server.url, batch=True).answers == 30
        sent = [server.files[one["input_file_id"]] for one in server.batches.values()]
    assert len(sent) >= files
    for file in sent:
        if limit == "MOST_BYTES":
            assert len(file) <= value
        else:
            assert len(file.splitlines()) <= value


def test_expired_and_missing_requests_go_back_in_line(
    real_texts, write_sentences, store_path
):
    texts = real_texts[:20]
    path = write_sentences(texts)
    with Server() as server:
        server.batch_faults = {
            texts[3]: "expired",
            texts[4]: "missing",
            texts[5]: "no such parameter",
        }
        report = ask(path, store_path, server.url, batch=True)
        assert len(server.batches) == 2
        assert report.failures == {"http 400": 1}
        assert report.answers == 19
        assert "no such parameter" in report.reason
        # The next run asks once more about what the server refused.
        assert ask(path, store_path, server.url, batch=True).answers == 1
    assert stored(store_path).keys() == set(texts)


def test_several_sentences_a_request(real_texts, write_sentences, store_path):
    texts = real_texts[:21]
    path = write_sentences(texts)
    settings = settings_for(sentences=4)
    with Server() as server:
        report = ask(path, store_path, server.url, batch=True, settings=settings)
    assert report.verdicts == {"good": 21}
    contents = {
        text: answer.content for text, answer in stored(store_path, settings).items()
    }
    assert contents == {text: annotate(text) for text in texts}


def test_lines_of_a_file_that_are_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "LONGEST_BODY", 1000)
    path = tmp_path / "answers.jsonl"
    rows = [
        {"custom_id": "b-0", "response": {"status_code": 200, "body": {}}},
        {"custom_id": "b-1", "error": "overloaded"},
        {"custom_id": "b"},
        {"custom_id": None},
        {"custom_id": "b-" + "9" * 900},
        {"custom_id": "b-2", "pad": "a" * 5000},
        ["b-2"],
        {"custom_id": "b-\u0663"},
        {"custom_id": "b-4", "response": []},
    ]
    lines = [json.dumps(row).encode() for row in rows]
    lines += [b"\xff\xfe", b"", b"[" * 900, b'{"custom_id": "b-5", "response": null}']
    path.write_bytes(b"\n".join(lines) + b'\n{"custom')
    assert [number for number, _ in batch._read_rows(path)] == [0, 1, 3, 4, 5]


def test_bad_answers_are_asked_again_once(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:5])
    with Server(reply=lambda body: "I would rather not.") as server:
        ask(path, store_path, server.url, batch=True)
        report = ask(path, store_path, server.url, batch=True, retry_bad=True)
        assert report.verdicts == {"unreadable": 5}
        assert server.seen == dict.fromkeys(real_texts[:5], 2)


def test_a_batch_that_the_server_will_not_run(
    real_texts, write_sentences, store_path, monkeypatch
):
    path = write_sentences(real_texts[:20])
    with Server() as server:
        server.fail_batches = ["too many tokens are in line"]
        with pytest.raises(NunerError, match="too many tokens are in line") as raised:
            ask(path, store_path, server.url, batch=True)
        assert raised.value.code == "N214"
        # Where others got through, it is sent again after them.
        monkeypatch.setattr(batch, "MOST_REQUESTS", 10)
        server.fail_batches = ["too many tokens are in line"]
        assert ask(path, store_path, server.url, batch=True).answers == 20
        assert server.answered == dict.fromkeys(real_texts[:20], 1)


def test_it_stops_before_spending_more(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:50])
    settings = settings_for(max_tokens=100)
    limits = Limits(cost=0.00105, price=Price(input=0.0, output=1.0))
    options = {"batch": True, "settings": settings, "limits": limits}
    with Server() as server:
        with pytest.raises(NunerError) as raised:
            ask(path, store_path, server.url, **options)
        # 100 tokens of output cost 0.0001 at most.
        assert raised.value.code == "N208"
        assert len(server.answered) == 10
    assert len(stored(store_path, settings)) == 10


def leave_open(server, path, store_path, **options):
    """A run that ends when its batch is made, and before it is looked at."""
    server.broken = "GET /v1/batches/"
    with pytest.raises(NunerError, match="N206"):
        ask(path, store_path, server.url, batch=True, **options)
    server.broken = None
    assert len(server.batches) == 1


def test_a_server_without_batches_keeps_no_sentence(
    real_texts, write_sentences, store_path
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        server.broken = "POST /v1/files"
        with pytest.raises(NunerError, match="N206"):
            ask(path, store_path, server.url, batch=True)
        # By single requests they have their answers.
        assert ask(path, store_path, server.url).answers == 10


def test_interrupted_while_it_uploads_it_keeps_no_sentence(
    real_texts, write_sentences, store_path, monkeypatch
):
    path = write_sentences(real_texts[:10])

    async def interrupt(*_):
        raise asyncio.CancelledError

    with Server() as server:
        with monkeypatch.context() as patch:
            patch.setattr(batch.BatchRun, "_advance", interrupt)
            with pytest.raises(BaseException):  # noqa: B017, PT011
                ask(path, store_path, server.url, batch=True)
        assert ask(path, store_path, server.url).answers == 10
        assert not server.batches


@pytest.mark.parametrize("step", ["POST /v1/batches", "GET /v1/batches"])
def test_a_server_that_takes_files_and_no_batches(
    real_texts, write_sentences, store_path, step
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        server.broken = step
        if step.startswith("POST"):
            with pytest.raises(NunerError, match="N206"):
                ask(path, store_path, server.url, batch=True)
            assert ask(path, store_path, server.url).answers == 10
        else:
            # What was never sent is not looked for; but it can't be collected.
            with pytest.raises(NunerError, match="N206"):
                ask(path, store_path, server.url, batch=True)
            assert server.made == 1


def test_a_batch_whose_response_is_lost_is_made_once(
    real_texts, write_sentences, store_path
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        server.lost_after = "POST /v1/batches"
        assert ask(path, store_path, server.url, batch=True).answers == 10
        assert server.made == 1 and server.lost_after is None


def test_answers_that_the_server_has_no_more(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        leave_open(server, path, store_path)
        server._finish(server.batches["batch_0"])
        server.files.pop(server.batches["batch_0"]["output_file_id"])
        with pytest.raises(NunerError, match="N225.*batch_0.*--resend-lost"):
            ask(path, store_path, server.url, batch=True)
        report = ask(path, store_path, server.url, batch=True, resend_lost=True)
        assert report.answers == 10


def test_a_batch_that_the_server_does_not_have(real_texts, write_sentences, store_path):
    """Made with another key, or deleted; all others are collected."""
    with Server() as server:
        leave_open(server, write_sentences(real_texts[:10]), store_path)
        server.batches["batch_elsewhere"] = server.batches.pop("batch_0")
        path = write_sentences(real_texts[:30], "more.jsonl")
        for _ in range(2):
            with pytest.raises(NunerError, match="N225.*batch_0.*--resend-lost"):
                ask(path, store_path, server.url, batch=True)
            assert len(stored(store_path)) == 20
        # With the key it was made with it is collected, and nothing is paid twice.
        server.batches["batch_0"] = server.batches["batch_elsewhere"]
        assert ask(path, store_path, server.url, batch=True).answers == 10
        assert server.answered == dict.fromkeys(real_texts[:30], 1)


def test_a_batch_that_is_lost_for_good(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        leave_open(server, path, store_path)
        server.batches["batch_elsewhere"] = server.batches.pop("batch_0")
        report = ask(path, store_path, server.url, batch=True, resend_lost=True)
        assert report.answers == 10


def test_a_server_that_forgets_every_batch_is_not_paid_again_and_again(
    real_texts, write_sentences, store_path
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        server.forgets = True
        with pytest.raises(NunerError, match="N225"):
            ask(path, store_path, server.url, batch=True, resend_lost=True)
        assert server.made == 1


def test_the_address_of_a_batch_may_be_typed_in_another_way(
    real_texts, write_sentences, store_path
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        leave_open(server, path, store_path)
        assert ask(path, store_path, f"{server.url}/", batch=True).answers == 10
        assert len(server.batches) == 1


def test_a_batch_that_a_person_cancels_is_not_sent_again(
    real_texts, write_sentences, store_path
):
    path = write_sentences(real_texts[:10])
    with Server() as server:
        server.batch_faults = dict.fromkeys(real_texts[6:10], "cancelled")
        with pytest.raises(NunerError, match="N214.*batch_0 was cancelled"):
            ask(path, store_path, server.url, batch=True)
        assert len(server.batches) == 1 and len(stored(store_path)) == 6
        # Until it is asked for.
        assert ask(path, store_path, server.url, batch=True).answers == 4


def test_what_is_under_way_counts_against_the_limit(
    real_texts, write_sentences, store_path
):
    settings = settings_for(max_tokens=100)
    limits = Limits(cost=0.00105, price=Price(input=0.0, output=1.0))
    options = {"settings": settings, "limits": limits}
    with Server() as server:
        leave_open(server, write_sentences(real_texts[:10]), store_path, **options)
        path = write_sentences(real_texts[:50], "more.jsonl")
        with pytest.raises(NunerError, match="N208"):
            ask(path, store_path, server.url, batch=True, **options)
        # Ten at 0.0001 at most are all that it allows.
        assert len(server.answered) == len(stored(store_path, settings)) == 10


@pytest.mark.parametrize(
    "step", ["POST /v1/files", "POST /v1/batches", "GET /v1/files"]
)
@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_run_that_dies_between_two_steps(
    real_texts, write_sentences, store_path, forker, step
):
    """The other side has done its part, but the store does not know."""
    path = write_sentences(real_texts[:20])
    with Server() as server:
        server.hold_after = step
        args = ("annotate", path, store_path, "--base-url", server.url, "--model", "m")
        pid = forker.start(*args, "--batch", "--poll", "0.02")
        assert server.held.wait(30)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        server.hold_after = None
        assert stored(store_path) == {}
        assert ask(path, store_path, server.url, batch=True).answers == 20
        assert len(server.batches) == 1
        assert server.seen == dict.fromkeys(real_texts[:20], 1)
    assert stored(store_path).keys() == set(real_texts[:20])


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_what_a_store_calls_a_batch_is_no_path(
    real_texts, write_sentences, store_path, forker
):
    path = write_sentences(real_texts[:5])
    with Server() as server:
        server.hold_after = "POST /v1/files"
        args = ("annotate", path, store_path, "--base-url", server.url, "--model", "m")
        pid = forker.start(*args, "--batch", "--poll", "0.02")
        assert server.held.wait(30)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        server.hold_after = None
        with sqlite3.connect(store_path) as db:
            db.execute("UPDATE batches SET id = '../x'")
            db.execute("UPDATE batch_items SET batch = '../x'")
        before = set(store_path.parent.iterdir())
        assert ask(path, store_path, server.url, batch=True).answers == 5
        assert not set(store_path.parent.iterdir()) - before


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_run_that_dies_while_it_collects(
    real_texts, write_sentences, store_path, forker
):
    path = write_sentences(real_texts[:20])
    with Server() as server:
        server.batch_faults = {real_texts[5]: "no such parameter"}
        # The file of errors, after that of the requests and that of the answers.
        server.hold_after = "GET /v1/files/file-2"
        args = ("annotate", path, store_path, "--base-url", server.url, "--model", "m")
        pid = forker.start(*args, "--batch", "--poll", "0.02")
        assert server.held.wait(30)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        server.hold_after = None
        assert len(stored(store_path)) == 19
        report = ask(path, store_path, server.url, batch=True)
        assert (report.answers, report.failures) == (0, {"http 400": 1})
        assert len(server.batches) == 1
        assert ask(path, store_path, server.url, batch=True).answers == 1
    assert stored(store_path).keys() == set(real_texts[:20])


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_what_an_answer_passed_over_before_a_kill(write_sentences, store_path, forker):
    texts = [f"Lisbon has {number} hills." for number in range(8)]
    path = write_sentences(texts)

    def reply(body):
        # The last of several is passed over.
        answers = [f"Lisbon <> city <> {text}" for text in asked(body)]
        if len(answers) == 1:
            return answers[0]
        return "\n".join(f"[{n}] {one}" for n, one in enumerate(answers[:-1], start=1))

    settings = settings_for(sentences=4)
    with Server(reply=reply) as server:
        server.batch_faults = {texts[4]: "no such parameter"}
        server.hold_after = "GET /v1/files/file-2"
        args = ("annotate", path, store_path, "--base-url", server.url, "--model", "m")
        more = ("--batch", "--poll", "0.02", "--per-request", "4")
        pid = forker.start(*args, *more)
        assert server.held.wait(30)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        server.hold_after = None
        assert stored(store_path, settings).keys() == set(texts[:3])
        ask(path, store_path, server.url, batch=True, settings=settings)
        ask(path, store_path, server.url, batch=True, settings=settings)
    contents = {
        text: answer.content for text, answer in stored(store_path, settings).items()
    }
    assert contents == {text: f"Lisbon <> city <> {text}" for text in texts}


@pytest.mark.skipif(os.name != "posix", reason="forks and kills")
def test_a_killed_run_is_gone_on_with(real_texts, write_sentences, store_path, forker):
    path = write_sentences(real_texts[:30])
    with Server(polls=10**6) as server:
        args = ("annotate", path, store_path, "--base-url", server.url, "--model", "m")
        pid = forker.start(*args, "--batch", "--poll", "0.02")
        deadline = time.monotonic() + 30
        while not any(one["polls"] > 3 for one in server.batches.values()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        # Neither does a run without --batch ask about what is in a batch.
        assert ask(path, store_path, server.url).requests == 0
        server.polls = 1
        assert ask(path, store_path, server.url, batch=True).answers == 30
        assert len(server.batches) == 1
    left = sqlite3.connect(store_path)
    for table in ("batches", "batch_items"):
        assert left.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
    left.close()
