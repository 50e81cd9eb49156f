"""`spacy nuner import`: a labelled set of any form as a DocBin."""

import json
from enum import StrEnum
from pathlib import Path

import typer

from ._losses import show_losses
from ._util import LANG, OVERWRITE, SOURCE, split_list


class AlignmentMode(StrEnum):
    """What becomes of a span that begins or ends inside a token."""

    expand = "expand"
    strict = "strict"


def import_cli(
    source: str = typer.Argument(help=f"Labelled set: {SOURCE}"),
    output: Path = typer.Argument(
        help="DocBin to write (.spacy), or records (.jsonl); a .import.json with the "
        "report goes into the same folder"
    ),
    form: str | None = typer.Option(
        None,
        "--format",
        help="Form of the files, such as conll, brat or jsonl, or of their rows, such "
        "as prodigy or label-studio; recognised by the content if not given",
    ),
    lang: str = LANG,
    labels: str | None = typer.Option(
        None,
        help="Names of tags that are numbers, in their order: between commas, or a "
        "file with one a line, or with a list in JSON",
    ),
    field: str | None = typer.Option(
        None,
        help="The field that was annotated, where tasks of Label Studio or Argilla "
        "have several texts and no span says which",
    ),
    annotators: str = typer.Option(
        "first",
        help="Whose annotation counts where several people annotated a text: first, "
        "majority, union, or the name of one",
    ),
    predictions: bool = typer.Option(
        False, "--predictions", help="Take predictions where nobody annotated"
    ),
    alignment_mode: AlignmentMode = typer.Option(
        AlignmentMode.expand,
        help="Of a span that begins or ends inside a token, take the whole tokens "
        "(expand) or leave it out (strict)",
    ),
    fix_offsets: bool = typer.Option(
        False,
        "--fix-offsets",
        help="Mend offsets whose words show that the end is inclusive, or that UTF-16 "
        "units or bytes are counted",
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a labelled set as a DocBin for `spacy train`, with a report of the losses.

    Labels stay as they are. All annotations go to doc.spans["concepts"], and to
    doc.ents where they do not overlap. For pre-training, use convert.
    """
    from ..corpus.labelled_docs import QUARANTINE_SUFFIX, import_docs
    from ..readers.records import Reading

    reading = Reading(
        labels=read_names(labels) if labels else (),
        annotators=annotators,
        predictions=predictions,
        fix_offsets=fix_offsets,
        field=field,
    )
    report = import_docs(
        source,
        output,
        lang=lang,
        form=form,
        reading=reading,
        alignment_mode=alignment_mode.value,
        overwrite=overwrite,
    )
    show_losses(report, str(output), output.with_suffix(QUARANTINE_SUFFIX))


def read_names(labels: str) -> tuple[str, ...]:
    """Read the names of tags.

    labels (str): Names between commas, or a file with one a line or a list in JSON;
        one name alone is a file.
    RETURNS (tuple[str, ...]): The names in their order.
    RAISES (NunerError): N641 if there is no such file, or it holds none.
    """
    from ..errors import Errors, NunerError

    path = Path(labels)
    if "," in labels:
        return tuple(split_list(labels))
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else text.split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise NunerError(Errors.N641, path=path, reason=error) from error
    if not all(isinstance(name, str) for name in names):
        raise NunerError(Errors.N641, path=path, reason="a name is not a string")
    found = tuple(name.strip() for name in names if name.strip())
    if not found:
        raise NunerError(Errors.N641, path=path, reason="there are none")
    return found
