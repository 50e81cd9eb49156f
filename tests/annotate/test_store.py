"""The file of answers: who may write, what is stored, and what is no store."""

import os
import sqlite3

import pytest

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
    store.add([(one, Answer(content)) for one in sentences], settings)


def test_two_stores_of_one_file(path, store):
    add(store, *SENTENCES[:3])
    with pytest.raises(NunerError, match=rf"N218.*process {os.getpid()} "):
        Store(path)
    reading = Store(path, read_only=True)
    add(store, SENTENCES[3])
    states = [reading.state(sentence, SETTINGS) for sentence in SENTENCES[:5]]
    assert states == ["answered"] * 4 + ["to ask"]
    reading.close()
    store.close()
    again = Store(path)
    assert again.state(SENTENCES[3], SETTINGS) == "answered"
    again.close()


def test_a_store_that_is_only_read_is_not_made(path):
    store = Store(path, read_only=True)
    assert store.kinds() == []
    assert store.state(SENTENCES[0], SETTINGS) == "to ask"
    store.close()
    assert not path.parent.exists()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_of_the_first_format(path, store, read_only):
    """It had claims of sentences, and owners of claims and batches."""
    add(store, *SENTENCES[:3])
    store.close()
    old = sqlite3.connect(path)
    number = old.execute("SELECT id FROM settings").fetchone()[0]
    old.executescript(
        f"""
        DROP TABLE process;
        CREATE TABLE owners (owner TEXT PRIMARY KEY, host TEXT NOT NULL,
            pid INTEGER NOT NULL, seen REAL NOT NULL);
        CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
        DROP TABLE batches;
        CREATE TABLE batches (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, base_url TEXT NOT NULL,
            settings INTEGER NOT NULL REFERENCES settings (id),
            file_id TEXT, batch_id TEXT, created REAL NOT NULL);
        INSERT INTO owners VALUES ('me', 'here', 7, 0);
        INSERT INTO batches VALUES ('b', 'me', 'http://a/v1', {number}, 'f', NULL, 3);
        PRAGMA user_version = 1;
        """
    )
    # Claimed by a process that was killed, and sent in a batch.
    old.execute(
        "INSERT INTO claims VALUES (?, 'me')", [SETTINGS.key(SENTENCES[4].text)]
    )
    old.execute(
        "INSERT INTO batch_items VALUES ('b', 0, 0, ?, ?, ?, ?)",
        [SETTINGS.key(SENTENCES[5].text), *SENTENCES[5]],
    )
    old.commit()
    old.close()
    again = Store(path, read_only=read_only)
    states = [again.state(sentence, SETTINGS) for sentence in SENTENCES[2:6]]
    assert states == ["answered", "to ask", "to ask", "in a batch"]
    if not read_only:
        with again.writing() as db:
            batches = db.execute("SELECT * FROM batches").fetchall()
        assert batches == [("b", "http://a/v1", number, "f", None, 3.0)]
        add(again, *SENTENCES[3:5])
        assert again.kinds() == [("paper", SETTINGS.prompt.hash, "m", 5)]
    again.close()


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
    with store.writing() as db:
        number = store.add_settings(db, settings)
    found = store.get_settings(number)
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
    assert sorted(tmp_path.iterdir()) == [foreign, text]


def test_a_newer_format(path, store):
    with store.writing() as db:
        db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(NunerError, match="N210.*format is 99"):
        Store(path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NunerError, match="N216"):
        Store(tmp_path / "file" / "store.sqlite")
