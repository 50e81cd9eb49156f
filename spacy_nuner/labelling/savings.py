"""What suggestions save: tables and a figure of F1 against labelled sentences."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from .simulate import Run
from .strategies import Strategy

MEAN = "mean"
ROUNDS = (1, 3, 6)


class Band(NamedTuple):
    """Mean and spread of F1, in points, over seeds.

    sentences (list[int]): What was labelled.
    means, spreads (list[float]): One for each.
    """

    sentences: list[int]
    means: list[float]
    spreads: list[float]


def match_runs(runs: Sequence[Run]) -> list[Run]:
    """Leave out runs that others can't be compared with.

    runs (Sequence[Run]): All runs.
    RETURNS (list[Run]): Of each data set those with the most rounds, since others are
        not at their end, and of these the seeds that all of its strategies have.
    """
    matched = []
    for name in get_datasets(runs):
        own = [run for run in runs if run.dataset == name]
        longest = max(len(run.rounds) for run in own)
        ended = [run for run in own if len(run.rounds) == longest]
        seeds = [{run.seed for run in ended if run.by == one.by} for one in own]
        shared = set.intersection(*seeds)
        matched += [run for run in ended if run.seed in shared]
    return matched


def get_datasets(runs: Sequence[Run]) -> list[str]:
    """RETURNS (list[str]): The data sets of runs, sorted."""
    return sorted({run.dataset for run in runs})


def get_strategies(runs: Sequence[Run]) -> list[Strategy]:
    """RETURNS (list[Strategy]): The strategies of runs, random last."""
    return sorted({run.by for run in runs}, key=lambda by: (by == "random", by))


def get_band(runs: Sequence[Run], dataset: str, by: Strategy) -> Band:
    """Average over seeds.

    runs (Sequence[Run]): All runs.
    dataset (str): A data set, or `MEAN` for the mean over all of them: of each seed
        first, so that the spread is that of the mean between seeds.
    by (Strategy): The strategy.
    RETURNS (Band): The rounds that all of its runs have.
    """
    names = get_datasets(runs) if dataset == MEAN else [dataset]
    chosen = [run for run in runs if run.by == by and run.dataset in names]
    seeds = {run.seed for run in chosen}
    # Seeds that all data sets have.
    seeds = {
        seed
        for seed in seeds
        if {run.dataset for run in chosen if run.seed == seed} == set(names)
    }
    chosen = [run for run in chosen if run.seed in seeds]
    count = min((len(run.rounds) for run in chosen), default=0)
    sentences, means, spreads = [], [], []
    for i in range(count):
        values = [
            100 * mean(run.rounds[i].f1 for run in chosen if run.seed == seed)
            for seed in sorted(seeds)
        ]
        sentences.append(round(mean(run.rounds[i].sentences for run in chosen)))
        means.append(mean(values))
        spreads.append(stdev(values) if len(values) > 1 else 0.0)
    return Band(sentences, means, spreads)


def get_needed(band: Band, f1: float) -> float | None:
    """Find how many sentences a strategy needs.

    band (Band): Its curve.
    f1 (float): The F1 to reach and to keep, in points: a curve that falls below it
        again has passed it by chance.
    RETURNS (float | None): Sentences, between rounds on a line; None if the last round
        is below.
    """
    below = [i for i, value in enumerate(band.means) if value < f1]
    if not below:
        return float(band.sentences[0])
    last = below[-1]
    if last + 1 == len(band.means):
        return None
    (low, high), (first, second) = (
        values[last : last + 2] for values in (band.means, band.sentences)
    )
    return first + (second - first) * (f1 - low) / (high - low)


def get_suggested(runs: Sequence[Run], by: Strategy, number: int) -> float | None:
    """What the person is spared in a round.

    runs (Sequence[Run]): All runs.
    by (Strategy): The strategy.
    number (int): The round, from 1.
    RETURNS (float | None): The share of the gold spans that stood right in the
        suggestion, mean of the data sets; None if there is none.
    """
    shares: dict[str, list[float]] = {}
    for run in runs:
        if run.by == by and number < len(run.rounds):
            share = run.rounds[number].suggested
            shares.setdefault(run.dataset, []).extend([] if share is None else [share])
    means = [mean(values) for values in shares.values() if values]
    return mean(means) if means else None


def _compare_needed(
    runs: Sequence[Run], dataset: str, by: Strategy
) -> tuple[float, float, bool]:
    """The sentences that a strategy needs for the F1 of random at the end, those that
    random needs for it, and whether the strategy needs more than were labelled."""
    random, ours = (get_band(runs, dataset, one) for one in (Strategy.random, by))
    found = get_needed(ours, random.means[-1])
    mine = float(ours.sentences[-1]) if found is None else found
    # Random gets where it ends.
    return mine, get_needed(random, random.means[-1]) or 0.0, found is None


def _show_needed(needed: Sequence[tuple[float, float, bool]]) -> str:
    """The mean of what some data sets need."""
    mine, _, more = zip(*needed, strict=True)
    return f"{'>' if any(more) else ''}{mean(mine):.0f}"


def savings_table(
    runs: Sequence[Run], by: Strategy
) -> tuple[list[str], list[list[str]]]:
    """Compare a strategy with random.

    runs (Sequence[Run]): Those of `match_runs`, of "random" among them.
    by (Strategy): The strategy.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: for each data set and
        their mean F1 at the end, the sentences that both need for that of random, with
        ">" where it is not reached with all that are labelled, of their mean curves and
        of those of each seed, and where the strategy gains least. The last row has the
        means of the data sets.
    """
    rows = []
    runs = [run for run in runs if run.by in (Strategy.random, by)]
    names = get_datasets(runs)
    for name in [*names, MEAN] if len(names) > 1 else names:
        random, ours = (get_band(runs, name, one) for one in (Strategy.random, by))
        if not random.means or not ours.means:
            continue
        own = names if name == MEAN else [name]
        needed = [_compare_needed(runs, one, by) for one in own]
        seeds = set.intersection(
            *({run.seed for run in runs if run.dataset == one} for one in own)
        )
        of_seeds = [
            _show_needed(
                [
                    _compare_needed([run for run in runs if run.seed == seed], one, by)
                    for one in own
                ]
            )
            for seed in sorted(seeds)
        ]
        gaps = [a - b for a, b in zip(ours.means, random.means, strict=True)]
        rows.append(
            [
                name,
                f"{random.means[-1]:.1f} ± {random.spreads[-1]:.1f}",
                f"{ours.means[-1]:.1f} ± {ours.spreads[-1]:.1f}",
                f"{_show_needed(needed)} of {mean(one[1] for one in needed):.0f}",
                ", ".join(of_seeds),
                # Before the first round both know the names alone.
                f"{min(gaps[1:] or gaps):+.1f}",
            ]
        )
    header = ["data set", "random", by, "sentences for as much", "of each seed"]
    return [*header, "least gain"], rows


def curve_table(runs: Sequence[Run], dataset: str) -> tuple[list[str], list[list[str]]]:
    """F1 after each round.

    runs (Sequence[Run]): Those of `match_runs`.
    dataset (str): A data set, or `MEAN`.
    RETURNS (tuple[list[str], list[list[str]]]): Header and a row for each strategy.
    """
    bands = {by: get_band(runs, dataset, by) for by in get_strategies(runs)}
    longest = max(bands.values(), key=lambda band: len(band.means))
    rows = [
        [by, *(f"{m:.1f} ± {s:.1f}" for m, s in zip(*band[1:], strict=True))]
        for by, band in bands.items()
    ]
    return ["sentences", *map(str, longest.sentences)], rows


def draw_savings(runs: Sequence[Run], path: Path) -> None:
    """Draw F1 against labelled sentences, a panel for each data set, with bands.

    runs (Sequence[Run]): Those of `match_runs`.
    path (Path): The files without suffix.
    """
    from ..plotting import GREEN, GREY, INK, ORANGE, literal, new_figure

    names = get_datasets(runs)
    names = [*names, MEAN] if len(names) > 1 else names
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    colours = {"random": GREY, "cover": ORANGE, "uncertainty": GREEN}
    with new_figure(path, (3.2 * columns + 0.6, 2.8 * lines)) as figure:
        for number, name in enumerate(names):
            axis = figure.add_subplot(lines, columns, number + 1)
            for by in get_strategies(runs):
                band = get_band(runs, name, by)
                colour = colours.get(by, INK)
                axis.plot(band.sentences, band.means, color=colour, label=by)
                low, high = (
                    [m + sign * s for m, s in zip(*band[1:], strict=True)]
                    for sign in (-1, 1)
                )
                axis.fill_between(
                    band.sentences, low, high, color=colour, alpha=0.2, linewidth=0
                )
            axis.set_title(literal(name))
            axis.set_xlabel("labelled sentences")
            if number % columns == 0:
                axis.set_ylabel("entity F1")
            if number == 0:
                axis.legend(frameon=False, loc="lower right")
