"""`spacy nuner annotate`: sentences through an LLM."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import Errors, NunerError, Warnings
from ..masking import find_secret, mask_url
from ..parallel import ALL, Share
from ..printing import make_logs_printable
from ._util import PART, msg, read_share

if TYPE_CHECKING:
    from ..annotate.accounting import Account, Limits, Report
    from ..annotate.client import Connection, Endpoint
    from ..annotate.collect import Plan
    from ..annotate.prompts import Settings
    from ..annotate.store import Task


def annotate_cli(
    sentences: Path = typer.Argument(help="JSON Lines with text and id"),
    store: Path = typer.Argument(help="SQLite file for the answers, old or new"),
    model: str = typer.Option(help="Name of the model on the server"),
    base_url: str | None = typer.Option(
        None,
        help="Server that is OpenAI-compatible, up to /v1; if not given, that in "
        "OPENAI_BASE_URL or OpenAI's",
    ),
    api: str = typer.Option(
        "chat", help="chat or responses, for models that have only the Responses API"
    ),
    prompt: str = typer.Option(
        "paper", help="paper, blog, or a text file with {text} in it"
    ),
    structured: bool = typer.Option(
        False, "--structured", help="Ask for JSON after a schema instead of lines"
    ),
    per_request: int = typer.Option(1, help="Sentences a request", min=1),
    temperature: float | None = typer.Option(
        None, help="Temperature; the server's own default if not given", min=0
    ),
    seed: int | None = typer.Option(None, help="Seed of the server's sampling"),
    max_tokens: int | None = typer.Option(
        None, help="Longest answer, in tokens", min=1
    ),
    extra: str | None = typer.Option(
        None, help="JSON object with more fields for each request"
    ),
    rpm: float | None = typer.Option(None, help="Most requests a minute", min=0.001),
    tpm: float | None = typer.Option(None, help="Most tokens a minute", min=1),
    concurrency: int = typer.Option(
        32, help="Most requests at once; fewer while the server is overloaded", min=1
    ),
    timeout: float = typer.Option(
        120.0,
        help="Seconds in which an answer has to be there as a whole",
        min=0.1,
        max=86400,
    ),
    retries: int = typer.Option(6, help="Tries after a request that failed", min=0),
    prices: Path | None = typer.Option(
        None, help="Table of prices, such as configs/prices.json"
    ),
    max_cost: float | None = typer.Option(
        None, help="Stop before this run costs more", min=0
    ),
    max_failures: int = typer.Option(
        100, help="Stop at so many sentences without an answer", min=1
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Show requests, tokens and price; ask nothing"
    ),
    batch: bool = typer.Option(False, "--batch", help="Use the Batch API"),
    poll: float = typer.Option(
        60.0, help="Seconds between two queries for the batches' state", min=0.01
    ),
    retry: str | None = typer.Option(
        None, help="bad: ask again, and only, where the answer is of no use"
    ),
    log: Path | None = typer.Option(None, help="Log as JSON Lines, appended to"),
    part: str | None = PART,
) -> None:
    """Ask an LLM about each sentence that has no answer in the store yet.

    The API key is read from OPENAI_API_KEY. Stop it at any time: the same command goes
    on where it was.

    With --part, the limits (--rpm, --tpm, --concurrency, --max-cost) are those of all
    parts together: each takes its share.
    """
    from ..annotate.accounting import Limits, load_price
    from ..annotate.client import KEY_VARIABLE, Connection, default_url, is_openai
    from ..annotate.prompts import Settings, load_prompt
    from ..annotate.responses import PATHS

    if retry not in (None, "bad"):
        raise typer.BadParameter("expected 'bad'", param_hint="--retry")
    if api not in PATHS:
        raise typer.BadParameter("expected chat or responses", param_hint="--api")
    share = read_share(part)
    connection = Connection(
        base_url=(base_url or "").strip() or default_url(),
        concurrency=max(1, concurrency // share.count),
        rpm=rpm and rpm / share.count,
        tpm=tpm and tpm / share.count,
        timeout=timeout,
        retries=retries,
    )
    if api == "responses":
        longest = "max_output_tokens"
    elif is_openai(connection.base_url):
        longest = "max_completion_tokens"
    else:
        # OpenAI's newer models refuse it, other servers know only this one.
        longest = "max_tokens"
    params = {"temperature": temperature, "seed": seed, longest: max_tokens}
    given = {name: value for name, value in params.items() if value is not None}
    if extra is not None:
        try:
            fields = json.loads(extra)
        except (ValueError, RecursionError) as error:
            raise NunerError(Errors.N213, reason=error) from error
        if not isinstance(fields, dict):
            raise NunerError(Errors.N213, reason=f"found {extra}")
        if field := find_secret(fields):
            raise NunerError(Errors.N051, field=field, variable=KEY_VARIABLE)
        given |= fields
    annotate(
        sentences,
        store,
        Settings(
            load_prompt(prompt, structured=structured, sentences=per_request),
            model,
            given,
            api,
        ),
        connection,
        Limits(
            failures=max_failures,
            cost=None if max_cost is None else max_cost / share.count,
            price=load_price(prices, model, batch=batch) if prices else None,
        ),
        batch=batch,
        poll=poll,
        retry_bad=retry == "bad",
        log=log,
        dry_run=dry_run,
        part=share,
    )


def annotate(
    sentences: Path,
    store: Path,
    settings: "Settings",
    connection: "Connection",
    limits: "Limits",
    *,
    batch: bool = False,
    poll: float = 60.0,
    retry_bad: bool = False,
    log: Path | None = None,
    dry_run: bool = False,
    part: Share = ALL,
) -> "Report":
    """Ask an LLM about each sentence that has no answer in the store yet.

    sentences (Path): JSON Lines with text and id.
    store (Path): The SQLite file for the answers; it is made if it does not exist.
    settings (Settings): Prompt, model and parameters.
    connection (Connection): The server and how fast it is asked.
    limits (Limits): How many failures and how much money end it.
    batch (bool): Use the Batch API.
    poll (float): Seconds between two queries for the batches' state.
    retry_bad (bool): Ask again, and only, where the answer is of no use.
    log (Path | None): A log as JSON Lines, appended to.
    dry_run (bool): Only show requests, tokens and price.
    part (Share): Which of the sentences to ask about.
    RETURNS (Report): The counts of the run.
    RAISES (NunerError): N005, N109 or N201 without sentences, N206, N207, N208, N214 or
        N217 if it stopped before the end, N223 if the log can't be written to its end;
        what `Endpoint`, `Account`, `Store` and `check_output` raise.
    """
    import asyncio
    from contextlib import closing

    from ..annotate.accounting import Account
    from ..annotate.client import Endpoint
    from ..annotate.collect import make_plan
    from ..annotate.store import Store, Task
    from ..outputs import check_output

    check_output(store, inputs=[sentences])
    if log is not None:
        check_output(log, inputs=[sentences, store])

    async def run(task: Task, account: Account) -> None:
        endpoint = Endpoint(connection, account.report, needs_key=not dry_run)
        # The client sets its logging up when it is imported, if OPENAI_LOG asks for it.
        make_logs_printable()
        async with endpoint.client:
            plan = make_plan(task)
            await _show_plan(plan, task, endpoint, limits)
            if not dry_run:
                seconds = poll if batch else None
                await _ask(plan, task, endpoint, account, poll=seconds)

    with (
        closing(Store(store, read_only=dry_run)) as opened,
        closing(Account(limits, log=None if dry_run else log)) as account,
    ):
        task = Task(sentences, opened, settings, retry_bad=retry_bad, part=part)
        try:
            asyncio.run(run(task, account))
        except KeyboardInterrupt:
            raise NunerError(Errors.N217) from None
    return account.report


async def _show_plan(
    plan: "Plan", task: "Task", endpoint: "Endpoint", limits: "Limits"
) -> None:
    from ..annotate.client import URL_VARIABLE, default_url
    from ..annotate.collect import estimate

    if plan.tally.total():
        found = plan.tally.describe()
        msg.warn(Warnings.W201.format(source=task.path, found=found))
    if os.environ.get(URL_VARIABLE) and endpoint.address == mask_url(default_url()):
        msg.info(f"The server is that in {URL_VARIABLE}: {endpoint.address}")
    total = plan.states.total()
    msg.info(
        f"{total:,} sentences, {total - plan.to_ask:,} need no asking, "
        f"{plan.to_ask:,} to ask in {plan.requests:,} requests"
    )
    if repeated := plan.states["repeated"]:
        msg.text(f"{repeated:,} sentences are in the file more than once")
    if waiting := plan.states["in a batch"]:
        msg.text(f"{waiting:,} sentences are in a batch, which --batch collects")
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


async def _ask(
    plan: "Plan",
    task: "Task",
    endpoint: "Endpoint",
    account: "Account",
    *,
    poll: float | None,
) -> None:
    from tqdm import tqdm

    from ..annotate.batch import BatchRun
    from ..annotate.collect import Run

    limits, report, settings = account.limits, account.report, task.settings
    expected = plan.to_ask + (0 if poll is None else plan.states["in a batch"])
    bar = tqdm(total=expected, unit=" sentences", disable=None, smoothing=0.05)

    def progress(count: int) -> None:
        counts = {"failed": str(report.failures.total())}
        if limits.price is not None:
            counts["cost"] = limits.price.show(report.cost)
        bar.set_postfix(counts, refresh=False)
        bar.update(count)

    account.progress = progress
    account.log(
        "start",
        base_url=endpoint.address,
        api=settings.api,
        model=settings.model,
        prompt=settings.prompt.name,
        prompt_hash=settings.prompt.hash,
        params=settings.params,
        sentences=plan.states.total(),
        to_ask=plan.to_ask,
    )
    try:
        if poll is None:
            await Run(task, endpoint, account).all()
        else:
            status = bar.set_description_str
            await BatchRun(task, endpoint, account, poll=poll, status=status).all()
    finally:
        bar.close()
        account.log("end", **vars(report))
        _show_report(report, limits)
    if not report.answers and (error := account.failed()):
        raise error


def _show_report(report: "Report", limits: "Limits") -> None:
    from ..annotate.accounting import name_counts
    from ..readers.answers import GOOD

    cost = f", {limits.price.show(report.cost)}" if limits.price else ""
    msg.info(
        f"{report.answers:,} answers, {report.requests:,} requests sent, "
        f"{report.prompt_tokens:,} tokens sent and {report.completion_tokens:,} "
        f"received{cost}"
    )
    if report.estimated:
        msg.text(f"{report.estimated:,} answers without a count of tokens: estimated")
    statuses = {code: n for code, n in report.statuses.items() if code != 200}
    if statuses:
        counts = ", ".join(f"{count} of {code}" for code, count in statuses.items())
        msg.text(f"Responses other than 200: {counts}")
    bad = report.verdicts.copy()
    del bad[GOOD]
    if bad:
        msg.warn(Warnings.W204.format(count=bad.total(), kinds=name_counts(bad)))
    if failures := report.failures:
        kinds = name_counts(failures)
        msg.warn(Warnings.W203.format(count=failures.total(), kinds=kinds))
