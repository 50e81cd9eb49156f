"""`spacy nuner export`: answers out of the store, for convert."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import typer

from ..errors import Warnings


def export_cli(
    store: Path = typer.Argument(help="Store of answers that annotate made"),
    output: Path = typer.Argument(help="JSON Lines with id, text and answer"),
    prompt: str | None = typer.Option(
        None, help="Only answers to this prompt, by its name or hash"
    ),
    model: str | None = typer.Option(None, help="Only answers of this model"),
) -> None:
    """Write the newest answer to each sentence, in the order of the sentences."""
    from wasabi import msg

    from ..annotate.accounting import name_counts
    from ..readers.answers import GOOD

    verdicts = export(store, output, prompt=prompt, model=model)
    msg.good(f"{verdicts.total():,} answers in {output}")
    del verdicts[GOOD]
    if verdicts:
        kinds = name_counts(verdicts)
        msg.warn(Warnings.W204.format(count=verdicts.total(), kinds=kinds))


def export(
    store: Path, output: Path, *, prompt: str | None = None, model: str | None = None
) -> Counter[str]:
    """Write the newest answer to each sentence, in the order of the sentences.

    A run of `annotate` may be writing to the store meanwhile.

    store (Path): The store of answers that `annotate` made.
    output (Path): JSON Lines with id, text and answer, or entities.
    prompt (str | None): Only answers to this prompt, by its name or hash.
    model (str | None): Only answers of this model.
    RETURNS (Counter[str]): The records by what their answers are worth.
    RAISES (NunerError): N210 for a file that is no store, N211 if prompt and model are
        not clear, N212 without answers.
    """
    from ..annotate.store import Store, export_records

    with closing(Store(store, read_only=True)) as opened:
        return export_records(opened, output, prompt=prompt, model=model)
