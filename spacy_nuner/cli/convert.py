"""`spacy nuner convert`: annotated sentences as DocBin, with a report of the losses."""

from enum import StrEnum
from pathlib import Path

import typer

from ._losses import show_losses
from ._util import PART, SOURCE, msg, read_share


class Occurrences(StrEnum):
    """Which occurrences of an entity are annotated."""

    all = "all"
    first = "first"
    in_order = "in_order"


def convert_cli(
    sources: list[str] = typer.Argument(..., help=f"One or several: {SOURCE}"),
    output_dir: Path = typer.Argument(
        ..., help="Folder to write; an earlier corpus is replaced"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer"),
    n_process: int = typer.Option(
        1, help="How many processes to use; the output is the same", min=1
    ),
    limit: int = typer.Option(
        0, help="Most rows to take of each file or data set, 0 for all", min=0
    ),
    occurrences: Occurrences = typer.Option(
        Occurrences.all, help="Which occurrences of an entity in its text to annotate"
    ),
    ignore_case: bool = typer.Option(
        True,
        "--ignore-case/--match-case",
        help="Find what differs from the text in case, blanks or quotes alone",
    ),
    keep_concept_sentences: bool = typer.Option(
        False,
        "--keep-concept-sentences",
        help="Keep sentences with the concept 'concept', which NuNER's authors drop",
    ),
    keep_empty_types: bool = typer.Option(
        False,
        "--keep-empty-types",
        help="Keep annotations whose concept says nothing, such as 'entity'",
    ),
    part: str | None = PART,
) -> None:
    """Make a corpus for pre-training: DocBin shards, with a report of every loss.

    Known are an LLM's answers, numind/NuNER, conversations as in Pile-NER, columns of
    words and tags, DocBins, texts with spans, and our own records. Run again after an
    interruption, it goes on where it was.
    """
    from ..concept_names import EMPTY_TYPES, REFUSED
    from ..corpus.convert import REPORT, convert
    from ..corpus.row_to_doc import ConvertSettings
    from ..parallel import ALL
    from ..readers.sources import QUARANTINE

    settings = ConvertSettings(
        lang=lang,
        occurrences=occurrences.value,
        ignore_case=ignore_case,
        refused=frozenset() if keep_concept_sentences else REFUSED,
        empty_types=frozenset() if keep_empty_types else EMPTY_TYPES,
    )
    share = read_share(part)
    report = convert(
        sources,
        output_dir,
        settings=settings,
        limit=limit,
        n_process=n_process,
        part=share,
    )
    if share != ALL:
        msg.good(f"Part {part} in {output_dir}: join it with the others by merge")
        return
    shards = len(report["shards"])
    names = f"{output_dir} ({shards} {'shard' if shards == 1 else 'shards'}, {REPORT})"
    show_losses(report, names, output_dir / QUARANTINE)
