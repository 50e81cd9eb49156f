"""`spacy nuner export`: answers out of the store, for convert."""

from pathlib import Path

import typer


def export(
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
    from ..annotate.store import Store, export_records
    from ..errors import Errors, NunerError, Warnings
    from ..readers.answers import GOOD

    if not store.is_file():
        raise NunerError(Errors.N212, path=store, which="")
    opened = Store(store)
    try:
        verdicts = export_records(opened, output, prompt=prompt, model=model)
    finally:
        opened.close()
    total = verdicts.total()
    msg.good(f"{total:,} answers in {output}")
    del verdicts[GOOD]
    if verdicts:
        kinds = name_counts(verdicts)
        msg.warn(Warnings.W204.format(count=verdicts.total(), kinds=kinds))
