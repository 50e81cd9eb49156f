"""`spacy nuner annotate`: sentences through an LLM."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Errors, NunerError, Warnings

if TYPE_CHECKING:
    from ..annotate.accounting import Limits, Report, RunLog
    from ..annotate.client import Endpoint, Pace
    from ..annotate.collect import Estimate
    from ..annotate.prompts import Settings
    from ..annotate.store import Plan, Store, Wanted


def annotate(
    sentences: Path = typer.Argument(help="JSON Lines with text and id"),
    store: Path = typer.Argument(help="SQLite file for the answers, old or new"),
    model: str = typer.Option(help="Name of the model on the server"),
    base_url: str | None = typer.Option(
        None, help="Server that is OpenAI-compatible, up to /v1; OpenAI's if not given"
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
    timeout: float = typer.Option(120.0, help="Seconds to wait for an answer", min=0.1),
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
        False, "--dry-run", help="Tell requests, tokens and price; ask nothing"
    ),
    batch: bool = typer.Option(False, "--batch", help="Use the Batch API"),
    poll: float = typer.Option(
        60.0, help="Seconds between two looks at the batches", min=0.01
    ),
    retry: str | None = typer.Option(
        None, help="bad: ask again, and only, where the answer is of no use"
    ),
    log: Path | None = typer.Option(None, help="Log as JSON Lines, appended to"),
) -> None:
    """Ask an LLM about each sentence that has no answer in the store yet.

    The API key is read from OPENAI_API_KEY. Stop it at any time: the same command goes
    on where it was.
    """
    import asyncio
    import tempfile

    from ..annotate.accounting import Limits, Report, RunLog, load_price
    from ..annotate.client import OPENAI_URL, Endpoint, Pace
    from ..annotate.prompts import Settings, load_prompt
    from ..annotate.store import Store, is_bad, make_plan

    if retry not in (None, "bad"):
        raise typer.BadParameter("expected 'bad'", param_hint="--retry")
    if max_cost is not None and prices is None:
        raise NunerError(Errors.N215)
    base_url = base_url or OPENAI_URL
    settings = Settings(
        load_prompt(prompt, structured=structured, sentences=per_request),
        model,
        _params(base_url, temperature, seed, max_tokens, extra),
    )
    price = load_price(prices, model) if prices else None
    limits = Limits(failures=max_failures, cost=max_cost, price=price)
    report = Report()
    pace = Pace(concurrency, rpm=rpm, tpm=tpm)

    async def run(opened: Store) -> None:
        endpoint = Endpoint(
            base_url,
            pace=pace,
            report=report,
            retries=retries,
            timeout=timeout,
            needs_key=not dry_run,
        )
        try:
            wanted = is_bad(settings) if retry else None
            plan = make_plan(sentences, opened, settings, wanted)
            await _show_plan(plan, opened, settings, endpoint, limits, batch=batch)
            if dry_run:
                return
            with RunLog(log) as running_log:
                await _ask(
                    sentences,
                    plan,
                    *(opened, settings, endpoint, pace, report, limits, running_log),
                    wanted=wanted,
                    poll=poll if batch else None,
                )
        finally:
            await endpoint.close()

    with tempfile.TemporaryDirectory() as folder:
        # A dry run leaves no file behind.
        missing = dry_run and not store.exists()
        opened = Store(Path(folder) / "store.sqlite" if missing else store)
        try:
            asyncio.run(run(opened))
        except KeyboardInterrupt:
            raise NunerError(Errors.N217) from None
        finally:
            opened.close()


def _params(
    base_url: str,
    temperature: float | None,
    seed: int | None,
    max_tokens: int | None,
    extra: str | None,
) -> dict[str, Any]:
    import json

    from ..annotate.client import is_openai

    # OpenAI's newer models refuse the older name, other servers know only that one.
    longest = "max_completion_tokens" if is_openai(base_url) else "max_tokens"
    named = {"temperature": temperature, "seed": seed, longest: max_tokens}
    params: dict[str, Any] = {
        name: value for name, value in named.items() if value is not None
    }
    if extra is not None:
        try:
            params |= json.loads(extra)
        except (ValueError, TypeError) as error:
            raise NunerError(Errors.N213, reason=error) from error
    return params


async def _show_plan(
    plan: "Plan",
    store: "Store",
    settings: "Settings",
    endpoint: "Endpoint",
    limits: "Limits",
    *,
    batch: bool,
) -> None:
    from wasabi import msg

    from ..annotate.collect import estimate

    if plan.skips.total():
        found = plan.skips.describe()
        msg.warn(Warnings.W201.format(source="the sentences", found=found))
    msg.info(
        f"{plan.sentences:,} sentences, {plan.sentences - plan.to_ask:,} need no "
        f"asking, {plan.to_ask:,} to ask in {plan.requests:,} requests"
    )
    if not plan.to_ask:
        return
    told = await estimate(plan, store, settings, endpoint, limits.price, batch=batch)
    msg.text(f"About {told.prompt_tokens:,.0f} tokens to send ({told.prompt_basis})")
    msg.text(
        f"About {told.completion_tokens:,.0f} tokens to get ({told.completion_basis})"
    )
    msg.text(_show_cost(told, limits))


def _show_cost(told: "Estimate", limits: "Limits") -> str:
    if told.cost is None or limits.price is None:
        return "No price: name a table with --prices"
    return f"About {limits.price.show(told.cost)} in all"


async def _ask(
    path: Path,
    plan: "Plan",
    store: "Store",
    settings: "Settings",
    endpoint: "Endpoint",
    pace: "Pace",
    report: "Report",
    limits: "Limits",
    log: "RunLog",
    *,
    wanted: "Wanted | None",
    poll: float | None,
) -> None:
    from tqdm import tqdm

    from ..annotate.batch import BatchRun
    from ..annotate.collect import Run

    bar = tqdm(total=plan.to_ask, unit=" sentences", disable=None, smoothing=0.05)

    def progress(count: int) -> None:
        told = {"failed": str(report.failures.total())}
        if limits.price is not None:
            told["cost"] = limits.price.show(report.cost)
        bar.set_postfix(told, refresh=False)
        bar.update(count)

    log.write(
        "start",
        base_url=endpoint.redact(endpoint.base_url),
        model=settings.model,
        prompt=settings.prompt.name,
        prompt_hash=settings.prompt.hash,
        params=settings.params,
        sentences=plan.sentences,
        to_ask=plan.to_ask,
    )
    shared: dict[str, Any] = {
        "report": report,
        "limits": limits,
        "log": log,
        "wanted": wanted,
        "progress": progress,
    }
    try:
        if poll is None:
            await Run(store, settings, endpoint, pace, **shared).all(path)
        else:
            status = bar.set_description_str
            batches = BatchRun(
                store, settings, endpoint, poll=poll, status=status, **shared
            )
            await batches.all(path)
    finally:
        bar.close()
        log.write("end", **vars(report))
        _show_report(report, limits)
    if report.failures and not report.answers:
        raise limits.failed(report)


def _show_report(report: "Report", limits: "Limits") -> None:
    from wasabi import msg

    from ..annotate.accounting import name_counts

    cost = f", {limits.price.show(report.cost)}" if limits.price else ""
    msg.info(
        f"{report.answers:,} answers, {report.requests:,} requests sent, "
        f"{report.prompt_tokens:,} tokens sent and {report.completion_tokens:,} "
        f"received{cost}"
    )
    if report.estimated:
        msg.text(
            f"{report.estimated:,} answers came without a count of tokens: guessed"
        )
    unlucky = {code: n for code, n in report.statuses.items() if code != 200}
    if unlucky:
        told = ", ".join(f"{count} of {code}" for code, count in unlucky.items())
        msg.text(f"Responses other than 200: {told}")
    if report.repeated:
        msg.text(f"{report.repeated:,} sentences stand in the file more than once")
    if report.elsewhere:
        msg.warn(Warnings.W205.format(count=report.elsewhere))
    bad = report.bad()
    if bad:
        msg.warn(Warnings.W204.format(count=bad.total(), kinds=name_counts(bad)))
    failures = report.failures
    if failures:
        kinds = name_counts(failures)
        msg.warn(Warnings.W203.format(count=failures.total(), kinds=kinds))
