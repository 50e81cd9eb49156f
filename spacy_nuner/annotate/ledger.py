"""What the store knows of batches: which requests are in which, by what ids."""

import itertools
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .answers import Answer, Sentence
from .prompts import Settings
from .store import Store


@dataclass
class OpenBatch:
    """A batch whose answers are not collected yet.

    id (str): Our name for it, which stands in the server's metadata too.
    settings (Settings): How it asks.
    number (int): The settings' number in the store.
    file_id (str | None): The server's id of the request file, once it is there.
    batch_id (str | None): The server's id of the batch, once it is made.
    created (float): When it was written down, in seconds since 1970.
    """

    id: str
    settings: Settings
    number: int
    file_id: str | None
    batch_id: str | None
    created: float


def register(
    store: Store,
    settings: Settings,
    base_url: str,
    requests: Iterable[Sequence[Sentence]],
) -> None:
    """Write a batch down before anything is sent; its claims become its items.

    store (Store): The store.
    settings (Settings): How it asks.
    base_url (str): The server.
    requests (Iterable[Sequence[Sentence]]): The sentences of each request.
    """
    number = store.settings_id(settings)
    name = uuid.uuid4().hex
    with store.writing() as db:
        db.execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, NULL, NULL, ?)",
            [name, store.owner, base_url, number, time.time()],
        )
        for place, request in enumerate(requests):
            for part, sentence in enumerate(request):
                key = settings.key(sentence.text)
                db.execute(
                    "INSERT INTO batch_items VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [name, place, part, key, *sentence],
                )
                db.execute("DELETE FROM claims WHERE key = ?", [key])


def open_batches(store: Store, base_url: str) -> list[OpenBatch]:
    """Find the batches of this process, and take over those of processes that ended.

    store (Store): The store.
    base_url (str): The server; other servers' batches are left alone.
    RETURNS (list[OpenBatch]): The batches, oldest first.
    """
    with store.writing() as db:
        db.execute(
            "UPDATE batches SET owner = ? "
            "WHERE owner NOT IN (SELECT owner FROM owners)",
            [store.owner],
        )
        rows = db.execute(
            "SELECT id, settings, file_id, batch_id, created FROM batches "
            "WHERE owner = ? AND base_url = ? ORDER BY created",
            [store.owner, base_url],
        ).fetchall()
    return [
        OpenBatch(name, store.settings(number), number, file_id, batch_id, created)
        for name, number, file_id, batch_id, created in rows
    ]


def note(store: Store, batch: OpenBatch) -> None:
    """Write the server's ids down as soon as they are known.

    store (Store): The store.
    batch (OpenBatch): The batch.
    """
    with store.writing() as db:
        db.execute(
            "UPDATE batches SET file_id = ?, batch_id = ? WHERE id = ?",
            [batch.file_id, batch.batch_id, batch.id],
        )


def read_requests(store: Store, batch: OpenBatch) -> list[tuple[int, list[Sentence]]]:
    """Read the requests that are not answered yet.

    store (Store): The store.
    batch (OpenBatch): The batch.
    RETURNS (list[tuple[int, list[Sentence]]]): Numbers of requests, their sentences.
    """
    with store.writing() as db:
        rows = db.execute(
            "SELECT number, position, id, text FROM batch_items WHERE batch = ? "
            "ORDER BY number, part",
            [batch.id],
        ).fetchall()
    grouped = itertools.groupby(rows, key=lambda row: int(row[0]))
    return [
        (number, [Sentence(*row[1:]) for row in group]) for number, group in grouped
    ]


def settle(
    store: Store, batch: OpenBatch, rows: Sequence[tuple[Sentence, Answer]]
) -> None:
    """Add answers and take their sentences off the batch, in one transaction.

    store (Store): The store.
    batch (OpenBatch): The batch.
    rows (Sequence[tuple[Sentence, Answer]]): The sentences with their answers.
    """
    with store.writing() as db:
        store.insert(db, rows, batch.settings, batch.number)
        keys = [(batch.id, batch.settings.key(one.text)) for one, _ in rows]
        db.executemany("DELETE FROM batch_items WHERE batch = ? AND key = ?", keys)


def close_batch(store: Store, batch: OpenBatch) -> int:
    """Forget a batch; what it did not answer is back in line.

    store (Store): The store.
    batch (OpenBatch): The batch.
    RETURNS (int): How many sentences that are.
    """
    with store.writing() as db:
        sql = "DELETE FROM batch_items WHERE batch = ?"
        left = db.execute(sql, [batch.id]).rowcount
        db.execute("DELETE FROM batches WHERE id = ?", [batch.id])
    return left
