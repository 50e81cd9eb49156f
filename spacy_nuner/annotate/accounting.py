"""When a run stops by itself."""

import asyncio
import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import Errors, NunerError
from ..readers.answers import GOOD, Answer, Sentence, Verdict
from .prompts import Settings

# Where no tokenizer is served: English text has about four bytes a token.
BYTES_PER_TOKEN = 4.0
# Role and marks around a message.
MESSAGE_TOKENS = 8
# The answers in assets/annotations have 398 characters a sentence on average.
TOKENS_PER_ANSWER = 100


@dataclass(frozen=True)
class Price:
    """What a model costs.

    input (float): Price of a million tokens of requests.
    output (float): Price of a million tokens of answers.
    batch (float): What the Batch API takes of that, such as 0.5.
    currency (str): The currency, for the report.
    """

    input: float
    output: float
    batch: float = 1.0
    currency: str = "USD"

    def cost(self, prompt: float, completion: float, *, batch: bool = False) -> float:
        """Price some tokens.

        prompt (float): Tokens of requests.
        completion (float): Tokens of answers.
        batch (bool): Whether they go through the Batch API.
        RETURNS (float): The price in the table's currency.
        """
        full = (prompt * self.input + completion * self.output) / 1e6
        return full * (self.batch if batch else 1.0)

    def show(self, cost: float) -> str:
        """cost (float): A price. RETURNS (str): With its currency."""
        return f"{cost:,.4f} {self.currency}" if cost < 10 else self._round(cost)

    def _round(self, cost: float) -> str:
        return f"{cost:,.2f} {self.currency}"


def load_price(path: Path, model: str) -> Price:
    """Find a model in a table of prices.

    path (Path): JSON with `currency` and `models`, each with `input` and `output`, the
        price of a million tokens, and `batch`, the factor of the Batch API.
    model (str): The model.
    RETURNS (Price): Its price.
    RAISES (NunerError): N005 if the table can't be read, N209 without the model.
    """
    try:
        table = json.loads(path.read_text(encoding="utf8"))
        models: dict[str, Any] = table["models"]
        known = ", ".join(models) or "no model"
        if model not in models:
            raise NunerError(Errors.N209, model=model, path=path, known=known)
        row = models[model]
        price = Price(
            input=float(row["input"]),
            output=float(row["output"]),
            batch=float(row.get("batch", 1.0)),
            currency=str(table.get("currency", "USD")),
        )
    except NunerError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        todo = "Expected is a table such as configs/prices.json."
        reason = f"{type(error).__name__}: {error}"
        raise NunerError(Errors.N005, path=path, reason=reason, todo=todo) from error
    numbers = (price.input, price.output, price.batch)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        todo = "Prices are numbers from 0 up."
        raise NunerError(Errors.N005, path=path, reason=f"price of {model}", todo=todo)
    return price


def estimate_tokens(text: str) -> float:
    """text (str): A message. RETURNS (float): About how many tokens it has."""
    return len(text.encode()) / BYTES_PER_TOKEN + MESSAGE_TOKENS


class Budget:
    """Money that requests set aside before they go out.

    spent (float): What answers have cost.
    """

    def __init__(self, limit: float) -> None:
        """limit (float): The most to spend."""
        self.limit = limit
        self.spent = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._changed = asyncio.Condition()

    def try_reserve(self, cost: float) -> bool:
        """Set money aside if there is enough.

        cost (float): The most that the request can cost.
        RETURNS (bool): Whether it may go out.
        """
        if self.spent + self._reserved + cost > self.limit:
            return False
        self._reserved += cost
        self._under_way += 1
        return True

    async def reserve(self, cost: float) -> bool:
        """Set money aside; requests under way may give some back, so wait for them.

        cost (float): The most that the request can cost.
        RETURNS (bool): False if there is too little with nothing under way.
        """
        async with self._changed:
            while not self.try_reserve(cost):
                if self._under_way == 0:
                    return False
                await self._changed.wait()
            return True

    async def settle(self, reserved: float, cost: float) -> None:
        """Book a request that has ended.

        reserved (float): What was set aside for it.
        cost (float): What it cost.
        """
        async with self._changed:
            self._reserved -= reserved
            self._under_way -= 1
            self.spent += cost
            self._changed.notify_all()


