"""`spacy nuner tadner`: a few-shot method of the field on any backbone."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import BACKBONES, LANG, NAMES, SOURCE, msg, split_list, split_numbers

if TYPE_CHECKING:
    from ..fewshot.tadner import EpisodeSettings, SourceSettings
    from ..fewshot.tadner_runs import Result

# Of all options that have to do with training on the source types.
OF_SOURCE = "Source training"
OF_EPISODES = "In an episode"


class SpanFilter(StrEnum):
    """What of the support set's words a span has to be above."""

    min = "min"
    mean = "mean"
    none = "none"


def tadner_cli(
    train: list[Path] = typer.Argument(
        ..., help=f"Labelled sets of the source types: {SOURCE}", show_default=False
    ),
    test: Path = typer.Argument(
        ...,
        help="Labelled set with other types to sample episodes from, of the same "
        "forms, or a file of episodes (.jsonl) as Few-NERD's authors publish them",
    ),
    output: Path = typer.Argument(
        ..., help="Folder of results: for each backbone its weights, a JSON a setting"
    ),
    backbones: str = BACKBONES,
    names: str = NAMES,
    ways: str = typer.Option("5,10", help="Types of an episode, between commas"),
    shots: str = typer.Option(
        "1,5", help="K of the K to 2K mentions of each type, between commas"
    ),
    query_shots: int | None = typer.Option(
        None, min=1, help="The same of the query set [default: as the support set]"
    ),
    episodes: int = typer.Option(100, min=1, help="Episodes of each setting"),
    seed: int = typer.Option(
        0,
        min=0,
        help="Seed of the first episode; the next has one more",
    ),
    labels: Path | None = typer.Option(
        None,
        help="JSON of labels whose names are read for the types: label -> object with "
        "name [default: Few-NERD's types as TadNER's authors name them, others as they "
        "read]",
    ),
    epochs: int = typer.Option(
        1, min=1, help="Passes over TRAIN", rich_help_panel=OF_SOURCE
    ),
    batch_size: int = typer.Option(
        32, min=1, help="Sentences of a step", rich_help_panel=OF_SOURCE
    ),
    rate: float = typer.Option(
        3e-5, help="Learning rate of source training", rich_help_panel=OF_SOURCE
    ),
    source_seed: int = typer.Option(
        0, min=0, help="Seed of source training", rich_help_panel=OF_SOURCE
    ),
    source_layers: int = typer.Option(
        1,
        min=1,
        help="The loss of types reads the mean of this many of the last layers",
        rich_help_panel=OF_SOURCE,
    ),
    scaled_columns: bool = typer.Option(
        True,
        "--scaled-columns/--scaled-rows",
        help="What of the logits of the loss of types has the length 1",
        rich_help_panel=OF_SOURCE,
    ),
    episode_rate: float = typer.Option(
        3e-5, help="Learning rate in an episode", rich_help_panel=OF_EPISODES
    ),
    max_steps: int = typer.Option(
        100,
        min=0,
        help="Steps of each encoder at most",
        rich_help_panel=OF_EPISODES,
    ),
    patience: int | None = typer.Option(
        None,
        min=0,
        help="Losses above the best one, in a row, that the encoder of spans goes on "
        "after [default: K + 1]",
        rich_help_panel=OF_EPISODES,
    ),
    layers: int = typer.Option(
        4,
        min=1,
        help="Types are predicted from the mean of this many of the last layers",
        rich_help_panel=OF_EPISODES,
    ),
    span_filter: SpanFilter = typer.Option(
        SpanFilter.min,
        help="What of the support set's words a span has to be above",
        rich_help_panel=OF_EPISODES,
    ),
    scaled_prototypes: bool = typer.Option(
        True,
        "--scaled-prototypes/--raw-prototypes",
        help="Scale prototypes to length 1 over the types",
        rich_help_panel=OF_EPISODES,
    ),
    transductive: bool = typer.Option(
        False,
        help="Scale logits over all spans of the query set, as the authors' code does",
        rich_help_panel=OF_EPISODES,
    ),
    prediction_dropout: bool = typer.Option(
        False,
        help="Leave dropout on in predictions of types, as the authors' code does",
        rich_help_panel=OF_EPISODES,
    ),
    lang: str = LANG,
    gpu_id: int = typer.Option(-1, help="GPU to train on; -1 is the CPU"),
) -> None:
    """Compare encoders as the two encoders of TadNER, on episodes of new types.

    Both are trained on TRAIN once, then adapt to the few sentences of each episode of
    TEST. Run again, the command goes on where it was. Episodes are this package's own
    unless TEST is a file of them: the figures are no published ones.
    """
    from ..fewshot.tadner import EpisodeSettings, SourceSettings

    results = tadner(
        train,
        test,
        output,
        backbones=split_list(backbones),
        names=split_list(names),
        ways=split_numbers(ways),
        shots=split_numbers(shots),
        query_shots=query_shots,
        episodes=episodes,
        seed=seed,
        labels=labels,
        source=SourceSettings(
            epochs=epochs,
            batch_size=batch_size,
            rate=rate,
            layers=source_layers,
            scaled_columns=scaled_columns,
            seed=source_seed,
        ),
        settings=EpisodeSettings(
            rate=episode_rate,
            max_steps=max_steps,
            patience=patience,
            layers=layers,
            span_filter=span_filter.value,
            scaled_prototypes=scaled_prototypes,
            transductive=transductive,
            prediction_dropout=prediction_dropout,
        ),
        lang=lang,
        gpu_id=gpu_id,
    )
    _print_results(results)
    msg.good(f"{len(results)} results in {output}")


