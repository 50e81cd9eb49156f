"""The Batch API: send files of requests, wait, collect; each step can be resumed."""

import asyncio
import itertools
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import Errors, NunerError
from ..readers.answers import Answer, Sentence, share
from ..utf8 import replace_surrogates
from .accounting import Account
from .client import LONGEST_BODY, Endpoint
from .prompts import Settings
from .responses import (
    LONGEST_MESSAGE,
    LONGEST_NAME,
    Api,
    Failure,
    find_message,
    read_body,
    read_count,
)
from .store import Request, Row, Store, Task

if TYPE_CHECKING:
    from openai.types import Batch

# The APIs in the words of the Batch API.
Url = Literal["/v1/chat/completions", "/v1/responses", "/v1/completions"]
URLS: dict[Api, Url] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
}
# Limits of the API for one batch.
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
# The names of batch and request in a line.
NAME_BYTES = 64
# The code of a request that was not run within the window.
EXPIRED = "batch_expired"
CANCELLED = "cancelled"
ENDED = ("completed", "failed", "expired", CANCELLED)
# The key of our name for a batch in its metadata on the server.
METADATA = "spacy_nuner_batch"
# Statuses below 500 after which a server may take the same request, and seconds until
# it is sent again: the first time, and at most.
PASSING = (408, 409, 429)
RETRY_AFTER, LONGEST_RETRY = 0.5, 8.0
# Answers a commit, at least.
GROUP = 500


# The batches in the store


@dataclass
class _OpenBatch:
    """A batch whose answers are not collected yet."""

    # Our name for it, in the server's metadata too.
    id: str
    settings: Settings
    # The server's ids of the file of requests and of the batch, once they exist.
    file_id: str | None
    batch_id: str | None
    created: float


class _Ledger:
    """The batches of a store at one server, stored before they are sent."""

    def __init__(self, store: Store, base_url: str) -> None:
        self.store = store
        # However it was typed.
        self.base_url = base_url.rstrip("/")

    def add(self, settings: Settings, requests: Sequence[Request]) -> None:
        name = uuid.uuid4().hex
        with self.store.writing() as db:
            number = self.store.add_settings(db, settings)
            db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, NULL, NULL, ?)",
                [name, self.base_url, number, time.time()],
            )
            db.executemany(
                "INSERT INTO batch_items VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    [name, index, part, settings.key(sentence.text), *sentence]
                    for index, request in enumerate(requests)
                    for part, sentence in enumerate(request)
                ),
            )

    def batches(self) -> list[_OpenBatch]:
        """Oldest first."""
        with self.store.writing() as db:
            rows = db.execute(
                "SELECT id, settings, file_id, batch_id, created FROM batches "
                "WHERE RTRIM(base_url, '/') = ? ORDER BY created",
                [self.base_url],
            ).fetchall()
        return [
            _OpenBatch(
                name, self.store.get_settings(number), file_id, batch_id, created
            )
            for name, number, file_id, batch_id, created in rows
        ]

    def update(self, batch: _OpenBatch) -> None:
        with self.store.writing() as db:
            db.execute(
                "UPDATE batches SET file_id = ?, batch_id = ? WHERE id = ?",
                [batch.file_id, batch.batch_id, batch.id],
            )

    def requests(self, batch: _OpenBatch) -> list[tuple[int, Request]]:
        """The requests that are not answered yet, with their numbers."""
        with self.store.writing() as db:
            rows = db.execute(
                "SELECT number, position, id, text FROM batch_items WHERE batch = ? "
                "ORDER BY number, part",
                [batch.id],
            ).fetchall()
        grouped = itertools.groupby(rows, key=lambda row: int(row[0]))
        return [
            (number, [Sentence(*row[1:]) for row in group]) for number, group in grouped
        ]

    def answer(
        self, batch: _OpenBatch, numbers: Sequence[int], rows: Sequence[Row]
    ) -> None:
        """Add answers and remove their requests from the batch, in one transaction."""
        with self.store.writing() as db:
            self.store.insert(db, rows, batch.settings)
            keys = [(batch.id, number) for number in numbers]
            sql = "DELETE FROM batch_items WHERE batch = ? AND number = ?"
            db.executemany(sql, keys)

    def close(self, batch: _OpenBatch) -> int:
        """Remove a batch; returns how many sentences it did not answer."""
        with self.store.writing() as db:
            sql = "DELETE FROM batch_items WHERE batch = ?"
            left = db.execute(sql, [batch.id]).rowcount
            db.execute("DELETE FROM batches WHERE id = ?", [batch.id])
        return left


# The files of the API


