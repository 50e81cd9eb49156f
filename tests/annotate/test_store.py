"""The file of answers: claims, leases, and what is no store."""

import os
import sqlite3
import subprocess
import sys

import pytest

from spacy_nuner.annotate import store as module
from spacy_nuner.annotate.store import Store
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.answers import Answer, Sentence

from .conftest import settings_for

SENTENCES = [Sentence(n, f"s{n}", f"Sentence number {n}.") for n in range(10)]
SETTINGS = settings_for()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "store.sqlite"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def add(store, *sentences, content="Lisbon <> city", settings=SETTINGS):
    number = store.settings_id(settings)
    store.add([(one, Answer(content)) for one in sentences], settings, number)


def test_claims_are_exclusive_until_given_back(path, store):
    other = Store(path)
    claimed = store.claim(SENTENCES[:6], SETTINGS)
    assert claimed.mine == SENTENCES[:6]
    assert store.claim(SENTENCES[:6], SETTINGS).repeated == 6
    claimed = other.claim(SENTENCES[4:] + SENTENCES[9:], SETTINGS)
    assert claimed.mine == SENTENCES[6:]
    assert (claimed.elsewhere, claimed.repeated) == (2, 1)
    # Other settings are other questions.
    assert len(other.claim(SENTENCES, settings_for(seed=1)).mine) == 10
    add(store, SENTENCES[4])
    store.release([SETTINGS.key(SENTENCES[5].text)])
    claimed = other.claim(SENTENCES[4:6], SETTINGS)
    assert (claimed.mine, claimed.done) == ([SENTENCES[5]], 1)
    other.close()
    assert len(store.claim(SENTENCES[6:], SETTINGS).mine) == 4


def test_claims_lapse_with_their_lease(path, store, monkeypatch):
    other = Store(path)
    other.claim(SENTENCES, SETTINGS)
    store.heartbeat()
    assert store.claim(SENTENCES, SETTINGS).elsewhere == 10
    later = module.time.time() + module.LEASE + 1
    monkeypatch.setattr(module.time, "time", lambda: later)
    store.heartbeat()
    assert store.claim(SENTENCES, SETTINGS).mine == SENTENCES
    other.close()


@pytest.mark.skipif(os.name != "posix", reason="asks for processes")
def test_claims_of_a_process_that_is_gone_are_free_at_once(path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.annotate.test_store import *\n"
        "Store(Path(sys.argv[1])).claim(SENTENCES, SETTINGS)\n"
        "os._exit(9)"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ran.returncode == 9
    store = Store(path)
    assert store.claim(SENTENCES, SETTINGS).mine == SENTENCES
    store.close()


def test_every_answer_is_kept_and_the_newest_is_read(store):
    add(store, *SENTENCES[:3], content="old")
    add(store, SENTENCES[1], content="new")
    other = settings_for(temperature=1.0)
    add(store, SENTENCES[2], content="newest", settings=other)
    rows = store.newest(SETTINGS.prompt.hash, "m")
    assert [answer.content for _, answer, _ in rows] == ["old", "new", "newest"]
    assert store.kinds() == [("paper", SETTINGS.prompt.hash, "m", 5)]


def test_texts_of_every_kind(store):
    texts = ["Zoë 🙂 naïve", "a\u2028b", "'; DROP TABLE answers; --", "x" * 10**6]
    sentences = [Sentence(n, str(n), text) for n, text in enumerate(texts)]
    add(store, *sentences)
    rows = store.newest(SETTINGS.prompt.hash, "m")
    assert [sentence for sentence, _, _ in rows] == sentences


def test_settings_come_back_as_they_were(store):
    settings = settings_for(structured=True, sentences=3, temperature=0.5, stop=["\n"])
    found = store.settings(store.settings_id(settings))
    assert found == settings
    assert found.hash == settings.hash


def test_what_is_no_store(tmp_path):
    text = tmp_path / "text.sqlite"
    text.write_text("id,text\n" * 200)
    with pytest.raises(NunerError, match="N210.*not a database"):
        Store(text)
    assert text.read_text() == "id,text\n" * 200
    foreign = tmp_path / "foreign.sqlite"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE mine (x)")
    database.commit()
    content = foreign.read_bytes()
    with pytest.raises(NunerError, match="N210.*another program"):
        Store(foreign)
    assert foreign.read_bytes() == content
    database.close()


def test_a_newer_format(path, store):
    store._db.execute("PRAGMA user_version = 99")
    with pytest.raises(NunerError, match="N210.*format is 99"):
        Store(path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NunerError, match="N216"):
        Store(tmp_path / "file" / "store.sqlite")