def tadner(
    train: Sequence[Path],
    test: Path,
    output: Path,
    *,
    backbones: Sequence[str],
    names: Sequence[str] = (),
    ways: Sequence[int] = (5, 10),
    shots: Sequence[int] = (1, 5),
    query_shots: int | None = None,
    episodes: int = 100,
    seed: int = 0,
    labels: Path | None = None,
    source: "SourceSettings | None" = None,
    settings: "EpisodeSettings | None" = None,
    lang: str = "en",
    gpu_id: int = -1,
) -> list["Result"]:
    """Compare encoders as the two encoders of TadNER, on episodes of new types.

    train (Sequence[Path]): Labelled sets of the source types.
    test (Path): Labelled set to sample episodes from, or a file of episodes.
    output (Path): Folder of results; what is finished in it is not computed again.
    backbones (Sequence[str]): Encoders to compare, the base first.
    names (Sequence[str]): What to call the backbones; made from `backbones` if empty.
    ways (Sequence[int]): Types of an episode.
    shots (Sequence[int]): The K of K~2K mentions of each.
    query_shots (int | None): K of the query set; None for that of the support set.
    episodes (int): Episodes of each setting.
    seed (int): Seed of the first episode; the next one has one more.
    labels (Path | None): JSON that says what labels mean, see `read_labels`; of labels
        that it does not name, the name is that of `name_type`.
    source (SourceSettings | None): How backbones are trained; None for the defaults.
    settings (EpisodeSettings | None): How they adapt; None for the defaults.
    lang (str): Language of the tokenizer for texts.
    gpu_id (int): GPU to train on; -1 is the CPU.
    RETURNS (list[Result]): One for each backbone and setting.
    RAISES (NunerError): What `find_backbones`, `read_labels`, `find_episodes` and
        `run_tadner` raise.
    """
    from spacy.cli._util import setup_gpu

    from ..fewshot.compare import find_backbones
    from ..fewshot.tadner import EpisodeSettings, SourceSettings
    from ..fewshot.tadner_runs import find_episodes, run_tadner
    from ..fewshot.type_names import name_type
    from ..outputs import check_output
    from ..pipeline.labels import read_labels

    inputs: list[str | Path] = [*train, test, *backbones, *([labels] if labels else [])]
    check_output(output, inputs=inputs, folder=True)
    given = read_labels(labels) if labels else {}
    found = find_backbones(backbones, names=names, layers=["last"])
    sets = find_episodes(
        test,
        ways=ways,
        shots=shots,
        count=episodes,
        query_shots=query_shots,
        seed=seed,
        lang=lang,
    )
    setup_gpu(gpu_id)
    return run_tadner(
        found,
        train,
        sets,
        output,
        get_name=lambda label: (
            given[label].get_words(label) if label in given else name_type(label)
        ),
        source=source or SourceSettings(),
        settings=settings or EpisodeSettings(),
        lang=lang,
    )


def _print_results(results: Sequence["Result"]) -> None:
    """Print a table for each setting; gains are over the first backbone."""
    from ..fewshot.tadner_runs import episodes_table

    for setting in dict.fromkeys(one.setting for one in results):
        of_setting = [one for one in results if one.setting == setting]
        header, rows = episodes_table(of_setting, of_setting[0].backbone)
        count = len(of_setting[0].episodes)
        msg.divider(f"TadNER, {setting}, {count} episodes")
        msg.table(rows, header=header, divider=True)
