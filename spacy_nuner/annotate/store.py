"""Answers in SQLite: each committed as it comes, none asked for twice."""

import asyncio
import itertools
import json
import os
import re
import socket
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ..errors import Errors, NunerError
from ..files import replacing
from ..readers.answers import GOOD, Answer, Sentence, judge, to_record
from .prompts import Prompt, Settings
from .sample import BROKEN_CHARS, Skips, read_rows

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
            raise NunerError(Errors.N216, path=path, reason=error.strerror) from error
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
            raise NunerError(Errors.N210, path=self.path, reason=reason)
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
            return NunerError(Errors.N216, path=self.path, reason=error)
        return NunerError(Errors.N210, path=self.path, reason=error)


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


# Sentences that are looked up and claimed at a time, at most.
CHUNK = 256
# Requests that the plan keeps to measure how long a token is.
MEASURED = 20
_BROKEN = re.compile(BROKEN_CHARS)


def read_sentences(path: Path, skips: Skips) -> Iterator[Sentence]:
    """Read sentences in a stream.

    path (Path): JSON Lines with `text` and, if there is one, `id`; may be compressed.
    skips (Skips): Counts the lines that can't be used.
    YIELDS (Sentence): The sentences; without an id the number of the line is one.
    """
    for number, row in read_rows(str(path), skips):
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            skips.add("without a text", f"{path.name}:{number}")
        elif _BROKEN.search(text):
            skips.add("with broken characters", f"{path.name}:{number}")
        else:
            yield Sentence(number, str(row.get("id", number)), text)


def chunks(
    sentences: Iterator[Sentence], size: int = CHUNK
) -> Iterator[list[Sentence]]:
    """Take sentences some at a time.

    sentences (Iterator[Sentence]): The sentences.
    size (int): How many at a time.
    YIELDS (list[Sentence]): The next ones.
    """
    while chunk := list(itertools.islice(sentences, size)):
        yield chunk


def is_bad(settings: Settings) -> Wanted:
    """Choose what is asked about again.

    settings (Settings): How it is asked about.
    RETURNS (Wanted): For `Store.claim`: the sentences whose answer is of no use.
    """

    def wanted(sentence: Sentence, answer: Answer) -> bool:
        structured = settings.prompt.structured
        return judge(answer, text=sentence.text, structured=structured) != GOOD

    return wanted


@dataclass
class Plan:
    """What a run has before it.

    sentences (int): Sentences in the file.
    to_ask (int): Those that are to be asked about.
    requests (int): Requests for them.
    bytes (int): Length of the requests' messages together, in bytes of UTF-8.
    samples (list[str]): Some of the messages.
    skips (Skips): Lines that can't be used.
    """

    sentences: int = 0
    to_ask: int = 0
    requests: int = 0
    bytes: int = 0
    samples: list[str] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)


def make_plan(
    path: Path, store: Store, settings: Settings, wanted: Wanted | None
) -> Plan:
    """Go through the sentences without claiming any.

    path (Path): The sentences.
    store (Store): The answers so far.
    settings (Settings): How it is asked.
    wanted (Wanted | None): As in `Store.claim`.
    RETURNS (Plan): What is to be asked.
    RAISES (NunerError): N201 if the file holds no sentence.
    """
    plan = Plan()
    open_request: list[str] = []
    # The first half of each key: a sentence that is repeated is asked about once.
    seen: set[bytes] = set()

    def send() -> None:
        message = settings.prompt.render(open_request)
        plan.requests += 1
        plan.bytes += len(message.encode())
        # The first ones, then the 32nd, 64th, 128th ...: spread over the file.
        if plan.requests & (plan.requests - 1) == 0 or len(plan.samples) < MEASURED:
            plan.samples.append(message)
        open_request.clear()

    for sentence in read_sentences(path, plan.skips):
        plan.sentences += 1
        key = settings.key(sentence.text)[:16]
        if key not in seen and store.needs(sentence, settings, wanted):
            seen.add(key)
            plan.to_ask += 1
            open_request.append(sentence.text)
            if len(open_request) == settings.prompt.sentences:
                send()
    if open_request:
        send()
    if not plan.sentences:
        reason = plan.skips.describe() or "the file is empty"
        raise NunerError(Errors.N201, source=path, reason=reason)
    return plan


