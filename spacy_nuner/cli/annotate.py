"""`spacy nuner annotate`: sentences through an LLM."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import Errors, NunerError, Warnings
from ..parallel import ALL, Share
from ..printing import make_logs_printable
from ._asking import (
    BASE_URL,
    CONCURRENCY,
    DRY_RUN,
    EXTRA,
    MAX_COST,
    MAX_FAILURES,
    MAX_TOKENS,
    MODEL,
    PRICES,
    RETRIES,
    RPM,
    TIMEOUT,
    TPM,
    make_connection,
    name_max_tokens,
    read_params,
    show_plan,
)
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
    model: str = MODEL,
    base_url: str | None = BASE_URL,
    api: str = typer.Option(
        "chat",
        help="chat; responses, for models that have only the Responses API; "
        "completions, for models without chat",
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
    max_tokens: int | None = MAX_TOKENS,
    extra: str | None = EXTRA,
    rpm: float | None = RPM,
    tpm: float | None = TPM,
    concurrency: int = CONCURRENCY,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
    prices: Path | None = PRICES,
    max_cost: float | None = MAX_COST,
    max_failures: int = MAX_FAILURES,
    dry_run: bool = DRY_RUN,
    batch: bool = typer.Option(False, "--batch", help="Use the Batch API"),
    poll: float = typer.Option(
        60.0, help="Seconds between two queries for the batches' state", min=0.01
    ),
    resend_lost: bool = typer.Option(
        False,
        "--resend-lost",
        help="Ask again about what is in batches that the server does not have now",
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
    from ..annotate.prompts import Settings, load_prompt
    from ..annotate.responses import PATHS

    if retry not in (None, "bad"):
        raise typer.BadParameter("expected 'bad'", param_hint="--retry")
    if api not in PATHS:
        known = ", ".join(PATHS)
        raise typer.BadParameter(f"expected one of {known}", param_hint="--api")
    share = read_share(part)
    connection = make_connection(
        base_url,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        timeout=timeout,
        retries=retries,
        share=share,
    )
    longest = name_max_tokens(api, connection.base_url)
    params = {"temperature": temperature, "seed": seed, longest: max_tokens}
    annotate(
        sentences,
        store,
        Settings(
            load_prompt(prompt, structured=structured, sentences=per_request),
            model,
            read_params(extra, params),
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
        resend_lost=resend_lost,
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
    resend_lost: bool = False,
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
    resend_lost (bool): Ask again about what is in batches that the server does not
        have any more.
    retry_bad (bool): Ask again, and only, where the answer is of no use.
    log (Path | None): A log as JSON Lines, appended to.
    dry_run (bool): Only show requests, tokens and price.
    part (Share): Which of the sentences to ask about.
    RETURNS (Report): The counts of the run.
    RAISES (NunerError): N005, N109 or N201 without sentences, N206, N207, N208, N214,
        N217 or N225 if it stopped before the end, N223 if the log can't be written to
        its end; what `Endpoint`, `Account`, `Store` and `check_output` raise.
    """
    import asyncio
    from contextlib import closing

    from ..annotate.accounting import Account
    from ..annotate.client import Endpoint
    from ..annotate.collect import make_plan
    from ..annotate.store import Store, Task
    from ..outputs import check_output
    from ..readers.sources import check_rereadable

    # They are counted before they are asked about.
    check_rereadable(sentences)
    check_output(store, inputs=[sentences])
    if log is not None:
        check_output(log, inputs=[sentences, store])

    async def run(task: Task, account: Account) -> None:
        endpoint = Endpoint(connection, account.report, needs_key=not dry_run)
        # The client sets its logging up when it is imported, if OPENAI_LOG asks for it.
        make_logs_printable()
        async with endpoint.client:
            plan = make_plan(task)
            await show_plan(plan, task, endpoint, limits)
            if not dry_run:
                seconds = poll if batch else None
                await _ask(
                    *(plan, task, endpoint, account),
                    poll=seconds,
                    resend_lost=resend_lost,
                )

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


async def _ask(
    plan: "Plan",
    task: "Task",
    endpoint: "Endpoint",
    account: "Account",
    *,
    poll: float | None,
    resend_lost: bool,
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
            run = BatchRun(
                *(task, endpoint, account),
                poll=poll,
                resend_lost=resend_lost,
                status=bar.set_description_str,
            )
            await run.all()
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