def _request_line(
    name: str, number: int, settings: Settings, request: Sequence[Sentence]
) -> bytes:
    line = {
        "custom_id": f"{name}-{number}",
        "method": "POST",
        "url": URLS[settings.api],
        "body": settings.body([sentence.text for sentence in request]),
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read an output or error file: numbers of requests and their rows.

    A line that is damaged, or longer than any response may be, is skipped: its request
    counts as not answered.
    """
    with path.open("rb") as file:
        whole = True
        while line := file.readline(LONGEST_BODY):
            begins, whole = whole, line.endswith(b"\n")
            row = read_body(line) if begins else None
            name = row.get("custom_id") if isinstance(row, dict) else None
            number = name.rpartition("-")[2] if isinstance(name, str) else ""
            if isinstance(row, dict) and number.isdecimal() and len(number) < 10:
                yield int(number), row


class BatchRun:
    """Sends sentences as batches and waits for their answers."""

    def __init__(
        self,
        task: Task,
        endpoint: Endpoint,
        account: Account,
        *,
        poll: float = 60.0,
        resend_lost: bool = False,
        status: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare a run.

        task (Task): What is to have an answer.
        endpoint (Endpoint): The server.
        account (Account): Limits and counts; its report is the endpoint's too.
        poll (float): Seconds between two queries for the batches' status.
        resend_lost (bool): Send again what is in batches that the server does not have
            any more; else these stay, and are an error when all others are collected.
        status (Callable[[str], None]): Called with a line on the batches' progress.
        """
        self.task = task
        self.endpoint = endpoint
        self.account = account
        self.poll = poll
        self.resend_lost = resend_lost
        self.status = status
        self._ledger = _Ledger(task.store, endpoint.address)
        self._over_budget = False
        # Batches that a person ended, and those that the server does not have.
        self._cancelled: list[str] = []
        self._lost: list[str] = []
        self._n_resent = 0
        # Names of the batches of earlier runs.
        self._earlier: set[str] = set()
        # Sentences that this run does not send again, and those that it sends without
        # others, by their keys.
        self._given_up: set[bytes] = set()
        self._alone: set[bytes] = set()
        self._reason = "its requests expired or are not in its answers"

    async def all(self) -> None:
        """Get an answer to every sentence that needs one.

        RAISES (NunerError): N206, N207, N208, N214, N216 or N225 if it stopped before
            the end, N223 if the log can't be written.
        """
        unanswered = 1
        earlier = self._ledger.batches()
        self._earlier = {batch.id for batch in earlier}
        under_way = self._price(earlier)
        while unanswered and not self._over_budget:
            reserved = under_way + await self._submit()
            under_way = 0.0
            before = self._count_progress()
            unanswered = await self._collect_all()
            await self.account.release(reserved)
            if self._cancelled:
                reason = f"{', '.join(self._cancelled)} was cancelled"
                raise NunerError(Errors.N214, reason=reason)
            if unanswered and self._count_progress() == before:
                raise NunerError(Errors.N214, reason=self._reason)
        if self._lost:
            raise NunerError(Errors.N225, ids=", ".join(self._lost))
        if self._over_budget:
            raise self.account.too_expensive()

    def _count_progress(self) -> tuple[int, ...]:
        return self.account.report.answers, len(self._alone), self._n_resent

    def _price(self, earlier: Sequence[_OpenBatch]) -> float:
        """Reserve what batches of earlier runs may cost, which is spent already."""
        if self.account.limits.cost is None:
            # A file may have 50,000 requests.
            return 0.0
        total = 0.0
        for batch in earlier:
            for _, request in self._ledger.requests(batch):
                billed = batch.settings.get_billed([one.text for one in request])
                total += self.account.longest_cost(billed, batch.settings, len(request))
        self.account.reserve_spent(total)
        return total

    async def _submit(self) -> float:
        """Send what is missing as batches; returns the most that it can cost."""
        settings = self.task.settings
        requests: list[Request] = []
        size, reserved = 0, 0.0
        for request in self.task.requests(without=self._given_up, alone=self._alone):
            billed = settings.get_billed([sentence.text for sentence in request])
            cost = self.account.longest_cost(billed, settings, len(request))
            if not self.account.try_reserve(cost):
                self._over_budget = True
                break
            reserved += cost
            length = len(_request_line("", 0, settings, request)) + NAME_BYTES
            full = len(requests) == MOST_REQUESTS or size + length > MOST_BYTES
            if requests and full:
                await self._send(requests)
                requests, size = [], 0
            requests.append(request)
            size += length
        if requests:
            await self._send(requests)
        return reserved

    async def _send(self, requests: Sequence[Request]) -> None:
        self._ledger.add(self.task.settings, requests)
        for batch in self._ledger.batches():
            try:
                await self._advance(batch)
            except BaseException:
                # Ctrl-C too.
                for other in self._ledger.batches():
                    if other.file_id is None:
                        # Nothing of it is there: else a run without batches would wait.
                        self._ledger.close(other)
                raise

    async def _advance(self, batch: _OpenBatch) -> str:
        """Upload the file and create the batch unless that was done; returns its id."""
        client, sent = self.endpoint.client, batch.file_id is not None
        if batch.file_id is None:
            with self._temporary_folder() as folder:
                # Not under the name of the batch, which the store says.
                path = Path(folder) / "requests.jsonl"
                with path.open("wb") as lines:
                    for number, request in self._ledger.requests(batch):
                        line = _request_line(batch.id, number, batch.settings, request)
                        lines.write(line)
                async with self._explained():
                    file = await client.files.create(file=path, purpose="batch")
                    batch.file_id = _read_id(file.id)
            self._ledger.update(batch)
        if batch.batch_id is None:
            # What was not sent before is not there.
            found = await self._find(batch) if sent else None
            batch.batch_id = found or await self._create(batch)
            self._ledger.update(batch)
            self.account.log("batch", id=batch.id, batch_id=batch.batch_id)
        return batch.batch_id

    async def _create(self, batch: _OpenBatch) -> str:
        """Create a batch once: where nobody knows whether the server did it, it is
        looked for before it is asked for again.
        """
        import openai

        client = self.endpoint.client
        async with self._explained():
            retry = 0
            while True:
                try:
                    made = await client.with_options(max_retries=0).batches.create(
                        input_file_id=str(batch.file_id),
                        endpoint=URLS[batch.settings.api],
                        completion_window="24h",
                        metadata={METADATA: batch.id},
                    )
                    return _read_id(made.id)
                except openai.APIError as error:
                    status = getattr(error, "status_code", None)
                    if status is not None and status < 500 and status not in PASSING:
                        # Refused: its sentences wait for nothing.
                        self._ledger.close(batch)
                        raise
                    if retry >= client.max_retries:
                        raise
                await asyncio.sleep(min(RETRY_AFTER * 2**retry, LONGEST_RETRY))
                retry += 1
                if found := await self._find(batch):
                    return found

    async def _find(self, batch: _OpenBatch) -> str | None:
        """Search for a batch of a run that died before it stored the id."""
        seen: set[str] = set()
        async with self._explained():
            async for remote in self.endpoint.client.batches.list(limit=100):
                # Newest first; clocks may differ by some minutes.
                if remote.id in seen or remote.created_at < batch.created - 3600:
                    break
                if (remote.metadata or {}).get(METADATA) == batch.id:
                    return _read_id(remote.id)
                # Servers without pages give the first one again and again.
                seen.add(remote.id)
        return None

    async def _collect_all(self) -> int:
        """Wait for all batches; returns how many sentences are to be sent again."""
        unanswered = 0
        while batches := [
            one for one in self._ledger.batches() if one.batch_id not in self._lost
        ]:
            under_way = done = total = 0
            for batch in batches:
                batch_id = await self._advance(batch)
                remote = await self._retrieve(batch_id)
                if remote is None:
                    unanswered += self._lose(batch, batch_id)
                    continue
                if remote.status in ENDED:
                    unanswered += await self._collect(batch, remote)
                    continue
                under_way += 1
                counts = remote.request_counts
                done += read_count(getattr(counts, "completed", None)) or 0
                total += read_count(getattr(counts, "total", None)) or 0
            if under_way:
                self.status(f"{under_way} batches, {done:,} of {total:,} requests")
                await asyncio.sleep(self.poll)
        return unanswered

    async def _retrieve(self, batch_id: str) -> "Batch | None":
        """Ask for a batch; None if the server does not have it."""
        import openai

        async with self._explained():
            try:
                remote = await self.endpoint.client.batches.retrieve(batch_id)
            except openai.NotFoundError:
                return None
            _read_id(remote.status)
            return remote

    def _lose(self, batch: _OpenBatch, batch_id: str) -> int:
        """Give up a batch for good or for this run; returns what is sent again."""
        self.account.log("batch lost", id=batch.id, batch_id=batch_id)
        # One of this run is no better if it is sent again.
        if self.resend_lost and batch.id in self._earlier:
            self._n_resent += 1
            return self._ledger.close(batch)
        self._lost.append(batch_id)
        return 0

    async def _collect(self, batch: _OpenBatch, remote: "Batch") -> int:
        account = self.account
        async with self._explained():
            if remote.errors is not None and remote.errors.data:
                said = [one.message or one.code for one in remote.errors.data]
                reason = find_message(None, said)
                self._reason = self.endpoint.redact(reason)[:LONGEST_MESSAGE]
            ids = (remote.output_file_id, remote.error_file_id)
            files = [_read_id(one) for one in ids if one is not None]
        failed = account.report.failures.total()
        missed = 0
        for file_id in files:
            left_out = await self._read_file(batch, file_id)
            if left_out is None:
                return self._lose(batch, remote.id)
            missed += left_out
        failed = account.report.failures.total() - failed
        unanswered = self._ledger.close(batch) - failed + missed
        if remote.status == CANCELLED and unanswered:
            self._cancelled.append(remote.id)
        account.log(
            "batch ended", id=batch.id, status=remote.status, unanswered=unanswered
        )
        if error := account.failed(at_least=account.limits.failures):
            raise error
        return unanswered

    async def _read_file(self, batch: _OpenBatch, file_id: str) -> int | None:
        """Store the answers of a file; returns how many sentences they leave out, or
        None if the server does not have it any more."""
        import openai

        requests = dict(self._ledger.requests(batch))
        prompt = batch.settings.prompt
        numbers: list[int] = []
        rows: list[Row] = []
        left_out = 0
        with self._temporary_folder() as folder:
            path = Path(folder) / "answers.jsonl"
            async with self._explained():
                files = self.endpoint.client.files.with_streaming_response
                try:
                    async with files.content(file_id) as response:
                        await response.stream_to_file(path)
                except openai.NotFoundError:
                    return None
            for number, row in _read_rows(path):
                # One that is missing was stored by a run that died while it collected.
                request = requests.pop(number, None)
                if request is None:
                    continue
                outcome = self._read_outcome(row, batch.settings.api)
                if isinstance(outcome, Failure):
                    self._fail(request, outcome)
                    continue
                billed = batch.settings.get_billed([one.text for one in request])
                self.account.add_tokens(outcome, billed)
                parts = share(outcome, len(request), structured=prompt.structured)
                numbers.append(number)
                rows += [(request[index], part) for index, part in parts.items()]
                passed = [one for n, one in enumerate(request) if n not in parts]
                self._alone.update(batch.settings.key(one.text) for one in passed)
                left_out += len(passed)
                if len(rows) >= GROUP:
                    self._add(batch, numbers, rows)
                    numbers, rows = [], []
            self._add(batch, numbers, rows)
        return left_out

    def _add(
        self, batch: _OpenBatch, numbers: Sequence[int], rows: Sequence[Row]
    ) -> None:
        self._ledger.answer(batch, numbers, rows)
        self.account.add_answers(rows, structured=batch.settings.prompt.structured)
        if self.task.retry_bad:
            # Even where it is bad again, it is asked about once a run.
            self._give_up(sentence for sentence, _ in rows)

    def _read_outcome(self, row: dict[str, Any], api: Api) -> Answer | Failure:
        response, error = row.get("response"), row.get("error")
        response = response if isinstance(response, dict) else {}
        status, body = read_count(response.get("status_code")), response.get("body")
        data = {"error": error} if body is None else body
        outcome = self.endpoint.read(status, data, api=api)
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(outcome, Failure) and status is None and isinstance(code, str):
            kind = self.endpoint.redact(replace_surrogates(code))[:LONGEST_NAME]
            return outcome._replace(kind=kind)
        return outcome

    def _fail(self, request: Request, failure: Failure) -> None:
        reason = failure.reason
        if failure.kind == EXPIRED:
            ids = [sentence.id for sentence in request]
            self.account.log("failure", ids=ids, kind=failure.kind, reason=reason)
        else:
            self.account.add_failure(request, failure.kind, reason)
            self._give_up(request)

    def _give_up(self, sentences: Iterable[Sentence]) -> None:
        key = self.task.settings.key
        self._given_up.update(key(sentence.text) for sentence in sentences)

    def _temporary_folder(self) -> "tempfile.TemporaryDirectory[str]":
        # In the store's folder: files are as large as it, and /tmp may be in memory.
        path = self.task.store.path
        return tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """Turn the client's errors into N206, and those of the disk into N216."""
        import aiohttp
        import httpx2
        import openai

        try:
            yield
        except NunerError:
            raise
        except (openai.OpenAIError, httpx2.HTTPError, aiohttp.ClientError) as error:
            # Not `from error`: a traceback would show what the server said.
            raise self.endpoint.refusal(self.endpoint.explain(error)) from None
        except OSError as error:
            path = self.task.store.path.parent
            raise NunerError(Errors.N216, path=path, reason=error) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # A page instead of JSON, or JSON without what is needed: openai's models
            # take everything.
            reason = f"no response of the Batch API ({error})"
            failure = Failure("malformed", self.endpoint.redact(reason))
            raise self.endpoint.refusal(failure) from None


def _read_id(value: Any) -> str:
    if not isinstance(value, str) or value != replace_surrogates(value):
        raise TypeError(f"an id or a status is {type(value).__name__}")
    return value
