"""Prices, limits and counts of a run."""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import Errors, NunerError
from ..masking import mask_texts
from ..outputs import check_output
from ..printing import printable
from ..readers.answers import Answer, Sentence, judge
from .prompts import Settings
from .responses import read_count

# Where no tokenizer is served: English text has about four bytes a token.
BYTES_PER_TOKEN = 4.0
# The role and the separators around a message.
MESSAGE_TOKENS = 8
# The answers in assets/annotations have 398 characters a sentence on average.
TOKENS_PER_ANSWER = 100
# Bytes of the first line of a log that are read to tell whose it is.
MAX_LINE = 1_000_000
# Reserved for an answer that has no --max-tokens.
UNBOUNDED_ANSWER = 1024


@dataclass(frozen=True)
class Price:
    """What a model costs.

    input (float): Price of a million tokens of requests.
    output (float): Price of a million tokens of answers.
    currency (str): The currency, for the report.
    """

    input: float
    output: float
    currency: str = "USD"

    def cost(self, prompt: float, completion: float) -> float:
        """Price tokens of requests and of answers, in the currency of the table.

        prompt (float): Tokens of requests.
        completion (float): Tokens of answers.
        RETURNS (float): The price.
        """
        return (prompt * self.input + completion * self.output) / 1e6

    def show(self, cost: float) -> str:
        """Write a price with its currency.

        cost (float): The price.
        RETURNS (str): Such as "0.0012 EUR".
        """
        return f"{cost:,.{4 if cost < 10 else 2}f} {self.currency}"


def load_price(path: Path, model: str, *, batch: bool = False) -> Price:
    """Find a model in a table of prices.

    path (Path): JSON with `currency` and `models`, each with `input` and `output`, the
        price of a million tokens, and `batch`, the factor of the Batch API.
    model (str): The model.
    batch (bool): Take its price in the Batch API.
    RETURNS (Price): Its price.
    RAISES (NunerError): N209 without the model, N220 if the table can't be used.
    """
    try:
        table = json.loads(path.read_text(encoding="utf8"))
        models: dict[str, Any] = dict(table["models"])
        if model not in models:
            known = ", ".join(models) or "no model"
            raise NunerError(Errors.N209, model=model, path=path, known=known)
        row = models[model]
        factor = float(row.get("batch", 1.0)) if batch else 1.0
        prices = [float(row[name]) * factor for name in ("input", "output")]
        if not all(0 <= one < math.inf for one in prices):
            raise ValueError(f"a price is a number from 0 up, found {row}")
        return Price(prices[0], prices[1], printable(table.get("currency", "USD")))
    except NunerError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise NunerError(Errors.N220, path=path, reason=reason) from error
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
        raise NunerError(Errors.N220, path=path, reason=reason) from error


def estimate_tokens(text: str) -> float:
    """Estimate the tokens of a message by its length.

    text (str): The message.
    RETURNS (float): The number of tokens.
    """
    return len(text.encode()) / BYTES_PER_TOKEN + MESSAGE_TOKENS


def _check_log(path: Path) -> None:
    """Raise N033 if there is a file that does not begin as a log does."""
    if not path.exists():
        return
    with path.open("rb") as file:
        first = file.readline(MAX_LINE)
    try:
        line = json.loads(first) if first else {"event": ""}
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict) or "event" not in line:
        reason = "its first line is no object with 'event'"
        raise NunerError(Errors.N033, path=path, reason=reason)


def name_counts(counts: Counter[str]) -> str:
    """Write counts as a list, the highest first.

    counts (Counter[str]): The counts.
    RETURNS (str): Such as "3 timeout, 1 empty".
    """
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


@dataclass(frozen=True)
class Limits:
    """How many failures and how much money end a run.

    failures (int): Sentences without an answer at which it stops.
    cost (float | None): Most money to spend, None for no limit.
    price (Price | None): What tokens cost.
    RAISES (NunerError): N215 with a limit of cost, but no price.
    """

    failures: int = 100
    cost: float | None = None
    price: Price | None = None

    def __post_init__(self) -> None:
        if self.cost is not None and self.price is None:
            raise NunerError(Errors.N215)

    def price_of(self, prompt: float, completion: float) -> float:
        """Price tokens; see `Price.cost`. 0 without a price."""
        return self.price.cost(prompt, completion) if self.price else 0.0


@dataclass
class Report:
    """The counts of a run.

    requests (int): Requests sent, repeated ones counted.
    statuses (Counter[int]): Responses by HTTP status.
    answers (int): Answers stored.
    verdicts (Counter[str]): Answers by their verdict.
    failures (Counter[str]): Sentences without an answer, by reason.
    reason (str): The server's message at the last failure.
    prompt_tokens (int): Tokens of the requests that were answered.
    completion_tokens (int): Tokens of the answers.
    estimated (int): Answers whose tokens the server did not count.
    cost (float): What they cost, 0 without a price.
    """

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    answers: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    cost: float = 0.0


