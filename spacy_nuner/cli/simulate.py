"""`spacy nuner simulate`: what suggestions would have saved on a labelled set."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..labelling.strategies import Strategy
from ._util import LANG, SOURCE, msg, split_list

if TYPE_CHECKING:
    from ..labelling.simulate import Run

FIGURE = "savings"


def simulate_cli(
    train: Path = typer.Argument(help=f"Labelled set to choose from: {SOURCE}"),
    test: Path = typer.Argument(help="Labelled set to score on, of the same forms"),
    output: Path = typer.Argument(help="Folder of results, one JSON a run"),
    backbone: str = typer.Option(
        "default", help="A backbone that knows the labels by their names"
    ),
    labels: Path | None = typer.Option(
        None,
        help="JSON of labels: a list, label -> description, or label -> object with "
        "name and description [default: the labels of TRAIN, read as words]",
    ),
    rounds: int = typer.Option(2, min=1, help="Rounds of labelling"),
    n: int = typer.Option(20, "-n", "--n", min=1, help="Sentences in each round"),
    by: str = typer.Option(
        "cover,random", help="Strategies between commas, as for suggest"
    ),
    seeds: int = typer.Option(1, min=1, help="Runs of each strategy"),
    steps: int | None = typer.Option(
        None, min=1, help="Steps of a training [default: as configs/ner.cfg says]"
    ),
    pool: int = typer.Option(
        2000, min=0, help="Sentences of TRAIN to choose from, 0 for all"
    ),
    test_limit: int = typer.Option(
        0, min=0, help="Sentences of TEST to score on, 0 for all"
    ),
    dataset: str | None = typer.Option(
        None, help="What to call the data set [default: the folder of TRAIN]"
    ),
    lang: str = LANG,
    gpu_id: int = typer.Option(-1, help="GPU to train on; -1 is the CPU"),
) -> None:
    """Label a set in rounds, with its own labels as the person.

    F1 of nuner_ner, trained anew after each round, against labelled sentences: as a
    table, and as a figure in OUTPUT. Rounds that are done with the same settings are
    not done again.
    """
    from spacy.cli._util import setup_gpu

    setup_gpu(gpu_id, silent=True)
    runs = simulate(
        train,
        test,
        output,
        backbone=backbone,
        labels=labels,
        rounds=rounds,
        n=n,
        by=split_list(by),
        seeds=list(range(seeds)),
        steps=steps,
        pool=pool,
        test_limit=test_limit,
        dataset=dataset,
        lang=lang,
    )
    show_runs(runs)
    msg.good(f"{len(runs)} runs and their figure: {output}")


def simulate(
    train: str | Path,
    test: str | Path,
    output: str | Path,
    *,
    backbone: str = "default",
    labels: Path | None = None,
    rounds: int = 2,
    n: int = 20,
    by: Sequence[str] = ("cover", "random"),
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    pool: int = 2000,
    test_limit: int = 0,
    dataset: str | None = None,
    lang: str = "en",
    figure: bool = True,
) -> "list[Run]":
    """Label a set in rounds, with its own labels as the person.

    train (str | Path): The labelled set to choose from, as `read_docs` reads it.
    test (str | Path): The labelled set to score on.
    output (str | Path): The folder of results.
    backbone (str): A backbone that has a concept encoder.
    labels (Path | None): JSON of labels, see `read_labels`; None for those of `train`.
    rounds (int): Rounds of labelling.
    n (int): Sentences in each.
    by (Sequence[str]): The strategies.
    seeds (Sequence[int]): A run of each strategy for each.
    steps (int | None): Steps of each training; None for those of configs/ner.cfg.
    pool (int): Sentences to choose from, others for each seed; 0 for all.
    test_limit (int): Sentences to score on, 0 for all.
    dataset (str | None): What to call the data set; None for the folder of `train`.
    lang (str): The language of the tokenizer for texts.
    figure (bool): Whether to draw all runs of the folder that have these settings.
    RETURNS (list[Run]): The runs.
    RAISES (NunerError): N717 for a strategy that is none; what `read_docs`,
        `read_labels`, `get_settings` and `simulate_run` raise.
    """
    from tqdm import tqdm

    from ..corpus.labelled_docs import read_docs
    from ..errors import Errors, NunerError
    from ..fewshot.compare import is_folder_name
    from ..fewshot.zero_shot import complete_labels
    from ..labelling.savings import draw_savings, match_runs
    from ..labelling.simulate import (
        Run,
        get_settings,
        read_runs,
        simulate_run,
        take,
    )
    from ..outputs import check_output, write_files
    from ..pipeline.labels import read_labels
    from ..plotting import get_paths
    from ..printing import printable

    inputs: list[Any] = [train, test, backbone, *([labels] if labels else [])]
    output = check_output(output, inputs=inputs, folder=True)
    known = list(Strategy)
    for name in by or [""]:
        if name not in known:
            raise NunerError(Errors.N717, name=name, known=", ".join(known))
    docs, gold = (read_docs(path, lang=lang) for path in (train, test))
    meanings = complete_labels(docs, read_labels(labels) if labels else {})
    settings = get_settings(
        train,
        test,
        backbone=backbone,
        labels=meanings,
        n=n,
        steps=steps,
        pool=pool,
        test_limit=test_limit,
        lang=lang,
    )
    gold = take(gold, test_limit)
    name = printable(dataset or Path(train).resolve().parent.name.lstrip(".") or "data")
    if not is_folder_name(name):
        raise NunerError(Errors.N646, name=name)
    plans = [Run(name, Strategy(one), seed, settings) for seed in seeds for one in by]
    runs = []
    with tqdm(total=len(plans) * (rounds + 1), unit=" rounds", disable=None) as bar:
        for plan in plans:
            bar.set_description(f"{plan.by}, seed {plan.seed}")
            runs.append(
                simulate_run(
                    plan,
                    output,
                    # Without it seeds of one strategy would choose nearly the same.
                    pool=take(docs, pool, seed=plan.seed),
                    test=gold,
                    labels=meanings,
                    backbone=backbone,
                    rounds=rounds,
                    n=n,
                    steps=steps,
                    lang=lang,
                    on_round=bar.update,
                )
            )
            # One that was done before may have more.
            runs[-1] = replace(runs[-1], rounds=runs[-1].rounds[: rounds + 1])
    if figure:
        # Others would be averaged with these.
        like = match_runs(
            [run for run in read_runs(output) if run.settings == settings]
        )
        paths = get_paths(output / FIGURE)
        with write_files(paths, command="simulate") as folder:
            draw_savings(like, folder / FIGURE)
    return runs


def show_runs(runs: "Sequence[Run]") -> None:
    """Print F1 after each round, and what is saved.

    runs (Sequence[Run]): The runs.
    """
    from ..labelling.savings import (
        MEAN,
        ROUNDS,
        curve_table,
        get_datasets,
        get_strategies,
        get_suggested,
        match_runs,
        savings_table,
    )

    runs = match_runs(runs)
    names = get_datasets(runs)
    for name in [*names, MEAN] if len(names) > 1 else names:
        header, rows = curve_table(runs, name)
        msg.divider(f"{name}: entity F1 after each round")
        msg.table(rows, header=header, divider=True)
    strategies = get_strategies(runs)
    for by in strategies:
        if by != "random" and "random" in strategies:
            header, rows = savings_table(runs, by)
            msg.divider(f"{by} against random")
            msg.table(rows, header=header, divider=True)
        shares = {number: get_suggested(runs, by, number) for number in ROUNDS}
        shown = ", ".join(
            f"{share:.0%} in round {number}"
            for number, share in shares.items()
            if share is not None
        )
        if shown:
            msg.text(f"{by}: of the spans, right in the suggestion are {shown}")