T = TypeVar("T")
Row = tuple[Sentence, Answer]


class Writer:
    """Runs the store in a thread of its own and commits answers in groups.

    Used as a context (`async with`), it also renews the claims of this process.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        """store (Store): The store. settings (Settings): How it is asked."""
        self._store = store
        self._settings = settings
        self._number = store.settings_id(settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._arrived: list[tuple[Sequence[Row], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Run something in the thread of the store.

        function (Callable[[], T]): What to run.
        RETURNS (T): Its result.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def commit(self, rows: Sequence[Row]) -> None:
        """Wait until answers are on the disk; those that come meanwhile go together.

        rows (Sequence[tuple[Sentence, Answer]]): Sentences with their answers.
        RAISES (NunerError): N216 if they can't be written.
        """
        if not rows:
            return
        done = asyncio.get_running_loop().create_future()
        self._arrived.append((rows, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_arrived())
        await done

    async def _commit_arrived(self) -> None:
        while self._arrived:
            arrived, self._arrived = self._arrived, []
            rows = [row for some, _ in arrived for row in some]
            error = await self._add(rows)
            for _, done in arrived:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        self._committing = None

    async def _add(self, rows: Sequence[Row]) -> NunerError | None:
        add = partial(self._store.add, rows, self._settings, self._number)
        try:
            await self.run(add)
        except NunerError as error:
            return error
        return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            await self.run(self._store.heartbeat)

    async def __aenter__(self) -> "Writer":
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [task for task in (self._renewing, self._committing) if task]
        if self._renewing is not None:
            self._renewing.cancel()
        # What has arrived is committed even when the run ends with an error.
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown()
        broken = [one for one in ended if isinstance(one, NunerError)]
        if broken and error is None:
            raise broken[0]


def export_records(
    store: Store, path: Path, *, prompt: str | None = None, model: str | None = None
) -> Counter[str]:
    """Write the newest answer to each sentence, in the order of the sentences.

    store (Store): The answers.
    path (Path): JSON Lines with `id`, `text` and `answer` (or `entities`).
    prompt (str | None): Only answers to this prompt, by its name or hash.
    model (str | None): Only answers of this model.
    RETURNS (Counter[str]): The records by what their answers are worth.
    RAISES (NunerError): N211 if prompt and model are not clear, N212 without answers.
    """
    prompt_hash, model = _choose(store, prompt, model)
    verdicts: Counter[str] = Counter()
    with replacing(path) as beside, beside.open("w", encoding="utf8") as file:
        for record, verdict in _records(store, prompt_hash, model):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            verdicts[verdict] += 1
    return verdicts


def _records(
    store: Store, prompt_hash: str, model: str
) -> Iterator[tuple[dict[str, Any], str]]:
    for sentence, answer, structured in store.newest(prompt_hash, model):
        verdict = judge(answer, text=sentence.text, structured=structured)
        yield to_record(sentence, answer, structured=structured), verdict


def _choose(store: Store, prompt: str | None, model: str | None) -> tuple[str, str]:
    found = [
        (name, prompt_hash, served, count)
        for name, prompt_hash, served, count in store.kinds()
        if prompt is None or name == prompt or prompt_hash.startswith(prompt)
        if model is None or served == model
    ]
    if not found:
        which = f" to the prompt '{prompt}'" if prompt else ""
        which += f" of the model '{model}'" if model else ""
        raise NunerError(Errors.N212, path=store.path, which=which)
    if len(found) > 1:
        kinds = ", ".join(
            f"--prompt {name} ({prompt_hash[:8]}) --model {served}: {count:,} answers"
            for name, prompt_hash, served, count in found
        )
        raise NunerError(Errors.N211, path=store.path, found=kinds)
    return found[0][1], found[0][2]
