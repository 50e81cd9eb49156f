"""What suggestions save, what `review` finds, and what a pass over many texts costs.

    python benchmarks/suggest.py simulate $DATA metrics/suggest --backbone training/iii
    python benchmarks/suggest.py report metrics/suggest
    python benchmarks/suggest.py keep metrics/suggest benchmarks/runs/suggest
    python benchmarks/suggest.py review $DATA --backbone training/iii
    python benchmarks/suggest.py speed training/ner $DATA/raw-text

`simulate` labels each set in rounds, with its own labels as the person, one thread a
process. A run goes on where it was stopped, round by round. First it does one round and
prints how long all others take. Sets are folders of $DATA, or of assets where it has
none of that name; what their labels mean is in assets/labels. `keep` copies the
figures of runs without their sentences, which are other people's: `report` makes the
tables of docs/results.md from those in benchmarks/runs/suggest.
"""

import contextlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
SETS = "mit-restaurant,mit-movie,crossner-science,wnut17,bc5cdr,listings"
app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Plan:
    """One run: a set, a strategy and a seed."""

    data: str
    output: str
    dataset: str
    by: str
    seed: int
    backbone: str
    rounds: int
    n: int
    pool: int
    test_limit: int
    steps: int | None
    settings: dict[str, Any]

    def count_done(self) -> int:
        """How many rounds stand that have these settings."""
        from spacy_nuner.labelling.simulate import Run
        from spacy_nuner.labelling.strategies import Strategy

        run = Run(self.dataset, Strategy(self.by), self.seed, self.settings)
        return len(run.resume(Path(self.output)).rounds)


def find_part(data: str, dataset: str, part: str) -> Path:
    """The file of a part of a set."""
    for root in (Path(data), ROOT / "assets"):
        found = sorted((root / dataset).glob(f"{part}.*"))
        if found:
            return found[0]
    raise typer.BadParameter(f"no {part} file of {dataset} in {data} or assets")


def find_labels(dataset: str) -> Path | None:
    """What the labels of a set mean, where that is written down."""
    path = ROOT / "assets" / "labels" / f"{dataset}.json"
    return path if path.is_file() else None


def simulate_plan(plan: Plan, rounds: int | None = None) -> float:
    """Do the rounds of a plan; give the seconds."""
    import torch

    from spacy_nuner.cli.simulate import simulate as simulate_set

    torch.set_num_threads(1)
    start = time.perf_counter()
    simulate_set(
        find_part(plan.data, plan.dataset, "train"),
        find_part(plan.data, plan.dataset, "test"),
        Path(plan.output),
        backbone=plan.backbone,
        labels=find_labels(plan.dataset),
        rounds=plan.rounds if rounds is None else rounds,
        n=plan.n,
        by=[plan.by],
        seeds=[plan.seed],
        steps=plan.steps,
        pool=plan.pool,
        test_limit=plan.test_limit,
        dataset=plan.dataset,
        figure=False,
    )
    return time.perf_counter() - start