@dataclass
class Report:
    """The counts of a run.

    repeated (int): Sentences whose text came before in the same file.
    elsewhere (int): Sentences that another process or a batch is asking about.
    requests (int): Requests sent, repeated ones counted.
    statuses (Counter[int]): Responses by HTTP status.
    answers (int): Answers stored.
    verdicts (Counter[str]): Answers by what they are worth.
    failures (Counter[str]): Sentences without an answer, by reason.
    reason (str): The last failure in the server's words.
    prompt_tokens (int): Tokens of the requests that were answered.
    completion_tokens (int): Tokens of the answers.
    estimated (int): Answers whose tokens the server did not count.
    cost (float): What they cost, 0 without a price.
    """

    repeated: int = 0
    elsewhere: int = 0
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

    def book(
        self, answer: Answer, request: str, price: Price | None, *, batch: bool = False
    ) -> float:
        """Count the tokens of an answered request.

        answer (Answer): The whole answer.
        request (str): The message that was sent.
        price (Price | None): What tokens cost.
        batch (bool): Whether it went through the Batch API.
        RETURNS (float): What the request cost.
        """
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if prompt is None or completion is None:
            self.estimated += 1
            prompt = round(estimate_tokens(request))
            completion = round(estimate_tokens(answer.content))
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        cost = price.cost(prompt, completion, batch=batch) if price else 0.0
        self.cost += cost
        return cost

    def count(self, verdict: Verdict) -> None:
        """verdict (Verdict): Of an answer that was stored."""
        self.answers += 1
        self.verdicts[verdict] += 1

    def bad(self) -> Counter[str]:
        """RETURNS (Counter[str]): The answers that are of no use, by reason."""
        bad = {name: count for name, count in self.verdicts.items() if name != GOOD}
        return Counter(bad)


def name_counts(counts: Counter[str]) -> str:
    """counts (Counter[str]): Counts. RETURNS (str): Such as "3 timeout, 1 empty"."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


class RunLog:
    """A log of JSON Lines, appended to; None as path logs nothing."""

    def __init__(self, path: Path | None) -> None:
        """path (Path | None): The file. RAISES (NunerError): N003 if it can't be."""
        self._file: IO[str] | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # Line by line, so that a killed run leaves whole lines.
                self._file = path.open("a", encoding="utf8", buffering=1)
            except OSError as error:
                reason = error.strerror or str(error)
                raise NunerError(Errors.N003, path=path, reason=reason) from error

    def write(self, event: str, **facts: Any) -> None:
        """event (str): What happened. **facts: What is known of it."""
        if self._file is not None:
            line = {"time": round(time.time(), 3), "event": event, **facts}
            self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    def answer(self, sentence: Sentence, answer: Answer, verdict: Verdict) -> None:
        """Note an answer; its words are in the store.

        sentence (Sentence): The sentence.
        answer (Answer): Its answer.
        verdict (Verdict): What it is worth.
        """
        self.write(
            "answer",
            id=sentence.id,
            verdict=verdict,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            latency=answer.latency and round(answer.latency, 3),
        )

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


# Set aside for an answer that has no --max-tokens.
UNBOUNDED_ANSWER = 1024


@dataclass(frozen=True)
class Limits:
    """What a run may fail and spend.

    failures (int): Sentences without an answer at which it stops.
    cost (float | None): Most money to spend, None for no limit.
    price (Price | None): What tokens cost; must be there if there is a limit.
    """

    failures: int = 100
    cost: float | None = None
    price: Price | None = None

    def most_expensive(
        self, message: str, settings: Settings, sentences: int, *, batch: bool = False
    ) -> float:
        """Price a request at the longest answer that it can get.

        message (str): The message.
        settings (Settings): How it is asked.
        sentences (int): Sentences in the request.
        batch (bool): Whether it goes through the Batch API.
        RETURNS (float): The cost, 0 without a price. Without `--max-tokens` an answer
            is taken to be no longer than 1,024 tokens a sentence.
        """
        if self.price is None:
            return 0.0
        params = settings.params
        most = params.get("max_tokens") or params.get("max_completion_tokens")
        longest = float(most or UNBOUNDED_ANSWER * sentences)
        return self.price.cost(estimate_tokens(message), longest, batch=batch)

    def too_expensive(self, spent: float) -> NunerError:
        """spent (float): Cost of the run. RETURNS (NunerError): N208, to stop with."""
        show = self.price.show if self.price else str
        return NunerError(Errors.N208, limit=show(self.cost or 0.0), spent=show(spent))

    def too_many_failures(self, report: Report) -> NunerError | None:
        """Tell whether to stop for failures.

        report (Report): The counts so far.
        RETURNS (NunerError | None): N207 if there are too many.
        """
        count = report.failures.total()
        if count < self.failures:
            return None
        return self.failed(report)

    @staticmethod
    def failed(report: Report) -> NunerError:
        """report (Report): The counts. RETURNS (NunerError): N207, to stop with."""
        kinds = name_counts(report.failures)
        count = report.failures.total()
        return NunerError(Errors.N207, count=count, kinds=kinds, reason=report.reason)
