"""`spacy nuner import`: a labelled set of any form as a DocBin."""

from pathlib import Path

import typer

from ._losses import show_losses
from ._util import OVERWRITE, SOURCE


def import_cli(
    source: str = typer.Argument(help=f"Labelled set: {SOURCE}"),
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
    lang: str = typer.Option("en", help="Language of the tokenizer for texts"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a labelled set as a DocBin for `spacy train`, with a report of the losses.

    Labels stay as they are. All annotations go to doc.spans["concepts"], and to
    doc.ents where they do not overlap. For pre-training, use convert.
    """
    from ..corpus.labelled_docs import QUARANTINE_SUFFIX, import_docs

    report = import_docs(source, output, lang=lang, form=form, overwrite=overwrite)
    show_losses(report, str(output), output.with_suffix(QUARANTINE_SUFFIX))
