"""The store of answers: an SQLite file, each answer committed as it comes."""

import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import Errors, NunerError
from ..masking import mask
from ..outputs import check_output, claimed
from ..parallel import ALL, Share
from ..readers.answers import GOOD, Answer, Sentence, Verdict, judge
from ..readers.records import Tally
from ..readers.sources import is_broken, read_objects
from ..utf8 import replace_surrogates
from .prompts import Prompt, Settings

# "Nune" in ASCII, in the header of the file.
APPLICATION = 0x4E756E65
# 1, which was never released, had claims of sentences and owners of batches.
VERSION = 2
# SQLite waits so long for another program's lock, in milliseconds.
BUSY_MS = 60_000
SCHEMA = """
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE,
    prompt TEXT NOT NULL, prompt_hash TEXT NOT NULL, template TEXT NOT NULL,
    structured INTEGER NOT NULL, sentences INTEGER NOT NULL,
    model TEXT NOT NULL, params TEXT NOT NULL,
    api TEXT NOT NULL DEFAULT 'chat');
-- key: prompt, model, parameters and text; question: the same without parameters.
CREATE TABLE answers (
    key BLOB NOT NULL, attempt INTEGER NOT NULL, question BLOB NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings (id),
    position INTEGER NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,
    content TEXT NOT NULL, finish_reason TEXT, refusal TEXT, served TEXT,
    prompt_tokens INTEGER, completion_tokens INTEGER, latency REAL,
    time REAL NOT NULL, UNIQUE (key, attempt));
CREATE INDEX answers_by_question ON answers (question);
CREATE TABLE batches (
    id TEXT PRIMARY KEY, base_url TEXT NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings (id),
    file_id TEXT, batch_id TEXT, created REAL NOT NULL);
CREATE TABLE batch_items (
    batch TEXT NOT NULL, number INTEGER NOT NULL, part INTEGER NOT NULL,
    key BLOB NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
    text TEXT NOT NULL, PRIMARY KEY (batch, number, part)) WITHOUT ROWID;
CREATE INDEX batch_items_by_key ON batch_items (key)"""
ANSWER_COLUMNS = (
    "content, finish_reason, refusal, served, prompt_tokens, completion_tokens, latency"
)
# A full disk, a folder that can't be written to, a lock that never ends; and
# values that SQLite has no type for.
_NOT_WRITTEN = (
    *(OSError, sqlite3.OperationalError),
    *(sqlite3.InterfaceError, sqlite3.ProgrammingError),
    *(OverflowError, UnicodeEncodeError),
)
# Characters of a key that are no accident in an answer.
LEAST_OF_KEY = 12

Row = tuple[Sentence, Answer]
Request = list[Sentence]
# Of a sentence; "repeated" is one whose text came before in the file.
State = Literal["to ask", "answered", "repeated", "in a batch"]