def run_silently(plan: Plan) -> float:
    """Do a plan in a process whose bars nobody looks at."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        return simulate_plan(plan)


@app.command()
def simulate(
    data: str = typer.Argument(help="Folder of the data sets"),
    output: str = typer.Argument(help="Folder of the runs"),
    backbone: str = typer.Option(..., help="A backbone with a concept encoder"),
    sets: str = typer.Option(SETS, help="Data sets, between commas"),
    by: str = typer.Option("cover,random", help="Strategies, between commas"),
    seeds: int = typer.Option(5, help="Runs of each set and strategy"),
    first: int = typer.Option(0, help="The seed of the first run"),
    rounds: int = typer.Option(10, help="Rounds of labelling"),
    n: int = typer.Option(10, help="Sentences in each round"),
    pool: int = typer.Option(2000, help="Sentences to choose from, 0 for all"),
    test_limit: int = typer.Option(500, help="Sentences to score on, 0 for all"),
    steps: int | None = typer.Option(None, help="Steps of a training"),
    processes: int = typer.Option(2, help="Runs at once, one thread each"),
    estimate: bool = typer.Option(False, help="Do one round and stop"),
) -> None:
    """Label sets in rounds, and print what is saved."""
    from spacy_nuner.corpus.labelled_docs import read_docs
    from spacy_nuner.fewshot.zero_shot import complete_labels
    from spacy_nuner.labelling.simulate import get_settings
    from spacy_nuner.parallel import end_with_parent
    from spacy_nuner.pipeline.labels import read_labels

    settings = {}
    for dataset in sets.split(","):
        train = find_part(data, dataset, "train")
        labels = find_labels(dataset)
        known = read_labels(labels) if labels else {}
        settings[dataset] = get_settings(
            train,
            find_part(data, dataset, "test"),
            backbone=backbone,
            labels=complete_labels(read_docs(train), known),
            n=n,
            steps=steps,
            pool=pool,
            test_limit=test_limit,
            lang="en",
        )
    plans = [
        Plan(
            data=data,
            output=output,
            dataset=dataset,
            by=strategy,
            seed=seed,
            backbone=backbone,
            rounds=rounds,
            n=n,
            pool=pool,
            test_limit=test_limit,
            steps=steps,
            settings=settings[dataset],
        )
        # Seeds last, so that all sets are there early.
        for seed in range(first, first + seeds)
        for dataset in sets.split(",")
        for strategy in by.split(",")
    ]
    missing = [plan for plan in plans if plan.count_done() <= rounds]
    left = sum(rounds + 1 - plan.count_done() for plan in missing)
    if missing:
        plan = missing[0]
        done = plan.count_done()
        # The round of the names alone trains nothing: one that does tells more.
        seconds = simulate_plan(plan, max(done, 1)) / (max(done, 1) + 1 - done)
        hours = seconds * left / processes / 3600
        typer.echo(
            f"A round of {plan.dataset} took {seconds:.0f} s: {left} rounds on "
            f"{processes} processes take some {hours:.1f} hours",
            err=True,
        )
    if estimate:
        return
    # Torch that ran before a fork hangs after it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, end_with_parent) as executor:
        for _ in tqdm(executor.map(run_silently, missing), total=len(missing)):
            pass
    report(Path(output), figure=None)


def get_shared_settings(run: Any) -> dict[str, Any]:
    """What runs of a set must share: all but the training of the backbone, which gives
    other weights on another processor."""
    return {key: value for key, value in run.settings.items() if key != "backbone"}


@app.command()
def keep(
    output: Path = typer.Argument(help="Folder of the runs"),
    folder: Path = typer.Argument(help="Folder of the figures"),
) -> None:
    """Copy runs without their sentences and the place of the backbone."""
    from spacy_nuner.labelling.simulate import read_runs

    for run in read_runs(output):
        backbone = {**run.settings["backbone"], "name": "backbone"}
        kept = replace(
            run,
            settings={**run.settings, "backbone": backbone},
            rounds=[replace(one, texts=[]) for one in run.rounds],
        )
        kept.to_disk(folder)


@app.command()
def report(
    output: Path = typer.Argument(help="Folder of the runs"),
    figure: Path | None = typer.Option(
        None, help="Where to draw the curves, without suffix [default: in the folder]"
    ),
) -> None:
    """Print the tables of all runs, and draw them."""
    from spacy_nuner.labelling import savings
    from spacy_nuner.labelling.simulate import read_runs
    from spacy_nuner.printing import markdown_table

    runs = savings.match_runs(read_runs(output))
    for name in savings.get_datasets(runs):
        first, *others = [
            get_shared_settings(run) for run in runs if run.dataset == name
        ]
        if any(settings != first for settings in others):
            message = f"runs of {name} in {output} have different settings"
            raise typer.BadParameter(message)
    for name in [*savings.get_datasets(runs), savings.MEAN]:
        header, rows = savings.curve_table(runs, name)
        typer.echo(f"\n{name}\n\n{markdown_table(header, rows)}")
    for by in savings.get_strategies(runs):
        if by != "random":
            header, rows = savings.savings_table(runs, by)
            typer.echo(f"\n{by} against random\n\n{markdown_table(header, rows)}")
    rows = []
    for by in savings.get_strategies(runs):
        chosen = [run for run in runs if run.by == by]
        shares = [savings.get_suggested(runs, by, i) for i in savings.ROUNDS]
        words = sum(run.rounds[-1].words for run in chosen) / len(chosen)
        mentions = sum(run.rounds[-1].mentions for run in chosen) / len(chosen)
        cells = ["–" if share is None else f"{100 * share:.0f}%" for share in shares]
        rows.append([by, *cells, f"{words:.0f}", f"{mentions:.0f}"])
    header = ["right in the suggestion", *(f"round {i}" for i in savings.ROUNDS)]
    header += ["words at the end", "mentions at the end"]
    typer.echo(f"\n{markdown_table(header, rows)}")
    savings.draw_savings(runs, figure or output / "savings")


@app.command()
def review(
    data: str = typer.Argument(help="Folder of the data sets"),
    backbone: str = typer.Option(..., help="A backbone with a concept encoder"),
    sets: str = typer.Option("listings,mit-restaurant", help="Between commas"),
    changed: float = typer.Option(0.05, help="Share of the labels that are changed"),
    shown: float = typer.Option(0.1, help="Share of the sentences that are shown"),
    limit: int = typer.Option(1000, help="Sentences of a set, 0 for all"),
    seeds: int = typer.Option(3, help="Other labels are changed"),
    folds: int = typer.Option(5, help="Trainings"),
    steps: int | None = typer.Option(None, help="Steps of a training"),
) -> None:
    """Change labels at random, and count how many are among the first shown."""
    import torch
    from spacy.tokens import Span

    from spacy_nuner.corpus.labelled_docs import read_docs
    from spacy_nuner.fewshot.zero_shot import complete_labels
    from spacy_nuner.labelling.review import review_docs
    from spacy_nuner.labelling.simulate import make_config, take
    from spacy_nuner.pipeline.labels import read_labels
    from spacy_nuner.printing import markdown_table

    torch.set_num_threads(1)
    rows = []
    for dataset in sets.split(","):
        docs = take(read_docs(find_part(data, dataset, "train")), limit)
        path = find_labels(dataset)
        labels = complete_labels(docs, read_labels(path) if path else {})
        places = [(i, k) for i, doc in enumerate(docs) for k in range(len(doc.ents))]
        for seed in range(seeds):
            chance = random.Random(seed)
            wrong = set(chance.sample(places, round(changed * len(places))))
            spoiled = []
            for i, doc in enumerate(docs):
                copy: Any = doc.copy()
                spans = []
                for k, ent in enumerate(doc.ents):
                    others = [one for one in labels if one != ent.label_]
                    label = chance.choice(others) if (i, k) in wrong else ent.label_
                    spans.append(Span(copy, ent.start, ent.end, label))
                copy.spans.clear()
                copy.ents = spans
                spoiled.append(copy)
            start = time.perf_counter()
            config = make_config(backbone, labels)
            tasks = review_docs(config, spoiled, folds=folds, seed=seed, steps=steps)
            first = {task.text for task in tasks[: round(shown * len(tasks))]}
            found = sum(docs[i].text in first for i, _ in wrong)
            seconds = time.perf_counter() - start
            rows.append([dataset, str(seed), f"{found} of {len(wrong)}"])
            rows[-1] += [f"{100 * found / max(len(wrong), 1):.0f}%", f"{seconds:.0f}"]
            typer.echo(" ".join(rows[-1]), err=True)
    header = ["data set", "seed", "changed labels shown", "share", "seconds"]
    typer.echo(markdown_table(header, rows, words=2))


TAG = """
import json, sys, time
import spacy, torch
torch.set_num_threads(1)
nlp = spacy.load(sys.argv[1])
lines = open(sys.argv[2], encoding="utf8")
texts = (json.loads(line)["text"] for line in lines)
list(nlp.pipe(["one text", "another text"]))
start, words = time.perf_counter(), 0
with nlp.memory_zone():
    for doc in nlp.pipe(texts):
        words += len(doc)
