"""`spacy nuner import`: annotated sets of other people as records or as a corpus."""

from pathlib import Path

import typer

from ._losses import count_records, show_losses, show_table, show_written


def import_(
    source: str = typer.Argument(
        help="hub:NAME or hub:NAME:CONFIG (such as hub:numind/NuNER), a file (.jsonl, "
        ".json, .csv, .conll, .spacy; plain, .gz, .bz2, .xz or .zst), or a folder"
    ),
    output: Path = typer.Argument(
        help="Records if it ends in .jsonl, else the folder of a corpus, as convert "
        "writes it; an earlier one is replaced"
    ),
    split: str | None = typer.Option(
        None, help="Split of a data set on the hub, if it has several"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer, for a corpus"),
    n_process: int = typer.Option(
        1, help="How many processes to use, for a corpus", min=1
    ),
) -> None:
    """Read an annotated set in any known form.

    Known are numind/NuNER, conversations as in Pile-NER, two-column BIO, DocBins, our
    own records, and texts with spans (Prodigy, spacy-llm).
    """
    from wasabi import msg

    from ..corpus.convert import (
        QUARANTINE_SUFFIX,
        SUFFIX,
        convert_sources,
        import_records,
    )
    from ..corpus.row_to_doc import Settings
    from ..errors import Errors, NunerError
    from ..readers.hub import find_on_hub
    from ..readers.sources import FILE_SUFFIXES, HUB_PREFIX, find_sources

    if output.suffix != SUFFIX and output.suffix in FILE_SUFFIXES:
        raise NunerError(Errors.N107, path=output, suffix=output.suffix)
    if source.startswith(HUB_PREFIX):
        sources = [find_on_hub(source, split=split)]
    else:
        sources = find_sources([Path(source)])
    if output.suffix != SUFFIX:
        report = convert_sources(
            sources, output, settings=Settings(lang=lang), n_process=n_process
        )
        show_losses(report)
        show_written(report, output)
        return
    tally = import_records(sources, output)
    summary = tally.summary(settings={}, inputs=[], shards=[])
    msg.divider("Records")
    show_table(count_records(summary["records"]), tally.rows)
    msg.divider("Annotations")
    unreadable = summary["annotations"]["unreadable_lines"]
    rows = [("written", tally.annotations)]
    rows += [(f"unreadable: {why}", n) for why, n in unreadable.items()]
    show_table([*rows, ("concepts as written", len(tally.concepts))])
    msg.good(f"{tally.written} of {tally.rows} records: {output}")
    aside = output.with_suffix(QUARANTINE_SUFFIX)
    if aside.exists():
        msg.info(f"What could not be read, and why: {aside}")
