"""Any source -> records as JSONL, the form that everything else reads."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ..files import replacing
from .process import Outcome
from .published import read_record
from .records import BadRow, Row, Source
from .report import Tally, describe_losses
from .rows import new_bar, read_rows

SUFFIX = ".jsonl"
QUARANTINE_SUFFIX = ".quarantine.jsonl"


def import_records(
    sources: Sequence[Source], output: Path, *, progress: bool = True
) -> Tally:
    """Write the records of sources as JSONL: raw answers as they are, else entities.

    What can't be read goes to `<output>.quarantine.jsonl`, if there is something.

    sources (Sequence[Source]): Files, or data sets on the hub.
    output (Path): The file; an earlier one is replaced.
    progress (bool): Whether to show a progress bar.
    RETURNS (Tally): Counts of rows, annotations and concepts as they are written.
    RAISES (NunerError): N005, N006, N101 or N104 if a source can't be read, N102 if
        nothing in it was usable, N003 if the output can't be written.
    """
    tally = Tally()
    aside = output.with_suffix(QUARANTINE_SUFFIX)
    with replacing(output) as target, replacing(aside) as quarantine:
        bar = new_bar(sources, progress)
        with (
            bar,
            target.open("w", encoding="utf8") as records,
            quarantine.open("w", encoding="utf8", errors="backslashreplace") as losses,
        ):
            for row in chain.from_iterable(map(read_rows, sources)):
                outcome = _read(row)
                tally.count(row, outcome)
                if outcome.record is not None:
                    tally.written += 1
                    for entity in outcome.record.entities:
                        tally.concepts[entity.concept or entity.description or ""] += 1
                    line = json.dumps(outcome.record.to_json(), ensure_ascii=False)
                    records.write(line + "\n")
                for loss in describe_losses(row, outcome):
                    losses.write(json.dumps(loss, ensure_ascii=False) + "\n")
                bar.update(row.size)
        if not tally.written:
            raise tally.nothing_usable(sources)
    if not aside.stat().st_size:
        aside.unlink()
    return tally


def _read(row: Row) -> Outcome:
    try:
        return Outcome(record=read_record(row))
    except BadRow as bad:
        return Outcome(refused=bad)
