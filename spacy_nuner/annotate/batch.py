"""The Batch API: send request files, wait, collect; all of it can be resumed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NunerError
from . import ledger
from .answers import Answer, Sentence, judge, share
from .batchfile import EXPIRED, read_answers, request_line, write_requests
from .client import Endpoint, Failure
from .ledger import OpenBatch
from .limits import Limits
from .pricing import Budget
from .prompts import Settings
from .reading import Skips
from .report import Report, RunLog
from .sentences import chunks, read_sentences
from .store import Store, Wanted
from .writer import Row, Writer

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
                    raise NunerError("N214", reason=self._trouble)
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
            raise NunerError("N206", base_url=url, reason=reason, todo=todo) from error
