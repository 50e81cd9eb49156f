"""Sentences, servers and runs for the tests of annotate/."""

import asyncio
import json

import pytest

from spacy_nuner.annotate.accounting import Limits, Report, RunLog
from spacy_nuner.annotate.batch import BatchRun
from spacy_nuner.annotate.client import Endpoint, Pace
from spacy_nuner.annotate.collect import Run
from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.store import Store

from ..forker import Forker


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="session")
def real_texts(assets):
    """The 2,700 sentences of the assets."""
    return [
        json.loads(line)["text"]
        for path in sorted((assets / "annotations").glob("*.jsonl"))
        for line in path.read_text(encoding="utf8").splitlines()
    ]


@pytest.fixture
def write_sentences(tmp_path):
    def write(texts, name="sentences.jsonl"):
        path = tmp_path / name
        rows = (
            json.dumps({"id": f"s{number}", "text": text})
            for number, text in enumerate(texts)
        )
        path.write_text("\n".join(rows) + "\n", encoding="utf8")
        return path

    return write


def settings_for(prompt="paper", *, structured=False, sentences=1, **params):
    loaded = load_prompt(prompt, structured=structured, sentences=sentences)
    return Settings(loaded, "m", params)


def ask(
    path,
    store_path,
    url,
    *,
    settings=None,
    batch=False,
    wanted=None,
    concurrency=16,
    rpm=None,
    tpm=None,
    retries=6,
    timeout=5.0,
    log=None,
    report=None,
    **limits,
):
    """Run once against a server and give the report."""
    settings = settings or settings_for()
    pace = Pace(concurrency, rpm=rpm, tpm=tpm)
    report = report or Report()

    async def run(store, run_log):
        endpoint = Endpoint(
            url, pace=pace, report=report, retries=retries, timeout=timeout
        )
        shared = {
            "report": report,
            "limits": Limits(**limits),
            "log": run_log,
            "wanted": wanted,
        }
        if batch:
            asking = BatchRun(store, settings, endpoint, poll=0.02, **shared)
        else:
            asking = Run(store, settings, endpoint, pace, **shared)
        try:
            await asking.all(path)
        finally:
            await endpoint.close()

    with RunLog(log) as run_log:
        store = Store(store_path)
        try:
            asyncio.run(run(store, run_log))
        finally:
            store.close()
    return report


def stored(store_path, settings=None):
    """The newest answers by sentence."""
    settings = settings or settings_for()
    store = Store(store_path)
    try:
        rows = store.newest(settings.prompt.hash, settings.model)
        return {sentence.text: answer for sentence, answer, _ in rows}
    finally:
        store.close()


@pytest.fixture(scope="session")
def forker():
    forker = Forker(
        *("httpx2", "openai", "spacy_nuner.cli.app"),
        *("spacy_nuner.annotate.collect", "spacy_nuner.annotate.batch"),
    )
    yield forker
    forker.close()
