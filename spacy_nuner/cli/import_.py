"""`spacy nuner import`: a labelled set of any form as a DocBin."""

from pathlib import Path

import typer

from ._losses import show_losses


def import_cli(
    source: str = typer.Argument(
        help="A file of any known form (.jsonl, .json, .csv, .conll, .spacy; plain, "
        ".gz, .bz2, .xz or .zst), a folder of them, or hub:NAME or hub:NAME:CONFIG"
    ),
    output: Path = typer.Argument(
        help="DocBin to write (.spacy), or records (.jsonl); a .import.json with the "
        "report goes into the same folder"
    ),
    form: str | None = typer.Option(
        None,
        "--format",
        help="jsonl, json, csv, bio or docbin; found by the suffix or the first lines "
        "if not given",
    ),
    split: str | None = typer.Option(
        None, help="Split of a data set on the hub, if it has several"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer for texts"),
) -> None:
    """Write a labelled set as a DocBin for `spacy train`, with a report of the losses.

    Labels stay as they are. All annotations go to doc.spans["concepts"], and to
    doc.ents where they do not overlap. For pre-training, use convert.
    """
    from wasabi import msg

    from ..corpus.labelled_docs import QUARANTINE_SUFFIX, import_docs

    report = import_docs(source, output, split=split, lang=lang, form=form)
    show_losses(report)
    records = report["records"]
    msg.good(f"{records['written']} of {records['read']} records: {output}")
    quarantine = output.with_suffix(QUARANTINE_SUFFIX)
    if quarantine.exists():
        msg.info(f"What could not be used, and why: {quarantine}")
