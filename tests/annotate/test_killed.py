"""Processes that die or work side by side: no answer lost, none asked for twice."""

import os
import random
import signal
import sqlite3
import time

import pytest

from .conftest import ask, stored
from .server import Server

CONCURRENCY = 8
KILLS = 20

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


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


def test_twenty_kills_lose_only_what_was_under_way(
    real_texts, write_sentences, tmp_path, forker
):
    texts = list(dict.fromkeys(real_texts))[:500]
    path = write_sentences(texts)
    store_path = tmp_path / "store.sqlite"
    draw = random.Random(0)
    with Server(latency=0.02) as server:
        for _ in range(KILLS):
            before = dict(server.seen)
            target = server.requests + draw.randint(1, 35)
            pid = forker.start(*command(path, store_path, server))
            wait_until(lambda target=target: server.requests >= target)
            # Into the middle of sending, answering or committing.
            time.sleep(draw.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
            assert forker.wait(pid) == -signal.SIGKILL
            wait_until(lambda: server.under_way == 0)
            under_way = set(server.seen) - committed(store_path)
            assert len(under_way) <= CONCURRENCY
            again = [text for text, n in server.seen.items() if n > before.get(text, n)]
            assert len(again) <= CONCURRENCY
        asked = dict(server.seen)
        done = committed(store_path)
        pid = forker.start(*command(path, store_path, server))
        assert forker.wait(pid) == 0
        # What was committed is never asked about again.
        assert {text: server.seen[text] for text in done} == {
            text: asked[text] for text in done
        }
        assert set(server.seen) == set(texts)
        assert server.seen.total() - len(texts) <= KILLS * CONCURRENCY
    assert stored(store_path).keys() == set(texts)
    with Server() as server:
        assert ask(path, store_path, server.url).requests == 0


@pytest.mark.parametrize("killed_at", [0.0, 0.01, 0.03, 0.1])
def test_a_kill_while_the_store_is_opened(
    real_texts, write_sentences, tmp_path, forker, killed_at
):
    path = write_sentences(real_texts[:20])
    store_path = tmp_path / "store.sqlite"
    with Server() as server:
        pid = forker.start(*command(path, store_path, server))
        time.sleep(killed_at)
        os.kill(pid, signal.SIGKILL)
        forker.wait(pid)
        pid = forker.start(*command(path, store_path, server))
        assert forker.wait(pid) == 0
    assert len(stored(store_path)) == 20


def test_two_processes_never_ask_twice(real_texts, write_sentences, tmp_path, forker):
    texts = list(dict.fromkeys(real_texts))[:200]
    path = write_sentences(texts)
    store_path = tmp_path / "store.sqlite"
    with Server(latency=0.02) as server:
        pids = [forker.start(*command(path, store_path, server)) for _ in range(2)]
        wait_until(lambda: server.most_under_way > CONCURRENCY)
        assert [forker.wait(pid) for pid in pids] == [0, 0]
        assert server.seen == dict.fromkeys(texts, 1)
    assert stored(store_path).keys() == set(texts)


def test_the_first_interrupt_waits_for_answers_under_way(
    real_texts, write_sentences, tmp_path, forker
):
    path = write_sentences(real_texts[:500])
    store_path = tmp_path / "store.sqlite"
    with Server(latency=0.3) as server:
        pid = forker.start(*command(path, store_path, server))
        wait_until(lambda: server.requests >= 2 * CONCURRENCY)
        os.kill(pid, signal.SIGINT)
        assert forker.wait(pid) == 1
        assert server.answered.total() == server.requests < 5 * CONCURRENCY
        assert committed(store_path) == set(server.answered)
