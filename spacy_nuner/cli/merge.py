"""`spacy nuner merge`: what several machines annotated or converted becomes one."""

from collections.abc import Sequence
from pathlib import Path

import typer

from ..errors import Errors, NunerError, Warnings
from ._util import msg


def merge_cli(
    parts: list[Path] = typer.Argument(
        ..., help="Stores of annotate --part, or folders of convert --part"
    ),
    output: Path = typer.Argument(
        ..., help="The store to add to, or the folder to write"
    ),
) -> None:
    """Join what `annotate --part` or `convert --part` wrote; can be run again.

    Answers that the store has already are not added twice. A corpus is the same as
    one that was converted at once.
    """
    from ..corpus.convert import merge_corpora

    if all(part.is_dir() for part in parts):
        report = merge_corpora(parts, output)
        records = report["records"]
        msg.good(f"{records['written']:,} of {records['read']:,} records: {output}")
        return
    added, waiting = merge_stores(parts, output)
    for path, count in waiting.items():
        msg.warn(Warnings.W650.format(path=path, count=count))
    msg.good(f"{added:,} answers added to {output}")


def merge_stores(parts: Sequence[Path], output: Path) -> tuple[int, dict[Path, int]]:
    """Add the answers of stores to one.

    parts (Sequence[Path]): The stores.
    output (Path): The store to add to, old or new.
    RETURNS (tuple[int, dict[Path, int]]): How many answers were added; and for stores
        with batches that were not collected, how many sentences are in these.
    RAISES (NunerError): N657 if one is no file; what `Store` raises.
    """
    from contextlib import closing

    from ..annotate.store import Store
    from ..outputs import check_output

    for part in parts:
        if not part.is_file():
            expected = "store of answers" if part.is_dir() else "file and no folder"
            raise NunerError(Errors.N657, path=part, expected=expected)
    check_output(output, inputs=parts)
    added, waiting = 0, {}
    with closing(Store(output)) as store:
        for part in parts:
            new, open_ = store.merge(part)
            added += new
            if open_:
                waiting[part] = open_
    return added, waiting
