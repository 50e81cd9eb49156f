"""Answers in SQLite: each committed as it comes, none asked for twice."""

import json
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import NunerError
from .answers import Answer, Sentence
from .prompts import Prompt, Settings

# "Nune" in ASCII, in the header of the file.
APPLICATION = 0x4E756E65
VERSION = 1
# A process renews its claims three times in this time; after it they lapse.
LEASE = 120.0
# SQLite waits so long for another process to finish writing.
BUSY_MS = 60_000
SCHEMA = """
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE,
    prompt TEXT NOT NULL, prompt_hash TEXT NOT NULL, template TEXT NOT NULL,
    structured INTEGER NOT NULL, sentences INTEGER NOT NULL,
    model TEXT NOT NULL, params TEXT NOT NULL);
-- key: prompt, model, parameters and text; question: the same without parameters.
CREATE TABLE answers (
    key BLOB NOT NULL, attempt INTEGER NOT NULL, question BLOB NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings (id),
    position INTEGER NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,
    content TEXT NOT NULL, finish_reason TEXT, refusal TEXT, served TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, latency REAL,
    time REAL NOT NULL, UNIQUE (key, attempt));
CREATE INDEX answers_by_question ON answers (question);
CREATE TABLE owners (
    owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL,
    seen REAL NOT NULL);
CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, base_url TEXT NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings (id),
    file_id TEXT, batch_id TEXT, created REAL NOT NULL);
CREATE TABLE batch_items (
    batch TEXT NOT NULL, number INTEGER NOT NULL, part INTEGER NOT NULL,
    key BLOB NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (batch, number, part)) WITHOUT ROWID;
CREATE INDEX batch_items_by_key ON batch_items (key);
"""
ANSWER_COLUMNS = (
    "content, finish_reason, refusal, served, prompt_tokens, completion_tokens, latency"
)


class Claimed(NamedTuple):
    """What became of sentences that were to be claimed.

    mine (list[Sentence]): Those that this process is to ask about.
    done (int): Those that need no asking.
    elsewhere (int): Those that another process or a batch is asking about.
    repeated (int): Those whose text this process has claimed already.
    """

    mine: list[Sentence]
    done: int
    elsewhere: int
    repeated: int


# Which sentences are to be asked about, going by the newest answer to the question.
Wanted = Callable[[Sentence, Answer], bool]


