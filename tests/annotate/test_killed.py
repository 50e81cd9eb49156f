"""Processes that die or want the same store: no answer lost, none asked for twice."""

import os
import signal
import sqlite3
import time
from contextlib import suppress

import pytest

from spacy_nuner.cli.export import export
from spacy_nuner.errors import NunerError

from .conftest import ask, stored
from .raw_server import RawServer, drip, http
from .server import Server

CONCURRENCY = 8
# Requests and answers of a run before it is killed, in turns.
KILLED_AT = [(1, 0), (8, 0), (9, 1), (17, 8), (26, 20), (40, 33)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="forks and kills"),
]


def command(path, store_path, server, *more):
    fixed = ("--base-url", server.url, "--model", "m", "--concurrency", CONCURRENCY)
    return ("annotate", path, store_path, *fixed, *more)


def committed(store_path):
    """The texts with an answer, as another program would read them."""
    if not store_path.exists():
        return set()
    reading = sqlite3.connect(store_path)
    try:
        return {text for (text,) in reading.execute("SELECT text FROM answers")}
    except sqlite3.OperationalError:
        # Killed before the tables were made.
        return set()
    finally:
        reading.close()


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_kills_lose_only_what_was_under_way(
    real_texts, write_sentences, tmp_path, forker
):
    texts = list(dict.fromkeys(real_texts))[:300]
    path = write_sentences(texts)
    store_path = tmp_path / "store.sqlite"
    with Server(latency=0.02) as server:
        for requests, answers in KILLED_AT:
            before, done = server.seen.copy(), len(committed(store_path))
            sent = server.requests
            pid = forker.start(*command(path, store_path, server))
            wait_until(
                lambda sent=sent, requests=requests: server.requests >= sent + requests
            )
            # Into the middle of sending, answering or committing.
            wait_until(
                lambda done=done, answers=answers: (
                    len(committed(store_path)) >= done + answers
                )
            )
            os.kill(pid, signal.SIGKILL)
            assert forker.wait(pid) == -signal.SIGKILL
            wait_until(lambda: server.under_way == 0)
            under_way = set(server.seen) - committed(store_path)
            assert len(under_way) <= CONCURRENCY
            again = [text for text, n in server.seen.items() if n > before.get(text, n)]
            assert len(again) <= CONCURRENCY
        asked = server.seen.copy()
        done = committed(store_path)
        assert 0 < len(done) < len(texts)
        pid = forker.start(*command(path, store_path, server))
        assert forker.wait(pid) == 0
        # What was committed is never asked about again.
        assert {text: server.seen[text] for text in done} == {
            text: asked[text] for text in done
        }
        assert set(server.seen) == set(texts)
        assert server.seen.total() - len(texts) <= len(KILLED_AT) * CONCURRENCY
    assert stored(store_path).keys() == set(texts)
    with Server() as server:
        assert ask(path, store_path, server.url).requests == 0


def test_a_kill_while_the_store_is_made(real_texts, write_sentences, tmp_path, forker):
    path = write_sentences(real_texts[:20])
    store_path = tmp_path / "store.sqlite"
    with Server() as server:
        work = store_path.with_name(f".{store_path.name}.work")
        for appears in (store_path, work / "run.json"):
            pid = forker.start(*command(path, store_path, server))
            wait_until(appears.exists)
            os.kill(pid, signal.SIGKILL)
            forker.wait(pid)
        pid = forker.start(*command(path, store_path, server))
        assert forker.wait(pid) == 0
    assert len(stored(store_path)) == 20


def test_one_process_a_store(real_texts, write_sentences, tmp_path, forker):
    texts = list(dict.fromkeys(real_texts))[:100]
    path = write_sentences(texts)
    store_path = tmp_path / "store.sqlite"
    with Server(latency=0.02) as server:
        pid = forker.start(*command(path, store_path, server, "--rpm", 60))
        wait_until(lambda: committed(store_path))
        with pytest.raises(NunerError, match=rf"N218.*process {pid} ") as raised:
            ask(path, store_path, server.url)
        assert raised.value.fields["pid"] == pid
        # What reads only, may.
        assert export(store_path, tmp_path / "answers.jsonl").total() > 0
        assert (
            forker.wait(forker.start(*command(path, store_path, server, "--dry-run")))
            == 0
        )
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        done = len(committed(store_path))
        assert ask(path, store_path, server.url).answers == 100 - done
    assert stored(store_path).keys() == set(texts)


def test_the_first_interrupt_waits_for_answers_under_way(
    real_texts, write_sentences, tmp_path, forker
):
    path = write_sentences(real_texts[:500])
    store_path = tmp_path / "store.sqlite"
    with Server(latency=0.3) as server:
        output = tmp_path / "output.txt"
        pid = forker.start(*command(path, store_path, server), output=output)
        wait_until(lambda: server.requests >= 2 * CONCURRENCY)
        os.kill(pid, signal.SIGINT)
        assert forker.wait(pid) == 1
        assert "[N217] Interrupted." in output.read_text(encoding="utf8")
        assert server.answered.total() == server.requests < 5 * CONCURRENCY
        assert committed(store_path) == set(server.answered)


HUNG = {
    "silent": drip(b"", b"", 60.0),
    "dripping": drip(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b" "),
    "429": http(429, {"error": "slow down"}, "retry-after: 60"),
    "dead": b"",
}


@pytest.mark.parametrize("mode", HUNG)
@pytest.mark.parametrize("batch", [False, True])
def test_the_second_interrupt_ends_a_run_at_once(
    write_sentences, tmp_path, forker, mode, batch
):
    path = write_sentences([f"Ana has {number} cats." for number in range(20)])
    with RawServer(HUNG) as server:
        more = ("--base-url", server.url(mode), "--model", "m", "--concurrency", 4)
        more += ("--batch",) * batch
        output = tmp_path / "output.txt"
        pid = forker.start(
            "annotate", path, tmp_path / "store.sqlite", *more, output=output
        )
        wait_until(lambda: server.requests[mode] >= 1)
        os.kill(pid, signal.SIGINT)
        # The first one waits for the answers under way, where there may be some.
        time.sleep(0.3)
        begin = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        assert forker.wait(pid) == 1
        assert time.monotonic() - begin < 10
    assert "[N217]" in output.read_text(encoding="utf8")


def test_the_first_interrupt_ends_the_retries(write_sentences, tmp_path, forker):
    path = write_sentences([f"Ana has {number} cats." for number in range(20)])
    with RawServer({"m": http(500, {"error": "out of luck"})}) as server:
        output = tmp_path / "output.txt"
        more = ("--base-url", server.url("m"), "--model", "m", "--retries", 1000)
        more += ("--concurrency", 4, "--max-failures", 1000)
        pid = forker.start(
            "annotate", path, tmp_path / "store.sqlite", *more, output=output
        )
        wait_until(lambda: server.requests["m"] >= 8)
        os.kill(pid, signal.SIGINT)
        assert forker.wait(pid) == 1
    assert "[N217]" in output.read_text(encoding="utf8")
