"""The Responses API: asked one by one and in batches, as chat completions are."""

import json

import pytest

from spacy_nuner.annotate.accounting import Limits, Price
from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.store import Store
from spacy_nuner.errors import NunerError

from .conftest import ask, stored
from .server import Server, annotate, asked

pytestmark = pytest.mark.slow

GOOD = "Lisbon <> city <> d"
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": GOOD}]}


@pytest.fixture
def store_path(tmp_path):
    return tmp_path / "store.sqlite"


def settings_for(*, structured=False, sentences=1, **params):
    loaded = load_prompt("paper", structured=structured, sentences=sentences)
    return Settings(loaded, "m", params, "responses")


def contents(store_path, settings):
    return {text: one.content for text, one in stored(store_path, settings).items()}


@pytest.mark.parametrize("batch", [False, True])
def test_it_is_asked_and_read(real_texts, write_sentences, store_path, batch):
    texts = real_texts[:12]
    path = write_sentences(texts)
    settings = settings_for(temperature=0.5, max_output_tokens=99)
    with Server() as server:
        limits = Limits(price=Price(input=1.0, output=2.0))
        options = {"settings": settings, "batch": batch, "limits": limits}
        report = ask(path, store_path, server.url, **options)
        if batch:
            assert [one["endpoint"] for one in server.batches.values()] == [
                "/v1/responses"
            ]
            lines = server.files["file-0"].splitlines()
            rows = [json.loads(line) for line in lines]
            assert {row["url"] for row in rows} == {"/v1/responses"}
            body = rows[0]["body"]
        else:
            body = server.bodies[0]
            assert report.requests == 12
    assert body == {
        "model": "m",
        "input": settings.prompt.render(texts[:1]),
        "store": False,
        "temperature": 0.5,
        "max_output_tokens": 99,
    }
    assert report.verdicts == {"good": 12}
    assert (report.prompt_tokens, report.completion_tokens) == (1200, 600)
    # Nothing of the reasoning.
    assert contents(store_path, settings) == {text: annotate(text) for text in texts}
    answer = stored(store_path, settings)[texts[0]]
    assert (answer.finish_reason, answer.served) == ("stop", "served")
    assert (answer.prompt_tokens, answer.completion_tokens) == (100, 50)


@pytest.mark.parametrize("batch", [False, True])
def test_json_and_several_sentences(real_texts, write_sentences, store_path, batch):
    path = write_sentences(real_texts[:7])
    settings = settings_for(
        structured=True, sentences=3, text={"verbosity": "low", "format": "mine"}
    )
    with Server() as server:
        report = ask(path, store_path, server.url, settings=settings, batch=batch)
        if batch:
            body = json.loads(server.files["file-0"].splitlines()[0])["body"]
        else:
            body = server.bodies[0]
    assert report.verdicts == {"good": 7}
    assert body["text"]["verbosity"] == "low"
    form = body["text"]["format"]
    assert (form["type"], form["name"], form["strict"]) == (
        "json_schema",
        "entities",
        True,
    )
    assert "texts" in form["schema"]["properties"]


REPLIES = {
    "good": {},
    "parts": {
        "output": [MESSAGE, {"type": "function_call", "arguments": "{}"}, MESSAGE]
    },
    "cut": {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [MESSAGE],
    },
    "spent": {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "reasoning", "summary": []}],
    },
    "filtered": {
        "status": "incomplete",
        "incomplete_details": {"reason": "content_filter"},
        "output": [],
    },
    "refused": {
        "output": [
            {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
        ]
    },
    "flagged": {
        "status": "failed",
        "error": {"code": "invalid_prompt", "message": "It was flagged."},
        "output": [],
    },
    "silent": {"output": [{"type": "reasoning", "summary": []}]},
    "failed": {
        "status": "failed",
        "error": {"code": "server_error", "message": "out of luck"},
        "output": [],
    },
    "queued": {"status": "queued", "output": []},
}


@pytest.mark.parametrize("batch", [False, True])
def test_ends_of_every_kind(write_sentences, store_path, batch):
    path = write_sentences([f"Lisbon is {word}" for word in REPLIES])

    def reply(body):
        (text,) = asked(body)
        return {"output": [MESSAGE]} | REPLIES[text.rpartition(" ")[2]]

    settings = settings_for()
    with Server(reply=reply) as server:
        options = {"settings": settings, "batch": batch, "retries": 0}
        report = ask(path, store_path, server.url, **options)
    assert report.verdicts == {
        "good": 2,
        "truncated": 2,
        "refused": 3,
        "empty": 1,
    }
    assert report.failures == {"malformed": 2}
    assert contents(store_path, settings)["Lisbon is parts"] == GOOD + GOOD


def test_errors_are_those_of_the_other_api(real_texts, write_sentences, store_path):
    path = write_sentences(real_texts[:30])
    with Server(faults=0.01, slow=0.1) as server:
        report = ask(path, store_path, server.url, settings=settings_for())
        assert report.answers == 30
    with Server(key="another") as server, pytest.raises(NunerError, match="N206.*401"):
        ask(path, store_path, server.url, settings=settings_for(temperature=1))


def test_the_api_is_a_setting_of_its_own(write_sentences, store_path):
    path = write_sentences(["Lisbon is old."])
    chat = Settings(load_prompt("paper"), "m")
    with Server() as server:
        ask(path, store_path, server.url, settings=chat)
        ask(path, store_path, server.url, settings=settings_for())
        assert ask(path, store_path, server.url, settings=chat).requests == 0
        assert server.requests == 2
    store = Store(store_path)
    found = [store.get_settings(number) for number in (1, 2)]
    store.close()
    assert found == [chat, settings_for()]


def test_a_store_from_before_there_was_a_choice(write_sentences, store_path):
    path = write_sentences(["Lisbon is old."])
    with Server() as server:
        ask(path, store_path, server.url)
        store = Store(store_path)
        store._db.execute("ALTER TABLE settings DROP COLUMN api")
        store.close()
        assert len(stored(store_path)) == 1
        assert ask(path, store_path, server.url).requests == 0
        report = ask(path, store_path, server.url, settings=settings_for(), batch=True)
        assert report.answers == 1