class Store:
    """A file of answers. Several processes may use one at the same time.

    owner (str): Names this process in the claims.
    """

    def __init__(self, path: Path) -> None:
        """path (Path): The file; it is made if it does not exist.

        RAISES (NunerError): N210 if the file is something else, N216 if it can't be
            written.
        """
        self.path = path
        self.owner = uuid.uuid4().hex
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NunerError("N216", path=path, reason=error.strerror) from error
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False
            )
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            self._check()
            self._db.execute("PRAGMA journal_mode = WAL")
            # Every commit reaches the disk: an answer is paid for.
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error
        with self.writing() as db:
            # Another process may have made the tables in the meantime.
            if self._check():
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {VERSION}")
        self.heartbeat()

    def close(self) -> None:
        """Give back what was claimed and close the file."""
        with self.writing() as db:
            db.execute("DELETE FROM claims WHERE owner = ?", [self.owner])
            db.execute("DELETE FROM owners WHERE owner = ?", [self.owner])
        self._db.close()

    # Settings

    def settings_id(self, settings: Settings) -> int:
        """settings (Settings): Of a run. RETURNS (int): Their number in the store."""
        prompt = settings.prompt
        params = json.dumps(settings.params, sort_keys=True)
        with self.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO settings (hash, prompt, prompt_hash, template, "
                "structured, sentences, model, params) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    *(settings.hash, prompt.name, prompt.hash, prompt.template),
                    *(prompt.structured, prompt.sentences, settings.model, params),
                ],
            )
            found = "SELECT id FROM settings WHERE hash = ?"
            return int(db.execute(found, [settings.hash]).fetchone()[0])

    def settings(self, number: int) -> Settings:
        """number (int): What `settings_id` gave. RETURNS (Settings): The settings."""
        row = self._db.execute(
            "SELECT prompt, template, structured, sentences, model, params "
            "FROM settings WHERE id = ?",
            [number],
        ).fetchone()
        prompt = Prompt(row[0], row[1], structured=bool(row[2]), sentences=row[3])
        return Settings(prompt, row[4], json.loads(row[5]))

    # Claims

    def claim(
        self,
        sentences: Iterable[Sentence],
        settings: Settings,
        *,
        wanted: Wanted | None = None,
    ) -> Claimed:
        """Take the sentences that this process is to ask about.

        sentences (Iterable[Sentence]): A few hundred sentences.
        settings (Settings): How they are asked about.
        wanted (Wanted | None): Which of those with an answer are asked about again.
            None: those without an answer under these settings.
        RETURNS (Claimed): The sentences to ask about, and what became of the others.
        """
        chunk = list(sentences)
        keyed = {settings.key(sentence.text): sentence for sentence in chunk}
        mine: list[Sentence] = []
        done = elsewhere = 0
        repeated = len(chunk) - len(keyed)
        with self.writing() as db:
            for key, sentence in keyed.items():
                if not self._needs(db, key, sentence, settings, wanted):
                    done += 1
                elif (holder := self._holder(db, key)) is None:
                    db.execute("INSERT INTO claims VALUES (?, ?)", [key, self.owner])
                    mine.append(sentence)
                elif holder == self.owner:
                    repeated += 1
                else:
                    elsewhere += 1
        return Claimed(mine, done, elsewhere, repeated)

    def needs(
        self, sentence: Sentence, settings: Settings, wanted: Wanted | None = None
    ) -> bool:
        """Tell whether a sentence is to be asked about, without claiming it.

        sentence (Sentence): The sentence.
        settings (Settings): How it is asked about.
        wanted (Wanted | None): As in `claim`.
        RETURNS (bool): Whether `claim` would take it if no one else had.
        """
        key = settings.key(sentence.text)
        return self._needs(self._db, key, sentence, settings, wanted)

    def _needs(
        self,
        db: sqlite3.Connection,
        key: bytes,
        sentence: Sentence,
        settings: Settings,
        wanted: Wanted | None,
    ) -> bool:
        if wanted is None:
            found = db.execute("SELECT 1 FROM answers WHERE key = ? LIMIT 1", [key])
            return found.fetchone() is None
        row = db.execute(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE question = ? "
            "ORDER BY rowid DESC LIMIT 1",
            [settings.question(sentence.text)],
        ).fetchone()
        return row is not None and wanted(sentence, Answer(*row))

    def _holder(self, db: sqlite3.Connection, key: bytes) -> str | None:
        row = db.execute("SELECT owner FROM claims WHERE key = ?", [key]).fetchone()
        if row is None:
            batch = "SELECT batch FROM batch_items WHERE key = ? LIMIT 1"
            row = db.execute(batch, [key]).fetchone()
        return None if row is None else str(row[0])

    def release(self, keys: Iterable[bytes]) -> None:
        """keys (Iterable[bytes]): Of sentences that got no answer."""
        rows = [(key, self.owner) for key in keys]
        with self.writing() as db:
            db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", rows)

    def heartbeat(self) -> None:
        """Say that this process lives, and free what dead ones had claimed."""
        host, now = socket.gethostname(), time.time()
        with self.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)",
                [self.owner, host, os.getpid(), now],
            )
            owners = db.execute("SELECT owner, host, pid, seen FROM owners").fetchall()
            for owner, where, pid, seen in owners:
                if seen < now - LEASE or (where == host and not _is_running(pid)):
                    db.execute("DELETE FROM claims WHERE owner = ?", [owner])
                    db.execute("DELETE FROM owners WHERE owner = ?", [owner])

    # Answers

    def add(
        self, rows: Sequence[tuple[Sentence, Answer]], settings: Settings, number: int
    ) -> None:
        """Commit answers and give back their claims.

        rows (Sequence[tuple[Sentence, Answer]]): Sentences with their answers.
        settings (Settings): How they were asked about.
        number (int): What `settings_id` gave for them.
        """
        with self.writing() as db:
            self.insert(db, rows, settings, number)

    def insert(
        self,
        db: sqlite3.Connection,
        rows: Sequence[tuple[Sentence, Answer]],
        settings: Settings,
        number: int,
    ) -> None:
        """Add answers in a transaction that is open already; see `add`."""
        now = time.time()
        for sentence, answer in rows:
            key = settings.key(sentence.text)
            question = settings.question(sentence.text)
            db.execute(
                "INSERT INTO answers SELECT ?, COALESCE(MAX(attempt), 0) + 1, ?, ?, ?, "
                "?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM answers WHERE key = ?",
                [
                    *(key, question, number, *sentence),
                    *(answer.content, answer.finish_reason, answer.refusal),
                    *(answer.served, answer.prompt_tokens, answer.completion_tokens),
                    *(answer.latency, now, key),
                ],
            )
            db.execute("DELETE FROM claims WHERE key = ?", [key])

    def mean_completion(self, settings: Settings) -> tuple[float | None, int]:
        """Average the length of the newest answers to a prompt by a model.

        settings (Settings): Prompt and model; the parameters may differ.
        RETURNS (tuple[float | None, int]): Tokens an answer and the number of answers
            (1,000 at most); None without an answer that the server counted.
        """
        mean, count = self._db.execute(
            "SELECT AVG(completion_tokens), COUNT(completion_tokens) FROM ("
            "SELECT completion_tokens FROM answers WHERE settings IN (SELECT id "
            "FROM settings WHERE prompt_hash = ? AND model = ?) "
            "ORDER BY rowid DESC LIMIT 1000)",
            [settings.prompt.hash, settings.model],
        ).fetchone()
        return mean, count

    def kinds(self) -> list[tuple[str, str, str, int]]:
        """RETURNS (list): Prompt, its hash, model and the number of answers of each."""
        return self._db.execute(
            "SELECT prompt, prompt_hash, model, COUNT(*) FROM answers "
            "JOIN settings ON settings.id = answers.settings "
            "GROUP BY prompt_hash, model ORDER BY MIN(answers.rowid)"
        ).fetchall()

    def newest(
        self, prompt_hash: str, model: str
    ) -> Iterator[tuple[Sentence, Answer, bool]]:
        """Read the newest answer to each question, in the order of the sentences.

        prompt_hash (str): The prompt.
        model (str): The model.
        YIELDS (tuple[Sentence, Answer, bool]): A sentence, its answer and whether JSON
            was asked for.
        """
        rows = self._db.execute(
            f"SELECT structured, position, answers.id, text, {ANSWER_COLUMNS} "
            "FROM answers JOIN settings ON settings.id = answers.settings "
            "WHERE prompt_hash = ? AND model = ? AND NOT EXISTS (SELECT 1 FROM "
            "answers AS newer WHERE newer.question = answers.question "
            "AND newer.rowid > answers.rowid) ORDER BY position, key",
            [prompt_hash, model],
        )
        for row in rows:
            yield Sentence(*row[1:4]), Answer(*row[4:]), bool(row[0])

    # The file

    def _check(self) -> bool:
        """Tell whether the file is still empty; if not, it must be a store."""
        if not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return True
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        reason = ""
        if application != APPLICATION:
            reason = "it is another program's database"
        elif version != VERSION:
            reason = f"its format is {version}, this version knows {VERSION}"
        if reason:
            raise NunerError("N210", path=self.path, reason=reason)
        return False

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """YIELDS (Connection): In a transaction; it is rolled back on an exception."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.DatabaseError) -> NunerError:
        if isinstance(error, sqlite3.OperationalError):
            # A full disk, a folder that can't be written to, a lock that never ends.
            return NunerError("N216", path=self.path, reason=error)
        return NunerError("N210", path=self.path, reason=error)


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        # No such question there; the lease lapses instead.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