class Store:
    """A file of answers, which one process at a time writes to."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a store.

        path (Path): The file; it is made if it does not exist.
        read_only (bool): Only read, while another process may write. A file that does
            not exist is not made, but taken as empty.
        RAISES (NunerError): N210 if the file is something else, N216 if it can't be
            written, N218 if another process writes to it; what `check_output` and
            `claimed` raise.
        """
        self.path = path
        # Holds the file against other processes.
        self._claim = ExitStack()
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        try:
            with self._explaining():
                self._open(read_only)
        except NunerError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and release its lock."""
        self._db.close()
        self._claim.close()

    def _open(self, read_only: bool) -> None:
        if not read_only:
            path = check_output(self.path)
            claim = claimed(path, "annotate", busy=Errors.N218)
            self._claim.enter_context(claim)
        if not read_only or self.path.exists():
            self._connect(self.path)
        version = self._read_version()
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            # Every commit reaches the disk: an answer is paid for.
            self._db.execute("PRAGMA synchronous = FULL")
            self._create_tables()
        elif version == 0:
            self._connect(":memory:")
            self._create_tables()

    def _connect(self, name: Path | str) -> None:
        self._db.close()
        self._db = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _read_version(self) -> int:
        """The version of the format; 0 for an empty file."""
        if not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return 0
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        reason = ""
        if application != APPLICATION:
            reason = "it is another program's database"
        elif version != VERSION:
            reason = f"its format is {version}, expected is {VERSION}"
        if reason:
            raise NunerError(Errors.N210, path=self.path, reason=reason)
        return version

    def _create_tables(self) -> None:
        with self.writing() as db:
            if self._read_version() == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {VERSION}")
            columns = db.execute("PRAGMA table_info (settings)").fetchall()
            if "api" not in (name for _, name, *_ in columns):
                # Stores that were made before there was a choice.
                sql = "ALTER TABLE settings ADD COLUMN api TEXT NOT NULL DEFAULT 'chat'"
                db.execute(sql)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is rolled back on an exception.

        YIELDS (Connection): The database.
        RAISES (NunerError): N216 if it can't be written.
        """
        with self._explaining():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except _NOT_WRITTEN as error:
            raise NunerError(Errors.N216, path=self.path, reason=error) from error
        except sqlite3.DatabaseError as error:
            raise NunerError(Errors.N210, path=self.path, reason=error) from error

    def add_settings(self, db: sqlite3.Connection, settings: Settings) -> int:
        """Add settings if they are new.

        db (Connection): See `writing`.
        settings (Settings): The settings.
        RETURNS (int): Their number in the store.
        """
        prompt = settings.prompt
        params = json.dumps(settings.params, sort_keys=True)
        db.execute(
            "INSERT OR IGNORE INTO settings (hash, prompt, prompt_hash, template, "
            "structured, sentences, model, params, api) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                # A file of any name may hold a prompt.
                *(settings.hash, replace_surrogates(prompt.name)),
                *(prompt.hash, prompt.template),
                *(prompt.structured, prompt.sentences, settings.model, params),
                settings.api,
            ],
        )
        query = "SELECT id FROM settings WHERE hash = ?"
        return int(db.execute(query, [settings.hash]).fetchone()[0])

    def get_settings(self, number: int) -> Settings:
        """Read settings.

        number (int): See `add_settings`.
        RETURNS (Settings): The settings.
        """
        query = (
            "SELECT prompt, template, structured, sentences, model, params, api "
            "FROM settings WHERE id = ?"
        )
        row = next(self._read(query, number))
        prompt = Prompt(row[0], row[1], structured=bool(row[2]), sentences=row[3])
        return Settings(prompt, row[4], json.loads(row[5]), row[6])

    def add(self, rows: Sequence[Row], settings: Settings) -> None:
        """Commit answers.

        rows (Sequence[tuple[Sentence, Answer]]): Sentences with their answers.
        settings (Settings): The settings of the requests.
        RAISES (NunerError): N216 if they can't be written.
        """
        with self.writing() as db:
            self.insert(db, rows, settings)

    def insert(
        self, db: sqlite3.Connection, rows: Sequence[Row], settings: Settings
    ) -> None:
        """Add answers in an open transaction.

        db (Connection): See `writing`.
        rows, settings: See `add`.
        """
        number, now = self.add_settings(db, settings), time.time()
        for sentence, answer in rows:
            key = settings.key(sentence.text)
            question = settings.question(sentence.text)
            db.execute(
                "INSERT INTO answers SELECT ?, COALESCE(MAX(attempt), 0) + 1, ?, ?, ?, "
                "?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM answers WHERE key = ?",
                [
                    *(key, question, number, *sentence),
                    *map(_mask, (answer.content, answer.finish_reason)),
                    *map(_mask, (answer.refusal, answer.served)),
                    *(answer.prompt_tokens, answer.completion_tokens),
                    *(answer.latency, now, key),
                ],
            )

    def merge(self, path: Path) -> tuple[int, int]:
        """Add the answers of another store; those that are there already stay alone.

        path (Path): The other store.
        RETURNS (tuple[int, int]): How many answers were added, and how many sentences
            of the other are in a batch that was not collected.
        RAISES (NunerError): N210 if it is no store, N216 if this can't be written.
        """
        columns = f"question, position, id, text, {ANSWER_COLUMNS}, time, key, settings"
        with closing(Store(path, read_only=True)) as other, self.writing() as db:
            query = f"SELECT {columns} FROM answers ORDER BY time, rowid"
            numbers: dict[int, int] = {}
            added = 0
            for *values, time_, key, settings in other._db.execute(query):
                if settings not in numbers:
                    copied = other.get_settings(settings)
                    numbers[settings] = self.add_settings(db, copied)
                added += db.execute(
                    f"INSERT INTO answers ({columns}, attempt) "
                    "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                    "(SELECT COALESCE(MAX(attempt), 0) + 1 FROM answers WHERE key = ?) "
                    "WHERE NOT EXISTS (SELECT 1 FROM answers WHERE key = ? "
                    "AND time = ? AND content = ?)",
                    [
                        *values,
                        time_,
                        key,
                        numbers[settings],
                        key,
                        key,
                        time_,
                        values[4],
                    ],
                ).rowcount
            query = "SELECT COUNT(*) FROM batch_items"
            waiting = int(other._db.execute(query).fetchone()[0])
        return added, waiting

    def state(
        self, sentence: Sentence, settings: Settings, *, retry_bad: bool = False
    ) -> State:
        """Look a sentence up.

        sentence (Sentence): The sentence.
        settings (Settings): The settings of a request about it.
        retry_bad (bool): Ask again, and only, where the newest answer is of no use,
            whatever its parameters were.
        RETURNS (State): "to ask", "answered" or "in a batch".
        """
        key, question = settings.key(sentence.text), settings.question(sentence.text)
        if retry_bad:
            query = (
                f"SELECT {ANSWER_COLUMNS} FROM answers WHERE question = ? "
                "ORDER BY time DESC, rowid DESC LIMIT 1"
            )
            row = next(self._read(query, question), None)
            answered = True
            if row is not None:
                structured = settings.prompt.structured
                verdict = judge(Answer(*row), text=sentence.text, structured=structured)
                answered = verdict == GOOD
        else:
            query = "SELECT 1 FROM answers WHERE key = ? LIMIT 1"
            answered = any(self._read(query, key))
        if answered:
            return "answered"
        query = "SELECT 1 FROM batch_items WHERE key = ? LIMIT 1"
        waiting = any(self._read(query, key))
        return "in a batch" if waiting else "to ask"

    def find_answer(self, text: str, settings: Settings) -> Answer | None:
        """Read the newest answer about a sentence.

        text (str): The sentence.
        settings (Settings): The settings of the request.
        RETURNS (Answer | None): The answer; None if there is none.
        """
        query = (
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE key = ? "
            "ORDER BY time DESC, rowid DESC LIMIT 1"
        )
        row = next(self._read(query, settings.key(text)), None)
        return None if row is None else Answer(*row)

    def mean_completion(self, settings: Settings) -> tuple[float | None, int]:
        """Average the length of the newest answers to a prompt by a model.

        settings (Settings): Prompt and model; the parameters may differ.
        RETURNS (tuple[float | None, int]): Tokens an answer and the number of answers
            (1,000 at most); None if the server counted the tokens of none.
        """
        query = (
            "SELECT AVG(completion_tokens), COUNT(completion_tokens) FROM ("
            "SELECT completion_tokens FROM answers WHERE settings IN (SELECT id "
            "FROM settings WHERE prompt_hash = ? AND model = ?) "
            "ORDER BY rowid DESC LIMIT 1000)"
        )
        mean, count = next(self._read(query, settings.prompt.hash, settings.model))
        return mean, count

    def kinds(self) -> list[tuple[str, str, str, int]]:
        """Count answers by prompt and model.

        RETURNS (list[tuple[str, str, str, int]]): The name and the hash of a prompt, a
            model and the number of answers.
        """
        query = (
            "SELECT prompt, prompt_hash, model, COUNT(*) FROM answers "
            "JOIN settings ON settings.id = answers.settings "
            "GROUP BY prompt_hash, model ORDER BY MIN(answers.rowid)"
        )
        return list(self._read(query))

    def best(
        self, prompt_hash: str, model: str
    ) -> Iterator[tuple[Sentence, Answer, bool]]:
        """Read the best answer to each question, in the order of the sentences.

        That is the newest good one; without one the newest that was cut off, whose
        complete lines count; else the newest.

        prompt_hash (str): The hash of the prompt.
        model (str): The model.
        YIELDS (tuple[Sentence, Answer, bool]): A sentence, its answer and whether JSON
            was asked for.
        """
        query = (
            "SELECT question, structured, position, answers.id, text "
            "FROM answers JOIN settings ON settings.id = answers.settings "
            "WHERE prompt_hash = ? AND model = ? AND NOT EXISTS (SELECT 1 FROM "
            "answers AS newer WHERE newer.question = answers.question "
            # Not by the number alone: stores are merged in any order.
            "AND (newer.time, newer.rowid) > (answers.time, answers.rowid)) "
            "ORDER BY position, key"
        )
        all_of_one = (
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE question = ? "
            "ORDER BY time DESC, rowid DESC"
        )
        for question, structured, *sentence in self._read(query, prompt_hash, model):
            asked = Sentence(*sentence)
            given = [Answer(*row) for row in self._read(all_of_one, question)]
            answer = given[0]
            if len(given) > 1:
                answer = _choose(given, asked.text, structured=bool(structured))
            yield asked, answer, bool(structured)

    def _read(self, query: str, *values: Any) -> Iterator[Any]:
        """YIELDS (tuple): The rows. RAISES (NunerError): N210 if they can't be read."""
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise NunerError(Errors.N210, path=self.path, reason=error) from error


