"""`spacy nuner in-context`: the drawn sentences in the prompt of an LLM."""

import asyncio
import random
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Errors, NunerError
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
from ._util import LABEL_NAMES, LANG, PROTOCOL, SOURCE, split_list, split_numbers
from .fewshot import print_cells

if TYPE_CHECKING:
    from ..annotate.accounting import Limits
    from ..annotate.client import Connection
    from ..fewshot.draws import Draw
    from ..fewshot.results import Cell


def in_context_cli(
    train: Path = typer.Argument(..., help=f"Labelled set to draw from: {SOURCE}"),
    test: Path = typer.Argument(..., help="Labelled set to score on"),
    store: Path = typer.Argument(help="SQLite file for the answers, old or new"),
    output: Path = typer.Argument(..., help="Folder of results, one JSON a cell"),
    model: str = MODEL,
    way: str = typer.Option(
        "spacy-llm",
        help="spacy-llm (spacy.NER.v3, the drawn sentences as examples) or "
        "universalner (its conversation, a question a label, without examples)",
    ),
    k: str | None = typer.Option(
        None,
        help="Mentions (or words) of each label to draw, between commas; 0 is no "
        "example [default: 0,5,20; 0 for universalner]",
    ),
    draws: int = typer.Option(1, min=1, help="Draws of each k"),
    seed: int = typer.Option(
        0, min=0, help="Seed of the first draw; draw d has seed + d"
    ),
    protocol: str = typer.Option("mentions", help=PROTOCOL),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    labels: Path | None = LABEL_NAMES,
    only: str = typer.Option(
        "", help="Labels that are asked for and count, between commas [default: all]"
    ),
    limit: int | None = typer.Option(
        None,
        min=1,
        help="Score on so many sentences of TEST, the same for every seed "
        "[default: all]",
    ),
    name: str | None = typer.Option(
        None, help="What to call the model [default: made from --model]"
    ),
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TEST]"
    ),
    lang: str = LANG,
    base_url: str | None = BASE_URL,
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
) -> None:
    """Put labels and drawn sentences into the prompt of an LLM, and score its answers.

    The draws are those of `fewshot` with the same options, so `report` has both in one
    table. The API key is read from OPENAI_API_KEY. Stop it at any time: answers are in
    the store, and the same command goes on where it was.
    """
    from ..annotate.accounting import Limits, load_price
    from ..fewshot.in_context import UNIVERSALNER, WAYS

    if way not in WAYS:
        raise typer.BadParameter(f"expected {' or '.join(WAYS)}", param_hint="--way")
    numbers = split_numbers(k or ("0" if way == UNIVERSALNER else "0,5,20"))
    if way == UNIVERSALNER and any(numbers):
        raise typer.BadParameter("universalner has no examples", param_hint="--k")
    connection = make_connection(
        base_url,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        timeout=timeout,
        retries=retries,
    )
    longest = name_max_tokens(WAYS[way][0], connection.base_url)
    cells = in_context(
        train,
        test,
        store,
        output,
        model=model,
        way=way,
        params=read_params(extra, {longest: max_tokens}),
        connection=connection,
        limits=Limits(
            failures=max_failures,
            cost=max_cost,
            price=load_price(prices, model) if prices else None,
        ),
        k=numbers,
        draws=draws,
        seed=seed,
        protocol=protocol,
        allow_fewer=allow_fewer,
        labels=labels,
        only=split_list(only),
        limit=limit,
        name=name,
        dataset=dataset,
        lang=lang,
        dry_run=dry_run,
    )
    if not dry_run:
        print_cells(cells, output)