seconds = time.perf_counter() - start
"""
SUGGEST = """
import json, sys, time
import torch
from spacy_nuner.cli.suggest import suggest
torch.set_num_threads(1)
start = time.perf_counter()
tasks, report = suggest(sys.argv[1], sys.argv[2], sys.argv[3])
seconds = time.perf_counter() - start
words = report.words
"""
PEAK = """
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"words": words, "seconds": seconds, "peak_gib": peak}))
"""


@app.command()
def speed(
    pipeline: str = typer.Argument(help="A folder or an installed pipeline"),
    texts: str = typer.Argument(help="What sample reads, such as raw-text"),
    n: int = typer.Option(100_000, help="Sentences; repeated where there are fewer"),
    rounds: int = typer.Option(1, help="How often both are run"),
) -> None:
    """Compare `suggest` with tagging alone: words a second, and memory."""
    from spacy_nuner.cli.sample import sample

    with tempfile.TemporaryDirectory() as folder:
        drawn, corpus = Path(folder, "drawn.jsonl"), Path(folder, "corpus.jsonl")
        sample(texts, drawn, n=n)
        rows = [json.loads(line) for line in drawn.open(encoding="utf8")]
        with corpus.open("w", encoding="utf8") as file:
            for i in range(n):
                row = {"id": str(i), "text": rows[i % len(rows)]["text"]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        typer.echo(f"{len(rows):,} distinct sentences, {n:,} in all", err=True)
        shares = []
        for number in range(rounds):
            output = Path(folder, f"suggested{number}.jsonl")
            tag = measure(TAG, [pipeline, str(corpus)])
            ours = measure(SUGGEST, [pipeline, str(corpus), str(output)])
            speeds = [one["words"] / one["seconds"] for one in (tag, ours)]
            shares.append(speeds[1] / speeds[0])
            typer.echo(
                json.dumps(
                    {
                        "tagging": {**tag, "words_per_second": round(speeds[0])},
                        "suggest": {**ours, "words_per_second": round(speeds[1])},
                        "of_tagging": round(shares[-1], 3),
                    },
                    indent=1,
                )
            )


def measure(code: str, arguments: Sequence[str]) -> dict[str, float]:
    """Run a script in a process of its own, which prints words, seconds and memory."""
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    app()