def _choose(answers: Sequence[Answer], text: str, *, structured: bool) -> Answer:
    """Of the answers to a question, newest first, the first good one, or nearly so."""
    order: list[Verdict] = [GOOD, "truncated"]

    def rank(answer: Answer) -> int:
        verdict = judge(answer, text=text, structured=structured)
        return order.index(verdict) if verdict in order else len(order)

    return min(answers, key=rank)


def _mask(text: str | None) -> str | None:
    """A server may repeat the key; in the words of a sentence no piece of it stands."""
    return text and mask(text, shortest=LEAST_OF_KEY)


def is_in_part(text: str, part: Share) -> bool:
    """Deal a sentence out, so that the same text is always in the same part.

    text (str): The sentence.
    part (Share): The part.
    RETURNS (bool): Whether it is in there.
    """
    digest = hashlib.blake2b(text.encode("utf8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % part.count == part.index


def read_sentences(path: Path, tally: Tally) -> Iterator[Sentence]:
    """Read sentences in a stream.

    path (Path): JSON Lines with `text` and, if there is one, `id`; may be compressed.
    tally (Tally): Counts the lines that can't be used.
    YIELDS (Sentence): The sentences; without an id the number of the line is the id.
    """
    for number, row in read_objects(str(path), tally):
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            tally.add("without a text", f"{path}:{number}")
        elif is_broken(text):
            tally.add("with broken characters", f"{path}:{number}")
        else:
            name = number if row.get("id") is None else row["id"]
            yield Sentence(number, replace_surrogates(str(name)), text)


@dataclass(frozen=True)
class Task:
    """Sentences that are to have an answer in a store.

    path (Path): The sentences, as JSON Lines.
    store (Store): The answers.
    settings (Settings): Prompt, model and parameters.
    retry_bad (bool): Ask again, and only, where the newest answer is of no use.
    part (Share): Which of the sentences are asked about here; see `is_in_part`.
    """

    path: Path
    store: Store
    settings: Settings
    retry_bad: bool = False
    part: Share = ALL

    def requests(
        self,
        *,
        without: Container[bytes] = (),
        alone: Container[bytes] = (),
        counts: Counter[State] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[Request]:
        """Make requests of the sentences that are to be asked about.

        without (Container[bytes]): Keys of sentences that are not.
        alone (Container[bytes]): Keys of sentences that share no request.
        counts (Counter[State] | None): Counts the sentences by their state.
        tally (Tally | None): Counts the lines that can't be used.
        YIELDS (list[Sentence]): The sentences of a request.
        """
        counts = Counter() if counts is None else counts
        request: Request = []
        # The first half of each key: a sentence that is repeated is asked about once.
        seen: set[bytes] = set()
        for sentence in read_sentences(self.path, Tally() if tally is None else tally):
            if not is_in_part(sentence.text, self.part):
                continue
            key = self.settings.key(sentence.text)
            state: State = "repeated" if key[:16] in seen else "answered"
            if state == "answered" and key not in without:
                state = self.store.state(
                    sentence, self.settings, retry_bad=self.retry_bad
                )
            counts[state] += 1
            if state != "to ask":
                continue
            seen.add(key[:16])
            if key in alone:
                yield [sentence]
                continue
            request.append(sentence)
            if len(request) == self.settings.prompt.sentences:
                yield request
                request = []
        if request:
            yield request
