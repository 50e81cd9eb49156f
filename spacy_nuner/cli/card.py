"""`spacy nuner card`: the model card of a backbone or a pipeline."""

from collections.abc import Sequence
from pathlib import Path

import typer

from ..printing import printable
from ._util import OVERWRITE, msg, split_list


def card_cli(
    folder: str = typer.Argument(
        ..., help="A backbone or a saved pipeline: its folder, or default"
    ),
    output: Path | None = typer.Argument(
        None, help="File to write, outside of the folder [default: print it]"
    ),
    name: str | None = typer.Option(
        None, help="What others load it by, such as your-name/flats-ner"
    ),
    license: str = typer.Option(
        "", help="Licence as the hub abbreviates it, such as mit or cc-by-4.0"
    ),
    data_license: str = typer.Option(
        "", help="Licence of the data it was trained on, in the same form"
    ),
    languages: str = typer.Option(
        "", help="Codes of its languages, between commas, such as en,pt"
    ),
    datasets: str = typer.Option(
        "", help="Names on the hub of the data it was trained on, between commas"
    ),
    metrics: Path | None = typer.Option(
        None,
        help="Results of `fewshot` with this backbone [default: the folder metrics "
        "next to it or a level higher, if it has any]",
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write the model card of a backbone or a pipeline, for the Hugging Face hub.

    Counts, concepts and settings are those of its own files; absolute paths, user@host,
    keys, and in the command of a run the names of user and host are masked.
    """
    text = card(
        folder,
        output,
        name=name,
        license=license,
        data_license=data_license,
        languages=split_list(languages),
        datasets=split_list(datasets),
        metrics=metrics,
        overwrite=overwrite,
    )
    if output is None:
        typer.echo(printable(text, lines=True))
    else:
        msg.good(str(output))


def card(
    folder: str | Path,
    output: Path | None = None,
    *,
    name: str | None = None,
    license: str = "",
    data_license: str = "",
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    metrics: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Write the model card of a backbone or a pipeline.

    folder (str | Path): Its folder, or "default".
    output (Path | None): The file to write; None for none.
    name (str | None): What others load it by.
    license (str): As the hub abbreviates it.
    data_license (str): That of the data it was trained on, in the same form.
    languages (Sequence[str]): Codes of its languages.
    datasets (Sequence[str]): Names on the hub of the data it was trained on.
    metrics (Path | None): As `make_card` takes it.
    overwrite (bool): Replace a file that this did not make, too.
    RETURNS (str): The card.
    RAISES (NunerError): What `find_share`, `make_card` and `write_files` raise.
    """
    from ..outputs import check_output, write_files
    from ..publish.cards import find_share, make_card

    path = find_share(folder)
    if output is not None:
        check_output(output, inputs=[path])
    text = make_card(
        path,
        name=name,
        license=license,
        data_license=data_license,
        languages=languages,
        datasets=datasets,
        metrics=metrics,
    )
    if output is not None:
        with write_files(
            [output], command="card", inputs=[path], overwrite=overwrite
        ) as written:
            (written / output.name).write_text(text, encoding="utf8")
    return text
