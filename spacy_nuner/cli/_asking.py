"""What the commands that ask an LLM share: options, connection, the plan of a run."""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Errors, NunerError, Warnings
from ..masking import find_secret, mask_url
from ..parallel import ALL, Share
from ._util import msg

if TYPE_CHECKING:
    from ..annotate.accounting import Limits
    from ..annotate.client import Connection, Endpoint
    from ..annotate.collect import Plan
    from ..annotate.store import Task

MODEL = typer.Option(help="Name of the model on the server")
BASE_URL = typer.Option(
    None,
    help="Server that is OpenAI-compatible, up to /v1; if not given, that in "
    "OPENAI_BASE_URL or OpenAI's",
)
MAX_TOKENS = typer.Option(None, help="Longest answer, in tokens", min=1)
EXTRA = typer.Option(None, help="JSON object with more fields for each request")
RPM = typer.Option(None, help="Most requests a minute", min=0.001)
TPM = typer.Option(None, help="Most tokens a minute", min=1)
CONCURRENCY = typer.Option(
    32, help="Most requests at once; fewer while the server is overloaded", min=1
)
TIMEOUT = typer.Option(
    120.0,
    help="Seconds in which an answer has to be there as a whole",
    min=0.1,
    max=86400,
)
RETRIES = typer.Option(6, help="Tries after a request that failed", min=0)
PRICES = typer.Option(None, help="Table of prices, such as configs/prices.json")
MAX_COST = typer.Option(None, help="Stop before this run costs more", min=0)
MAX_FAILURES = typer.Option(
    100, help="Stop at so many sentences without an answer", min=1
)
DRY_RUN = typer.Option(
    False, "--dry-run", help="Show requests, tokens and price; ask nothing"
)


def make_connection(
    base_url: str | None,
    *,
    concurrency: int,
    rpm: float | None,
    tpm: float | None,
    timeout: float,
    retries: int,
    share: Share = ALL,
) -> "Connection":
    """Make the connection of a command.

    base_url (str | None): The server; None for that of the environment.
    concurrency, rpm, tpm, timeout, retries: As for `Connection`, of all parts together.
    share (Share): The part that is asked about here, which takes its share of limits.
    RETURNS (Connection): The connection.
    RAISES (NunerError): N221 if the address is none.
    """
    from ..annotate.client import Connection, default_url

    return Connection(
        base_url=(base_url or "").strip() or default_url(),
        concurrency=max(1, concurrency // share.count),
        rpm=rpm and rpm / share.count,
        tpm=tpm and tpm / share.count,
        timeout=timeout,
        retries=retries,
    )


def read_params(
    extra: str | None, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read the parameters of requests.

    extra (str | None): --extra.
    given (Mapping[str, Any] | None): Those with options of their own; None is left out.
    RETURNS (dict[str, Any]): All of them; those of --extra count.
    RAISES (NunerError): N213 if it is no JSON object, N051 if it holds a key.
    """
    from ..annotate.client import KEY_VARIABLE

    params = {name: value for name, value in (given or {}).items() if value is not None}
    if extra is None:
        return params
    try:
        fields = json.loads(extra)
    except (ValueError, RecursionError) as error:
        raise NunerError(Errors.N213, reason=error) from error
    if not isinstance(fields, dict):
        raise NunerError(Errors.N213, reason=f"found {extra}")
    if field := find_secret(fields):
        raise NunerError(Errors.N051, field=field, variable=KEY_VARIABLE)
    return params | fields


def name_max_tokens(api: str, base_url: str) -> str:
    """Name the parameter of the longest answer.

    api (str): Of `responses.PATHS`.
    base_url (str): The server.
    RETURNS (str): Its name there.
    """
    from ..annotate.client import is_openai

    if api == "responses":
        return "max_output_tokens"
    if api == "chat" and is_openai(base_url):
        return "max_completion_tokens"
    # OpenAI's newer models refuse it, other servers know only this one.
    return "max_tokens"


async def show_plan(
    plan: "Plan",
    task: "Task",
    endpoint: "Endpoint",
    limits: "Limits",
    *,
    unit: str = "sentences",
) -> None:
    """Print what a run will ask and about what it will cost.

    plan (Plan): What it will ask.
    task (Task): The sentences and the answers so far.
    endpoint (Endpoint): The server, whose tokenizer is asked if it has one.
    limits (Limits): The price.
    unit (str): What is asked.
    """
    from ..annotate.client import URL_VARIABLE, default_url
    from ..annotate.collect import estimate

    if plan.tally.total():
        found = plan.tally.describe()
        msg.warn(Warnings.W201.format(source=task.path, found=found))
    if os.environ.get(URL_VARIABLE) and endpoint.address == mask_url(default_url()):
        msg.info(f"The server is that in {URL_VARIABLE}: {endpoint.address}")
    total = plan.states.total()
    msg.info(
        f"{total:,} {unit}, {total - plan.to_ask:,} need no asking, "
        f"{plan.to_ask:,} to ask in {plan.requests:,} requests"
    )
    if repeated := plan.states["repeated"]:
        msg.text(f"{repeated:,} {unit} are there more than once")
    if waiting := plan.states["in a batch"]:
        msg.text(f"{waiting:,} {unit} are in a batch, which --batch collects")
    if not plan.to_ask:
        return
    tokens = await estimate(plan, task, endpoint)
    sent, received = tokens.prompt_tokens, tokens.completion_tokens
    msg.text(f"About {sent:,.0f} tokens to send ({tokens.prompt_basis})")
    msg.text(f"About {received:,.0f} tokens to get ({tokens.completion_basis})")
    if limits.price is None:
        msg.text("No price: name a table with --prices")
    else:
        cost = limits.price.show(limits.price.cost(sent, received))
        msg.text(f"About {cost} in all")
