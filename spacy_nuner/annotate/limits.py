"""When a run stops by itself."""

from dataclasses import dataclass

from ..errors import NunerError
from .pricing import Price, estimate_tokens
from .prompts import Settings
from .report import Report, name_counts

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
        return NunerError("N208", limit=show(self.cost or 0.0), spent=show(spent))

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
        return NunerError("N207", count=count, kinds=kinds, reason=report.reason)
