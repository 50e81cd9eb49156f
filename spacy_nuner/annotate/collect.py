"""A run: what it will ask and cost, and many requests at once."""

import asyncio
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ..errors import Errors, NunerError
from ..readers.answers import share
from ..readers.records import Tally
from .accounting import (
    BYTES_PER_TOKEN,
    MESSAGE_TOKENS,
    TOKENS_PER_ANSWER,
    Account,
    estimate_tokens,
)
from .client import Endpoint, is_openai
from .responses import STOPPED, Failure
from .store import Request, Row, State, Task, read_sentences

T = TypeVar("T")
# Requests that are measured by the server's tokenizer.
MEASURED = 20
# Answers in the store from which their mean length is taken.
ENOUGH_ANSWERS = 20


@dataclass
class Plan:
    """What a run will ask.

    states (Counter[State]): Sentences in the file by their state.
    requests (int): Requests for those that are to be asked about.
    bytes (int): Length of what the requests are billed for, in bytes of UTF-8.
    samples (list[str]): That of some requests.
    tally (Tally): Lines that can't be used.
    """

    states: Counter[State] = field(default_factory=Counter)
    requests: int = 0
    bytes: int = 0
    samples: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def to_ask(self) -> int:
        """How many sentences are to be asked about."""
        return self.states["to ask"]


def make_plan(task: Task) -> Plan:
    """Count sentences and requests, in one pass over the file.

    task (Task): What is to have an answer.
    RETURNS (Plan): What is to be asked.
    RAISES (NunerError): N201 if the file holds no sentence.
    """
    plan = Plan()
    for request in task.requests(counts=plan.states, tally=plan.tally):
        billed = task.settings.get_billed([one.text for one in request])
        plan.requests += 1
        plan.bytes += len(billed.encode())
        # The first ones, then the 32nd, 64th, 128th ...: spread over the file.
        if plan.requests & (plan.requests - 1) == 0 or len(plan.samples) < MEASURED:
            plan.samples.append(billed)
    # All of a file may fall into other parts.
    if not plan.states and not any(read_sentences(task.path, Tally())):
        reason = plan.tally.describe() or "the file is empty"
        raise NunerError(Errors.N201, source=task.path, reason=reason)
    return plan


@dataclass(frozen=True)
class Estimate:
    """The tokens of a plan.

    prompt_tokens (float): Of the requests.
    completion_tokens (float): Of the answers.
    prompt_basis (str): What the first figure is computed from.
    completion_basis (str): What the second figure is computed from.
    """

    prompt_tokens: float
    completion_tokens: float
    prompt_basis: str
    completion_basis: str


async def estimate(plan: Plan, task: Task, endpoint: Endpoint) -> Estimate:
    """Estimate tokens. Asks the server's tokenizer, never the model.

    plan (Plan): What is to be asked.
    task (Task): The answers so far, prompt and model.
    endpoint (Endpoint): The server.
    RETURNS (Estimate): The figures.
    """
    per_token = await _bytes_per_token(plan, task.settings.model, endpoint)
    if per_token is not None:
        basis = f"the server's tokenizer, {per_token:.2f} bytes a token"
    else:
        per_token = BYTES_PER_TOKEN
        basis = f"{per_token:g} bytes a token"
    mean, count = task.store.mean_completion(task.settings)
    source = f"the newest {count:,} answers in the store"
    if mean is None or count < ENOUGH_ANSWERS:
        mean, source = TOKENS_PER_ANSWER, "the answers in assets/annotations"
    return Estimate(
        prompt_tokens=plan.bytes / per_token + MESSAGE_TOKENS * plan.requests,
        completion_tokens=mean * plan.to_ask,
        prompt_basis=basis,
        completion_basis=f"{mean:.0f} tokens a sentence, the mean of {source}",
    )


async def _bytes_per_token(plan: Plan, model: str, endpoint: Endpoint) -> float | None:
    # OpenAI serves no tokenizer.
    if is_openai(endpoint.base_url):
        return None
    tokens = 0
    for message in plan.samples:
        count = await endpoint.count_tokens(model, message)
        if not count:
            return None
        tokens += count
    return sum(len(message.encode()) for message in plan.samples) / tokens


