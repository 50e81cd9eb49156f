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


def test_every_answer_is_stored_and_the_newest_is_read(store):
    add(store, *SENTENCES[:3], content="old")
    add(store, SENTENCES[1], content="new")
    other = settings_for(temperature=1.0)
    add(store, SENTENCES[2], content="newest", settings=other)
    rows = store.best(SETTINGS.prompt.hash, "m")
    assert [answer.content for _, answer, _ in rows] == ["old", "new", "newest"]
    assert store.kinds() == [("paper", SETTINGS.prompt.hash, "m", 5)]


def test_texts_of_every_kind(store):
    texts = ["Zoë 🙂 naïve", "a\u2028b", "'; DROP TABLE answers; --", "x" * 10**6]
    sentences = [Sentence(n, str(n), text) for n, text in enumerate(texts)]
    add(store, *sentences)
    rows = store.best(SETTINGS.prompt.hash, "m")
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


@pytest.mark.parametrize("version", [1, 99])
@pytest.mark.parametrize("read_only", [True, False])
def test_another_format(path, store, version, read_only):
    with store.writing() as db:
        db.execute(f"PRAGMA user_version = {version}")
    store.close()
    with pytest.raises(NunerError, match=f"N210.*format is {version}"):
        Store(path, read_only=read_only)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NunerError, match="N003"):
        Store(tmp_path / "file" / "store.sqlite")


def test_the_best_answer_is_read_where_a_later_one_is_of_no_use(store):
    sentence = Sentence(1, "1", "Ada Lovelace was in London.")
    cut = "Ada Lovelace <> person <> a\nLon"
    good = "London <> city <> b"
    refused = Answer("", finish_reason="content_filter")

    def read():
        ((_, answer, _),) = store.best(SETTINGS.prompt.hash, "m")
        return answer.content

    store.add([(sentence, Answer(cut, finish_reason="length"))], SETTINGS)
    store.add([(sentence, refused)], SETTINGS)
    assert read() == cut
    store.add([(sentence, Answer(good, finish_reason="stop"))], SETTINGS)
    store.add([(sentence, refused)], SETTINGS)
    assert read() == good


def test_damage_behind_the_header_is_named(path):
    store = Store(path)
    text = "Ada was in London and in Paris, and wrote home. " * 20
    sentences = [Sentence(n, str(n), f"{n} {text}") for n in range(400)]
    add(store, *sentences)
    store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 40_000)
    store = Store(path, read_only=True)
    with pytest.raises(NunerError, match="N210"):
        list(store.best(SETTINGS.prompt.hash, "m"))
    store.close()
