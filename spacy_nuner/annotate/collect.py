"""Many requests at once, each answer in the store before the next is asked for."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import Errors, NunerError
from ..readers.answers import Answer, Sentence, judge, share
from .accounting import (
    BYTES_PER_TOKEN,
    MESSAGE_TOKENS,
    TOKENS_PER_ANSWER,
    Budget,
    Limits,
    Price,
    Report,
    RunLog,
    estimate_tokens,
)
from .client import Endpoint, Failure, Pace, is_openai
from .prompts import Settings
from .sample import Skips
from .store import CHUNK, Plan, Store, Wanted, Writer, chunks, read_sentences

# Answers in the store from which their mean length is taken.
ENOUGH_ANSWERS = 20


@dataclass(frozen=True)
class Estimate:
    """The tokens of a plan.

    prompt_tokens (float): Of the requests.
    completion_tokens (float): Of the answers.
    prompt_basis (str): What the first figure rests on.
    completion_basis (str): What the second figure rests on.
    cost (float | None): The price, None without a table.
    """

    prompt_tokens: float
    completion_tokens: float
    prompt_basis: str
    completion_basis: str
    cost: float | None


async def estimate(
    plan: Plan,
    store: Store,
    settings: Settings,
    endpoint: Endpoint | None,
    price: Price | None,
    *,
    batch: bool = False,
) -> Estimate:
    """Estimate tokens and price. Asks the server's tokenizer, never the model.

    plan (Plan): What is to be asked.
    store (Store): The answers so far.
    settings (Settings): How it is asked.
    endpoint (Endpoint | None): The server, None to go by length alone.
    price (Price | None): What tokens cost.
    batch (bool): Whether the Batch API is used.
    RETURNS (Estimate): The figures and what they rest on.
    """
    per_token = None
    # OpenAI serves no tokenizer.
    if endpoint is not None and not is_openai(endpoint.base_url):
        per_token = await _bytes_per_token(plan, settings, endpoint)
    basis = f"{BYTES_PER_TOKEN:g} bytes a token"
    if per_token is not None:
        basis = f"the server's tokenizer, {per_token:.2f} bytes a token"
    prompt = plan.bytes / (per_token or BYTES_PER_TOKEN)
    prompt += MESSAGE_TOKENS * plan.requests
    mean, count = store.mean_completion(settings)
    if mean is None or count < ENOUGH_ANSWERS:
        mean, known = TOKENS_PER_ANSWER, "the answers in assets/annotations"
    else:
        known = f"the newest {count:,} answers in the store"
    completion = mean * plan.to_ask
    cost = price.cost(prompt, completion, batch=batch) if price else None
    basis_of_answers = f"{mean:.0f} tokens a sentence, the mean of {known}"
    return Estimate(prompt, completion, basis, basis_of_answers, cost)


async def _bytes_per_token(
    plan: Plan, settings: Settings, endpoint: Endpoint
) -> float | None:
    size = tokens = 0
    for message in plan.samples:
        count = await endpoint.count_tokens(settings.model, message)
        if not count:
            return None
        size += len(message.encode())
        tokens += count
    return size / tokens if tokens else None


Request = list[Sentence]


class Run:
    """Asks about the sentences of a file until none is left or a limit is reached."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        endpoint: Endpoint,
        pace: Pace,
        *,
        report: Report,
        limits: Limits,
        log: RunLog,
        wanted: Wanted | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        """store (Store): Where answers go.
        settings (Settings): How it is asked.
        endpoint (Endpoint): The server.
        pace (Pace): How fast; the endpoint's own.
        report (Report): Counts what happens; the endpoint's own.
        limits (Limits): When to stop.
        log (RunLog): Notes what happens.
        wanted (Wanted | None): As in `Store.claim`.
        progress (Callable[[int], None]): Hears how many sentences are done with.
        """
        self.store = store
        self.settings = settings
        self.endpoint = endpoint
        self.pace = pace
        self.report = report
        self.limits = limits
        self.log = log
        self.wanted = wanted
        self.progress = progress
        self.budget = None if limits.cost is None else Budget(limits.cost)
        self._stop: NunerError | None = None
        self._stopping = False
        self._mean_completion = float(TOKENS_PER_ANSWER * settings.prompt.sentences)
        self._writer = Writer(store, settings)

    async def all(self, path: Path) -> None:
        """Ask about every sentence of a file that needs it.

        path (Path): The sentences.
        RAISES (NunerError): N206, N207 or N208 if it stopped before the end.
        """
        requests: asyncio.Queue[Request | None] = asyncio.Queue(1)
        workers = self.pace.slots.most
        tasks = [
            asyncio.create_task(self._feed(path, requests, workers)),
            *(asyncio.create_task(self._work(requests)) for _ in range(workers)),
        ]
        async with self._writer:
            try:
                with self._interruptible():
                    await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if self._stop is not None:
            raise self._stop

    def stop(self, error: NunerError | None = None) -> None:
        """Send no more requests; those under way are waited for.

        error (NunerError | None): Why, if the run is to fail.
        """
        self._stopping = True
        self._stop = self._stop or error

    # From the file to the queue

    async def _feed(
        self, path: Path, requests: asyncio.Queue[Request | None], workers: int
    ) -> None:
        request: Request = []
        # Some rounds of requests: what is claimed here, no other process can take.
        size = min(CHUNK, 4 * workers * self.settings.prompt.sentences)
        # What can't be used was told when the plan was made.
        for chunk in chunks(read_sentences(path, Skips()), size):
            if self._stopping:
                break
            claimed = await self._writer.run(
                partial(self.store.claim, chunk, self.settings, wanted=self.wanted)
            )
            self.report.elsewhere += claimed.elsewhere
            self.report.repeated += claimed.repeated
            for sentence in claimed.mine:
                request.append(sentence)
                if len(request) == self.settings.prompt.sentences:
                    await requests.put(request)
                    request = []
        if request:
            await requests.put(request)
        for _ in range(workers):
            await requests.put(None)

    async def _work(self, requests: asyncio.Queue[Request | None]) -> None:
        while (request := await requests.get()) is not None:
            if not self._stopping:
                await self._ask(request)

    # One request

    async def _ask(self, request: Request) -> None:
        body = self.settings.body([sentence.text for sentence in request])
        message = body["messages"][0]["content"]
        reserved = self.limits.most_expensive(message, self.settings, len(request))
        if self.budget is not None and not await self.budget.reserve(reserved):
            self.stop(self.limits.too_expensive(self.report.cost))
            return
        cost = 0.0
        try:
            expected = estimate_tokens(message) + self._mean_completion
            if self.pace.tokens is not None:
                await self.pace.tokens.take(expected)
            async with self.pace.slots:
                if self._stopping:
                    return
                outcome = await self.endpoint.ask(body)
            if isinstance(outcome, Failure):
                await self._fail(request, outcome)
                return
            cost = self.report.book(outcome, message, self.limits.price)
            self._learn_length(outcome, expected)
        finally:
            if self.budget is not None:
                await self.budget.settle(reserved, cost)
        for sentence in await self._keep(request, outcome):
            # Left out of the answer to several: alone it can't be overlooked.
            if not self._stopping:
                await self._ask([sentence])

    async def _keep(self, request: Request, answer: Answer) -> Request:
        """Commit an answer; hand back the sentences that it says nothing about."""
        structured = self.settings.prompt.structured
        answers = share(answer, len(request), structured=structured)
        rows = [(request[index], part) for index, part in answers.items()]
        await self._writer.commit(rows)
        for sentence, part in rows:
            verdict = judge(part, text=sentence.text, structured=structured)
            self.report.count(verdict)
            self.log.answer(sentence, part, verdict)
        self.progress(len(rows))
        return [one for index, one in enumerate(request) if index not in answers]

    async def _fail(self, request: Request, failure: Failure) -> None:
        report = self.report
        report.failures[failure.kind] += len(request)
        report.reason = failure.reason
        self.log.write(
            "failure",
            ids=[sentence.id for sentence in request],
            kind=failure.kind,
            reason=failure.reason,
        )
        keys = [self.settings.key(sentence.text) for sentence in request]
        await self._writer.run(partial(self.store.release, keys))
        self.progress(len(request))
        if failure.todo:
            url = self.endpoint.base_url
            reason = failure.reason.rstrip(".")
            facts = {"base_url": url, "reason": reason, "todo": failure.todo}
            self.stop(NunerError(Errors.N206, **facts))
        elif error := self.limits.too_many_failures(report):
            self.stop(error)

    # Pace

    def _learn_length(self, answer: Answer, expected: float) -> None:
        if answer.completion_tokens is None or answer.prompt_tokens is None:
            return
        used = answer.completion_tokens + answer.prompt_tokens
        if self.pace.tokens is not None:
            self.pace.tokens.correct(used - expected)
        self._mean_completion += 0.05 * (
            answer.completion_tokens - self._mean_completion
        )

    # Stopping

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C waits for the requests under way, the second does not."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            self.stop(NunerError(Errors.N217))

        try:
            loop.add_signal_handler(signal.SIGINT, stop)
        except (NotImplementedError, RuntimeError, ValueError):
            # Windows, or a loop that is not in the main thread: Ctrl-C stops at once.
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