class Account:
    """Counts and logs what a run does, and when it has to stop.

    Requests reserve what they can cost at most before they go out.

    limits (Limits): When to stop.
    report (Report): The counts so far.
    progress (Callable[[int], None]): Called with the number of sentences that were
        answered or failed.
    """

    def __init__(self, limits: Limits, *, log: Path | None = None) -> None:
        """Start at 0.

        limits (Limits): When to stop.
        log (Path | None): A file of JSON Lines that is appended to: a line for each
            answer and failure.
        RAISES (NunerError): N003 if the log can't be written to, N033 if it is a file
            of something else; what `check_output` raises.
        """
        self.limits = limits
        self.report = Report()
        self.progress: Callable[[int], None] = lambda count: None
        self._reserved = 0.0
        self._under_way = 0
        self._changed = asyncio.Condition()
        self._log: IO[str] | None = None
        if log is not None:
            check_output(log)
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                _check_log(log)
                # Line by line, so that a killed run leaves whole lines.
                # A lone surrogate is written as JSON escapes it.
                self._log = log.open(
                    "a", encoding="utf8", errors="backslashreplace", buffering=1
                )
            except OSError as error:
                reason = error.strerror or str(error)
                raise NunerError(Errors.N003, path=log, reason=reason) from error

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def log(self, event: str, **fields: Any) -> None:
        """Add a line to the log.

        event (str): The kind of event.
        **fields: Its other fields.
        RAISES (NunerError): N223 if it can't be written.
        """
        if self._log is not None:
            line = {"time": round(time.time(), 3), "event": event, **fields}
            text = json.dumps(mask_texts(line), ensure_ascii=False, default=str)
            try:
                self._log.write(f"{text}\n")
            except OSError as error:
                path, reason = self._log.name, error.strerror or str(error)
                raise NunerError(Errors.N223, path=path, reason=reason) from error

    # Money

    def longest_cost(self, billed: str, settings: Settings, sentences: int) -> float:
        """Price a request at the longest answer that it can get.

        billed (str): What it is billed for, as `Settings.get_billed` gives it.
        settings (Settings): The parameters of the request.
        sentences (int): Sentences in the request.
        RETURNS (float): The cost, 0 without a price. Without `--max-tokens` an answer
            is taken to be no longer than 1,024 tokens a sentence.
        """
        names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
        given = filter(None, (read_count(settings.params.get(name)) for name in names))
        completion = float(next(given, UNBOUNDED_ANSWER * sentences))
        return self.limits.price_of(estimate_tokens(billed), completion)

    def try_reserve(self, cost: float) -> bool:
        """Reserve money if there is enough.

        cost (float): The most that the request can cost.
        RETURNS (bool): Whether it may go out.
        """
        limit = self.limits.cost
        if limit is not None and self.report.cost + self._reserved + cost > limit:
            return False
        self._reserved += cost
        self._under_way += 1
        return True

    def reserve_spent(self, cost: float) -> None:
        """Reserve money that is spent already, whether or not it is there.

        cost (float): The most that the requests under way can cost.
        """
        self._reserved += cost

    async def reserve(self, cost: float) -> bool:
        """Reserve money; requests under way may give some back, so wait for them.

        cost (float): The most that the request can cost.
        RETURNS (bool): False if there is too little with nothing under way.
        """
        async with self._changed:
            while not self.try_reserve(cost):
                if self._under_way == 0:
                    return False
                await self._changed.wait()
            return True

    async def release(self, cost: float) -> None:
        """Give back what a request that has ended had reserved.

        cost (float): What was reserved.
        """
        async with self._changed:
            self._reserved -= cost
            self._under_way -= 1
            self._changed.notify_all()

    # Answers and failures

    def add_tokens(self, answer: Answer, billed: str) -> int:
        """Count the tokens and the cost of an answered request.

        answer (Answer): The whole answer.
        billed (str): What it was billed for, as `Settings.get_billed` gives it.
        RETURNS (int): The tokens of request and answer.
        """
        report = self.report
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if prompt is None or completion is None:
            report.estimated += 1
            prompt = round(estimate_tokens(billed))
            completion = round(estimate_tokens(answer.content))
        report.prompt_tokens += prompt
        report.completion_tokens += completion
        report.cost += self.limits.price_of(prompt, completion)
        return prompt + completion

    def add_answers(
        self, rows: Sequence[tuple[Sentence, Answer]], *, structured: bool
    ) -> None:
        """Count and log answers that were stored.

        rows (Sequence[tuple[Sentence, Answer]]): Sentences with their answers.
        structured (bool): Whether JSON was asked for.
        """
        for sentence, answer in rows:
            verdict = judge(answer, text=sentence.text, structured=structured)
            self.report.answers += 1
            self.report.verdicts[verdict] += 1
            # The text of the answer is in the store.
            self.log(
                "answer",
                id=sentence.id,
                verdict=verdict,
                finish_reason=answer.finish_reason,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                latency=answer.latency and round(answer.latency, 3),
            )
        self.progress(len(rows))

    def add_failure(self, request: Sequence[Sentence], kind: str, reason: str) -> None:
        """Count and log a request that got no answer.

        request (Sequence[Sentence]): Its sentences.
        kind (str): The kind of failure.
        reason (str): The message of the server.
        """
        self.report.failures[kind] += len(request)
        self.report.reason = reason
        ids = [sentence.id for sentence in request]
        self.log("failure", ids=ids, kind=kind, reason=reason)
        self.progress(len(request))

    # Reasons to stop

    def too_expensive(self) -> NunerError:
        """RETURNS (NunerError): N208, the next request could cost too much."""
        show = self.limits.price.show if self.limits.price else str
        limit, spent = show(self.limits.cost or 0.0), show(self.report.cost)
        return NunerError(Errors.N208, limit=limit, spent=spent)

    def failed(self, *, at_least: int = 1) -> NunerError | None:
        """Check how many sentences have no answer.

        at_least (int): From how many on they are too many.
        RETURNS (NunerError | None): N207 if they are.
        """
        report = self.report
        count = report.failures.total()
        if count < at_least:
            return None
        kinds = name_counts(report.failures)
        return NunerError(Errors.N207, count=count, kinds=kinds, reason=report.reason)
