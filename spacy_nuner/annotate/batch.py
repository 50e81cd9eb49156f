"""The Batch API: send request files, wait, collect; all of it can be resumed."""

import asyncio
import itertools
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors, NunerError
from ..readers.answers import (
    Answer,
    MalformedAnswer,
    Sentence,
    judge,
    read_completion,
    share,
)
from . import batch as ledger
from .accounting import Budget, Limits, Report, RunLog
from .client import CHAT_PATH, Endpoint, Failure
from .prompts import Settings
from .sample import Skips
from .store import Row, Store, Wanted, Writer, chunks, read_sentences


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


URL = f"/v1{CHAT_PATH}"
# The server had no time for the request within the window.
EXPIRED = "batch_expired"


def request_line(
    name: str, number: int, settings: Settings, request: Sequence[Sentence]
) -> bytes:
    """Make a line of a request file.

    name (str): The batch.
    number (int): The request's number in it.
    settings (Settings): How it is asked.
    request (Sequence[Sentence]): The sentences.
    RETURNS (bytes): The line.
    """
    line = {
        "custom_id": f"{name}-{number}",
        "method": "POST",
        "url": URL,
        "body": settings.body([sentence.text for sentence in request]),
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def write_requests(store: Store, batch: OpenBatch, path: Path) -> None:
    """Write the request file of a batch.

    store (Store): The store, which has the sentences.
    batch (OpenBatch): The batch.
    path (Path): The file.
    """
    with path.open("wb") as file:
        for number, request in read_requests(store, batch):
            file.write(request_line(batch.id, number, batch.settings, request))


def read_answers(path: Path) -> Iterator[tuple[int, Answer | Failure]]:
    """Read an output or error file.

    path (Path): The file.
    YIELDS (tuple[int, Answer | Failure]): The request's number and what came of it. A
        line that is damaged is passed over: its request counts as not answered.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                number = int(row["custom_id"].rpartition("-")[2])
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            yield number, _outcome(row)


def _outcome(row: dict[str, Any]) -> Answer | Failure:
    response = row.get("response") or {}
    error = row.get("error") or {}
    status = response.get("status_code")
    if error.get("code") == EXPIRED:
        return Failure(EXPIRED, str(error.get("message", "")))
    if status != 200:
        kind = f"http {status}" if status else str(error.get("code", "malformed"))
        return Failure(kind, json.dumps(response.get("body") or error))
    try:
        return read_completion(response.get("body"))
    except MalformedAnswer as failure:
        return Failure("malformed", str(failure))


if TYPE_CHECKING:
    from openai.types import Batch

# Limits of the API for one batch.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
# What a line grows by once it has the names of its batch and request.
NAME_BYTES = 64
METADATA = "spacy_nuner_batch"
ENDED = ("completed", "failed", "expired", "cancelled")
# Requests whose answers are committed at a time.
GROUP = 500
Request = list[Sentence]


class BatchRun:
    """Sends the sentences of a file as batches and waits for their answers."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        endpoint: Endpoint,
        *,
        report: Report,
        limits: Limits,
        log: RunLog,
        wanted: Wanted | None = None,
        poll: float = 60.0,
        progress: Callable[[int], None] = lambda count: None,
        status: Callable[[str], None] = lambda text: None,
    ) -> None:
        """store (Store): Where answers go.
        settings (Settings): How it is asked.
        endpoint (Endpoint): The server.
        report (Report): Counts what happens.
        limits (Limits): When to stop.
        log (RunLog): Notes what happens.
        wanted (Wanted | None): As in `Store.claim`.
        poll (float): Seconds between two looks at the batches.
        progress (Callable[[int], None]): Hears how many sentences are done with.
        status (Callable[[str], None]): Hears how the batches stand.
        """
        self.store = store
        self.settings = settings
        self.endpoint = endpoint
        self.report = report
        self.limits = limits
        self.log = log
        self.wanted = wanted
        self.poll = poll
        self.progress = progress
        self.status = status
        self._writer = Writer(store, settings)
        self._budget = None if limits.cost is None else Budget(limits.cost)
        self._over_budget = False
        # Sentences that this run does not send again, by their keys.
        self._given_up: set[bytes] = set()
        self._trouble = "its requests expired or were passed over"

    async def all(self, path: Path) -> None:
        """Get an answer to every sentence of a file that needs one.

        path (Path): The sentences.
        RAISES (NunerError): N206, N207, N208 or N214 if it stopped before the end.
        """
        async with self._writer:
            back = 1
            while back and not self._over_budget:
                await self._submit(path)
                before = self.report.answers
                back = await self._collect_all()
                if back and self.report.answers == before:
                    raise NunerError(Errors.N214, reason=self._trouble)
        if self._over_budget:
            raise self.limits.too_expensive(self.report.cost)

    # Out

    async def _submit(self, path: Path) -> None:
        """Write what is missing down as batches and send them."""
        requests: list[Request] = []
        size = 0
        async for request in self._requests(path):
            length = len(request_line("", 0, self.settings, request)) + NAME_BYTES
            full = len(requests) == MOST_REQUESTS or size + length > MOST_BYTES
            if requests and full:
                await self._send(requests)
                requests, size = [], 0
            requests.append(request)
            size += length
        if requests:
            await self._send(requests)

    async def _requests(self, path: Path) -> AsyncIterator[Request]:
        request: Request = []
        for chunk in chunks(read_sentences(path, Skips())):
            chunk = [one for one in chunk if self._key(one) not in self._given_up]
            claimed = await self._writer.run(
                partial(self.store.claim, chunk, self.settings, wanted=self.wanted)
            )
            self.report.repeated += claimed.repeated
            for sentence in claimed.mine:
                request.append(sentence)
                if len(request) < self.settings.prompt.sentences:
                    continue
                if not self._affordable(request):
                    return
                yield request
                request = []
        if request and self._affordable(request):
            yield request

    def _key(self, sentence: Sentence) -> bytes:
        return self.settings.key(sentence.text)

    def _affordable(self, request: Request) -> bool:
        if self._budget is None:
            return True
        message = self.settings.prompt.render([one.text for one in request])
        cost = self.limits.most_expensive(
            message, self.settings, len(request), batch=True
        )
        self._over_budget = not self._budget.try_reserve(cost)
        return not self._over_budget

    async def _send(self, requests: Sequence[Request]) -> None:
        url = self.endpoint.base_url
        await self._writer.run(
            partial(ledger.register, self.store, self.settings, url, requests)
        )
        for batch in await self._open_batches():
            await self._advance(batch)

    async def _open_batches(self) -> list[OpenBatch]:
        url = self.endpoint.base_url
        return await self._writer.run(partial(ledger.open_batches, self.store, url))

    async def _advance(self, batch: OpenBatch) -> str:
        """Upload and create, as far as that is still to be done; give the id."""
        client = self.endpoint.client
        if batch.file_id is None:
            with self._folder() as folder:
                path = Path(folder) / f"{batch.id}.jsonl"
                await self._writer.run(partial(write_requests, self.store, batch, path))
                async with self._explained():
                    file = await client.files.create(file=path, purpose="batch")
            batch.file_id = file.id
            await self._writer.run(partial(ledger.note, self.store, batch))
        if batch.batch_id is None:
            batch.batch_id = await self._find(batch)
            if batch.batch_id is None:
                async with self._explained():
                    made = await client.batches.create(
                        input_file_id=batch.file_id,
                        endpoint="/v1/chat/completions",
                        completion_window="24h",
                        metadata={METADATA: batch.id},
                    )
                batch.batch_id = made.id
            await self._writer.run(partial(ledger.note, self.store, batch))
            self.log.write("batch", id=batch.id, batch_id=batch.batch_id)
        return batch.batch_id

    async def _find(self, batch: OpenBatch) -> str | None:
        """Look for a batch that was made by a run that died before it noted the id."""
        async with self._explained():
            async for remote in self.endpoint.client.batches.list(limit=100):
                if (remote.metadata or {}).get(METADATA) == batch.id:
                    return remote.id
                # Newest first; clocks may differ by some minutes.
                if remote.created_at < batch.created - 3600:
                    break
        return None

    # Back

    async def _collect_all(self) -> int:
        """Wait for all batches; tell how many sentences are back in line."""
        back = 0
        while batches := await self._open_batches():
            under_way = done = total = 0
            for batch in batches:
                batch_id = await self._advance(batch)
                async with self._explained():
                    remote = await self.endpoint.client.batches.retrieve(batch_id)
                if remote.status in ENDED:
                    back += await self._collect(batch, remote)
                    continue
                under_way += 1
                if remote.request_counts is not None:
                    done += remote.request_counts.completed
                    total += remote.request_counts.total
            if under_way:
                self.status(f"{under_way} batches, {done:,} of {total:,} requests")
                await asyncio.sleep(self.poll)
        return back

    async def _collect(self, batch: OpenBatch, remote: "Batch") -> int:
        if remote.errors is not None and remote.errors.data:
            first = remote.errors.data[0]
            self._trouble = self.endpoint.redact(first.message or first.code or "")
        failed = self.report.failures.total()
        for file_id in (remote.output_file_id, remote.error_file_id):
            if file_id is not None:
                await self._read_file(batch, file_id)
        failed = self.report.failures.total() - failed
        left = await self._writer.run(partial(ledger.close_batch, self.store, batch))
        back = left - failed
        self.log.write(
            "batch ended", id=batch.id, status=remote.status, back_in_line=back
        )
        error = self.limits.too_many_failures(self.report)
        if error is not None:
            raise error
        return back

    async def _read_file(self, batch: OpenBatch, file_id: str) -> None:
        requests = dict(
            await self._writer.run(partial(ledger.read_requests, self.store, batch))
        )
        with self._folder() as folder:
            path = Path(folder) / "answers.jsonl"
            async with self._explained():
                files = self.endpoint.client.files.with_streaming_response
                async with files.content(file_id) as response:
                    await response.stream_to_file(path)
            rows: list[Row] = []
            for number, outcome in read_answers(path):
                # A request that is gone was read before this run was cut off.
                request = requests.pop(number, None)
                if request is None:
                    continue
                if isinstance(outcome, Failure):
                    self._fail(request, outcome)
                else:
                    rows.extend(self._share(batch.settings, request, outcome))
                if len(rows) >= GROUP:
                    await self._keep(batch, rows)
                    rows = []
            await self._keep(batch, rows)

    def _share(self, settings: Settings, request: Request, answer: Answer) -> list[Row]:
        message = settings.prompt.render([sentence.text for sentence in request])
        self.report.book(answer, message, self.limits.price, batch=True)
        structured = settings.prompt.structured
        answers = share(answer, len(request), structured=structured)
        return [(request[index], part) for index, part in answers.items()]

    def _fail(self, request: Request, failure: Failure) -> None:
        reason = self.endpoint.redact(failure.reason)[:500]
        ids = [sentence.id for sentence in request]
        self.log.write("failure", ids=ids, kind=failure.kind, reason=reason)
        if failure.kind != EXPIRED:
            self.report.failures[failure.kind] += len(request)
            self.report.reason = reason
            self._given_up.update(self._key(sentence) for sentence in request)
            self.progress(len(request))

    async def _keep(self, batch: OpenBatch, rows: list[Row]) -> None:
        await self._writer.run(partial(ledger.settle, self.store, batch, rows))
        structured = batch.settings.prompt.structured
        for sentence, answer in rows:
            verdict = judge(answer, text=sentence.text, structured=structured)
            self.report.count(verdict)
            self.log.answer(sentence, answer, verdict)
            if self.wanted is not None:
                # It may be bad still, but it was asked about again, as was wanted.
                self._given_up.add(self._key(sentence))
        self.progress(len(rows))

    # Around

    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        # Beside the store: what is written has its size, and /tmp may be in memory.
        return tempfile.TemporaryDirectory(
            prefix=f".{self.store.path.name}.", dir=self.store.path.parent
        )

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        import openai

        try:
            yield
        except openai.OpenAIError as error:
            failure = self.endpoint.explain(error)
            todo = failure.todo or "Run the same command again to go on."
            reason = failure.reason.rstrip(".")
            url = self.endpoint.base_url
            raise NunerError(
                Errors.N206, base_url=url, reason=reason, todo=todo
            ) from error