def in_context(
    train: Path,
    test: Path,
    store: Path,
    output: Path,
    *,
    model: str,
    way: str,
    connection: "Connection",
    limits: "Limits",
    params: Mapping[str, Any] | None = None,
    k: Sequence[int] = (0,),
    draws: int = 1,
    seed: int = 0,
    protocol: str = "mentions",
    allow_fewer: bool = False,
    labels: Path | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    name: str | None = None,
    dataset: str | None = None,
    lang: str = "en",
    dry_run: bool = False,
) -> list["Cell"]:
    """Put labels and drawn sentences into the prompt of an LLM, and score its answers.

    train (Path): Labelled set to draw from.
    test (Path): Labelled set to score on.
    store (Path): The SQLite file for the answers; it is made if it does not exist.
    output (Path): Folder of results; finished cells in it are not computed again.
    model (str): The name of the model on the server.
    way (str): How it is asked, of `in_context.WAYS`.
    connection (Connection): The server and how fast it is asked.
    limits (Limits): How many failures and how much money end it.
    params (Mapping[str, Any] | None): Parameters of requests, besides those of the way.
    k (Sequence[int]): Mentions or words of each label to draw; 0 for no example.
    draws (int): Draws of each k.
    seed (int): Seed of the first draw; draw d has seed + d.
    protocol (str): How sentences are drawn, of `draws.PROTOCOLS`.
    allow_fewer (bool): Take all mentions of a label that has fewer than k.
    labels (Path | None): JSON that says what labels mean, see `read_labels`.
    only (Sequence[str]): Labels that are asked for and count; all if empty.
    limit (int | None): Sentences of `test` to score on; None for all.
    name (str | None): What to call the model; None to make it from `model`.
    dataset (str | None): What to call the data set; None for the folder of `test`.
    lang (str): Language of the tokenizer for texts.
    dry_run (bool): Only show requests, tokens and price.
    RETURNS (list[Cell]): One for each k and draw; none with `dry_run`.
    RAISES (NunerError): N627 if questions have no answer in the end; N621 for a name
        that is none; N614 if none of the sentences to score on has an entity; what
        `Dataset.from_files`, the protocol, `make_questions`, `Endpoint`, `Store`,
        `Run.all` and `claimed` raise.
    """
    import re

    from tqdm import tqdm

    from ..annotate.accounting import Account
    from ..annotate.client import Endpoint
    from ..annotate.store import Store, Task
    from ..fewshot.compare import Dataset
    from ..fewshot.draws import draw_groups
    from ..fewshot.in_context import (
        Model,
        ask,
        make_questions,
        plan_tasks,
        score_all,
        write_texts,
    )
    from ..fewshot.probe import find_labels, need_sklearn
    from ..fewshot.zero_shot import complete_labels
    from ..outputs import check_output
    from ..pipeline.labels import read_labels

    inputs: list[str | Path] = [train, test, *([labels] if labels else [])]
    check_output(output, inputs=[*inputs, store], folder=True)
    check_output(store, inputs=inputs)
    need_sklearn()
    # All of it: "7b" is the size of many.
    shown = name or re.sub(r"[^\w.+-]+", "-", model).strip("-.+")
    if not re.fullmatch(r"\w[\w.+-]*", shown):
        raise NunerError(Errors.N621, count=1, found=shown)
    given = read_labels(labels) if labels else {}
    # What the JSON has besides would be asked for too.
    given = {
        label: known for label, known in given.items() if label in only or not only
    }
    data = Dataset.from_files(test, train, name=dataset, lang=lang, only=only)
    find_labels(data.train, data.test)
    meanings = complete_labels([*data.train, *data.test], given)
    of = len(data.test)
    if limit is not None and limit < len(data.test):
        chosen = sorted(random.Random(0).sample(range(len(data.test)), limit))
        data = replace(data, test=[data.test[i] for i in chosen])
        if not any(doc.ents for doc in data.test):
            # Before anything is paid for.
            raise NunerError(Errors.N614, count=limit)
    drawn: list[Draw | None] = [None] if 0 in k else []
    for group in draw_groups(
        *(data.train, protocol, [number for number in k if number]),
        draws=draws,
        seed=seed,
        allow_fewer=allow_fewer,
    ):
        drawn += group
    asked = Model(model, shown, params or {})
    questions = make_questions(
        *(data, meanings, drawn, asked), way=way, protocol=protocol, of=of
    )

    missing = [one for one in questions if one.cell.find_finished(output) is None]

    async def run(tasks: Sequence[Task], account: Account) -> None:
        endpoint = Endpoint(connection, account.report, needs_key=not dry_run)
        make_logs_printable()
        async with endpoint.client:
            plan = plan_tasks(tasks)
            await show_plan(plan, tasks[0], endpoint, limits, unit="questions")
            if dry_run:
                return
            with tqdm(total=plan.to_ask, unit=" answers", disable=None) as bar:
                account.progress = bar.update
                await ask(tasks, endpoint, account)

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Store(store, read_only=dry_run)) as opened,
        closing(Account(limits)) as account,
    ):
        texts = Path(folder) / "texts.jsonl"
        write_texts(data.test, texts)
        tasks = [task for one in missing for task in one.make_tasks(texts, opened)]
        score = partial(score_all, questions, data, meanings, opened, account, output)
        try:
            if tasks:
                _run(run(tasks, account))
        except NunerError:
            if not dry_run:
                # What is complete is written; the rest is missing since it was stopped.
                with suppress(NunerError):
                    score()
            raise
        return [] if dry_run else score()


def _run(asking: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(asking)
    except KeyboardInterrupt:
        raise NunerError(Errors.N217) from None
