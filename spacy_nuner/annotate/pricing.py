"""What requests cost, and a budget that is not overrun."""

import asyncio
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NunerError

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
            raise NunerError("N209", model=model, path=path, known=known)
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
        raise NunerError("N005", path=path, reason=reason, todo=todo) from error
    numbers = (price.input, price.output, price.batch)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        todo = "Prices are numbers from 0 up."
        raise NunerError("N005", path=path, reason=f"price of {model}", todo=todo)
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
