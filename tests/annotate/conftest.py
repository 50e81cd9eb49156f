"""Sentences, servers and runs for the tests of annotate/."""

import asyncio
import json

import pytest

from spacy_nuner.annotate.accounting import Account, Limits
from spacy_nuner.annotate.batch import BatchRun
from spacy_nuner.annotate.client import Connection, Endpoint
from spacy_nuner.annotate.collect import Run
from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.store import Store, Task

from ..forker import Forker


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


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
    resend_lost=False,
    retry_bad=False,
    log=None,
    limits=None,
    **connection,
):
    """Run once against a server and give the report."""
    connection = {"concurrency": 16, "timeout": 5.0} | connection
    account = Account(limits or Limits(), log=log)

    async def run(task):
        server = Connection(url, **connection)
        endpoint = Endpoint(server, account.report)
        async with endpoint.client:
            if batch:
                run = BatchRun(
                    task, endpoint, account, poll=0.02, resend_lost=resend_lost
                )
                await run.all()
            else:
                await Run(task, endpoint, account).all()

    store = Store(store_path)
    try:
        settings = settings or settings_for()
        asyncio.run(run(Task(path, store, settings, retry_bad=retry_bad)))
    finally:
        store.close()
        account.close()
    return account.report


def stored(store_path, settings=None):
    """The newest answers by sentence."""
    settings = settings or settings_for()
    store = Store(store_path, read_only=True)
    try:
        rows = store.best(settings.prompt.hash, settings.model)
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
