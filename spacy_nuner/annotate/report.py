"""What a run did: counts for the report, lines for the log."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import NunerError
from .answers import GOOD, Answer, Sentence, Verdict
from .pricing import Price, estimate_tokens


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
                raise NunerError("N003", path=path, reason=reason) from error

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