class Run:
    """Asks about sentences until none is left or a limit is reached."""

    def __init__(self, task: Task, endpoint: Endpoint, account: Account) -> None:
        """Prepare a run.

        task (Task): What is to have an answer.
        endpoint (Endpoint): The server.
        account (Account): Limits and counts; its report is the endpoint's too.
        """
        self.task = task
        self.endpoint = endpoint
        self.account = account
        self._stopping = False
        self._error: NunerError | None = None
        sentences = task.settings.prompt.sentences
        self._mean_completion = float(TOKENS_PER_ANSWER * sentences)
        # The only thread that uses the store; a commit waits for the disk.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._arrived: deque[Row] = deque()

    async def all(self) -> None:
        """Ask about every sentence that needs it.

        RAISES (NunerError): N206, N207, N208, N216 or N217 if it stopped before the
            end, N223 if the log can't be written.
        """
        requests = self.task.requests()
        workers = [
            asyncio.create_task(self._work(requests))
            for _ in range(self.endpoint.pace.most)
        ]
        try:
            with self._interruptible():
                await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._thread.shutdown()
            # What a worker that was cancelled did not wait for.
            self._commit_arrived()
        if self._error is not None:
            raise self._error

    def _stop(self, error: NunerError) -> None:
        """Send no more requests; those under way are waited for, not tried again."""
        self._stopping = True
        self.endpoint.stop()
        self._error = self._error or error

    async def _work(self, requests: Iterator[Request]) -> None:
        take = partial(next, requests, None)
        while not self._stopping and (request := await self._in_thread(take)):
            await self._ask(request)

    async def _ask(self, request: Request) -> None:
        account, settings = self.account, self.task.settings
        texts = [sentence.text for sentence in request]
        billed = settings.get_billed(texts)
        reserved = account.longest_cost(billed, settings, len(request))
        if not await account.reserve(reserved):
            self._stop(account.too_expensive())
            return
        try:
            expected = estimate_tokens(billed) + self._mean_completion
            await self.endpoint.pace.tokens.take(expected)
            async with self.endpoint.pace.slot():
                if self._stopping:
                    return
                outcome = await self.endpoint.ask(settings.body(texts), settings.api)
            if isinstance(outcome, Failure):
                # What was never sent has not failed.
                if outcome.kind != STOPPED:
                    self._fail(request, outcome)
                return
            used = account.add_tokens(outcome, billed)
        finally:
            await account.release(reserved)
        if outcome.completion_tokens is not None:
            self.endpoint.pace.tokens.correct(used - expected)
            more = outcome.completion_tokens - self._mean_completion
            self._mean_completion += 0.05 * more
        structured = settings.prompt.structured
        parts = share(outcome, len(request), structured=structured)
        rows = [(request[index], part) for index, part in parts.items()]
        await self._commit(rows)
        account.add_answers(rows, structured=structured)
        for index, sentence in enumerate(request):
            # The answer to several sentences has no part for it: ask about it alone.
            if index not in parts and not self._stopping:
                await self._ask([sentence])

    def _fail(self, request: Request, failure: Failure) -> None:
        self.account.add_failure(request, failure.kind, failure.reason)
        if failure.todo:
            self._stop(self.endpoint.refusal(failure))
        elif error := self.account.failed(at_least=self.account.limits.failures):
            self._stop(error)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _commit(self, rows: Sequence[Row]) -> None:
        """Wait until answers are on the disk; those that came meanwhile go together."""
        self._arrived.extend(rows)
        await self._in_thread(self._commit_arrived)

    def _commit_arrived(self) -> None:
        rows = [self._arrived.popleft() for _ in range(len(self._arrived))]
        if not rows:
            return
        try:
            self.task.store.add(rows, self.task.settings)
        except BaseException:
            # Every task that waits for one of these has to get the error.
            self._arrived.extendleft(reversed(rows))
            raise

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C waits for the requests under way, the second does not."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            self._stop(NunerError(Errors.N217))

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
