"""What a run would ask and cost, before a cent is spent."""

from dataclasses import dataclass

from .client import Endpoint, is_openai
from .pricing import (
    BYTES_PER_TOKEN,
    MESSAGE_TOKENS,
    TOKENS_PER_ANSWER,
    Price,
)
from .prompts import Settings
from .sentences import Plan
from .store import Store

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
