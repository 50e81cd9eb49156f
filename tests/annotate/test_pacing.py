"""Rates, slots and pauses; prices and the budget."""

import asyncio
import errno
import json
import time
from functools import partial
from types import SimpleNamespace

import pytest

from spacy_nuner.annotate import pacing
from spacy_nuner.annotate.accounting import Account, Limits, Price, load_price
from spacy_nuner.annotate.pacing import Pace, retry_after
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.answers import Answer

pause = partial(asyncio.sleep, 0)


class Clock:
    """Time that passes only in sleep."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(pacing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pacing.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def run(test):
    asyncio.run(test())


def test_a_rate_spaces_requests_out(clock):
    async def test():
        pace = Pace(8, rpm=60 * 10)
        for _ in range(40):
            await pace.before_request()
        # A quarter of a second's worth went at once.
        assert clock.now == pytest.approx(1000 + 3.9 - pacing.BURST)
        clock.now += 100
        start = clock.now
        for _ in range(11):
            await pace.before_request()
        # Time that was not used is not saved up.
        assert clock.now - start == pytest.approx(1.0 - pacing.BURST)

    run(test)


def test_nobody_waits_once_the_run_is_stopped():
    async def test():
        pace = Pace(8, rpm=1, tpm=1)
        for take in (pace.before_request, partial(pace.tokens.take, 100.0)):
            await take()
            waiting = [asyncio.create_task(take()) for _ in range(3)]
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in waiting)
            pace.stopped.set()
            await asyncio.wait_for(asyncio.gather(*waiting), 10)
            pace.stopped.clear()
        pace.after_response(429, 100.0)
        waiting = asyncio.create_task(pace.before_request())
        await asyncio.sleep(0.01)
        pace.stopped.set()
        await asyncio.wait_for(waiting, 10)

    run(test)


def test_a_rate_takes_large_amounts_and_corrections(clock):
    async def test():
        tokens = Pace(8, tpm=60 * 100).tokens
        await tokens.take(500)
        await tokens.take(1)
        assert clock.now == pytest.approx(1005 - pacing.BURST)
        tokens.correct(-1)
        await tokens.take(1)
        assert clock.now == pytest.approx(1005 - pacing.BURST)
        tokens.correct(200)
        await tokens.take(1)
        assert clock.now == pytest.approx(1007 + 0.01 - pacing.BURST)

    run(test)


def test_no_limit_is_no_wait(clock):
    async def test():
        pace = Pace(8)
        for _ in range(1000):
            await pace.before_request()
            await pace.tokens.take(1e9)
        assert clock.now == 1000

    run(test)


def test_fewer_slots_after_an_overload_and_more_again(clock):
    pace = Pace(10)

    def overload():
        clock.now += 1
        pace.after_response(429, None)

    overload()
    assert pace.limit == 8.0
    overload()
    assert pace.limit == pytest.approx(6.4)
    for _ in range(100):
        overload()
    assert pace.limit == 1.0
    pace.after_response(200, None)
    assert pace.limit == 2.0
    for _ in range(100):
        pace.after_response(200, None)
    assert pace.limit == 10.0


def test_an_overload_slows_everything_down_once_a_second(clock):
    async def test():
        # More than the server allows: 10 requests and 100 tokens a second.
        pace = Pace(10, rpm=600, tpm=6000)

        async def seconds(amount, take):
            clock.now += 1
            start = clock.now
            for _ in range(amount):
                await take()
            await take()
            return clock.now - start + pacing.BURST

        assert await seconds(100, pace.before_request) == pytest.approx(10)
        # Many requests hear of one overload at the same time.
        for _ in range(5):
            pace.after_response(429, None)
        assert pace.limit == 8.0
        assert 10 < await seconds(100, pace.before_request) < 10 / pacing.SLOW_BY
        for _ in range(30):
            clock.now += 1
            pace.after_response(503, None)
        assert pace.limit == 1.0
        assert await seconds(10, pace.before_request) > 1.5
        assert await seconds(100, pace.tokens.take) > 1.1
        # Without another overload both are what they were, also after a long time.
        for pause in (100, 10**6):
            clock.now += pause
            await pace.before_request()
            assert await seconds(100, pace.before_request) == pytest.approx(10)

    run(test)


def test_slots_hold_requests_back(clock):
    under_way = most = done = 0

    async def work(pace):
        nonlocal under_way, most, done
        async with pace.slot():
            under_way += 1
            most = max(most, under_way)
            await pause()
            under_way -= 1
            done += 1
            # Good answers let more through, up to the limit.
            if done > 20:
                pace.after_response(200, None)

    async def test():
        nonlocal most
        pace = Pace(8)
        for _ in range(6):
            clock.now += 1
            pace.after_response(429, None)
        assert int(pace.limit) == 2
        waiting = [asyncio.create_task(work(pace)) for _ in range(100)]
        while done < 20:
            await pause()
        assert most == 2
        await asyncio.gather(*waiting)
        assert most == 8

    run(test)


def test_all_requests_wait_where_one_was_told_to(clock):
    async def run():
        pace = Pace(8)
        await pace.before_request()
        assert clock.now == 1000
        pace.after_response(429, 3.0)
        pace.after_response(429, None)
        await pace.before_request()
        assert clock.now == 1003
        assert pace.limit < 8
        pace.after_response(500, 60.0)
        await pace.before_request()
        assert clock.now == 1003

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, expected):
    assert retry_after(headers) == expected


def test_a_date_to_wait_for():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 98 < retry_after({"retry-after": date}) <= 100


# Money


def test_a_table_of_prices(tmp_path):
    path = tmp_path / "prices.json"
    models = {"m": {"input": 1, "output": 2.5, "batch": 0.5}, "free": {}}
    path.write_text(json.dumps({"currency": "EUR", "models": models}))
    price = load_price(path, "m")
    assert price == Price(1.0, 2.5, "EUR")
    assert price.cost(1e6, 2e6) == 6.0
    assert load_price(path, "m", batch=True).cost(1e6, 2e6) == 3.0
    assert price.show(0.00123) == "0.0012 EUR"
    assert price.show(12345.678) == "12,345.68 EUR"
    with pytest.raises(NunerError, match="N209.*'other'.*m, free"):
        load_price(path, "other")
    with pytest.raises(NunerError, match="N220.*'input'"):
        load_price(path, "free")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"models": 3}',
        '{"models": {"m": 3}}',
        '{"models": {"m": {"input": -1, "output": 1}}}',
        '{"models": {"m": {"input": Infinity, "output": 1}}}',
    ],
)
def test_what_is_no_table(tmp_path, content):
    path = tmp_path / "prices.json"
    path.write_text(content)
    with pytest.raises(NunerError, match="N220"):
        load_price(path, "m")
    with pytest.raises(NunerError, match="N220.*No such file"):
        load_price(tmp_path / "none.json", "m")


def test_the_shipped_table_is_an_example():
    from ..conftest import ROOT

    price = load_price(ROOT / "configs" / "prices.json", "example-model")
    assert price.output > price.input > 0


def test_a_budget_needs_a_price():
    with pytest.raises(NunerError, match="N215"):
        Limits(cost=10.0)


def test_a_budget_waits_for_what_is_under_way():
    async def test():
        account = Account(Limits(cost=10.0, price=Price(input=1e6, output=1e6)))
        assert await account.reserve(6.0)
        assert not account.try_reserve(6.0)
        waiting = asyncio.create_task(account.reserve(6.0))
        await pause()
        assert not waiting.done()
        # It was cheaper than was feared.
        account.add_tokens(Answer("", prompt_tokens=1, completion_tokens=0), "")
        await account.release(6.0)
        assert await waiting
        account.add_tokens(Answer("", prompt_tokens=2, completion_tokens=3), "")
        await account.release(6.0)
        assert account.report.cost == 6.0
        # Nothing is under way that could give some back.
        assert not await account.reserve(6.0)

    run(test)


def test_a_log_that_can_be_written_no_more(tmp_path, monkeypatch):
    account = Account(Limits(), log=tmp_path / "log.jsonl")

    def fail(text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(account, "_log", SimpleNamespace(name="log.jsonl", write=fail))
    with pytest.raises(NunerError, match=r"N223.*'log.jsonl'.*No space left"):
        account.log("answer")
