"""Records -> DocBin shards, with a report of every loss."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from spacy.about import __version__ as spacy_version
from tqdm import tqdm

from .. import about
from ..files import replacing, resuming
from ..readers.forms import read_record
from ..readers.records import BadRow, Row, Source
from ..readers.rows import new_bar, read_rows
from ..readers.sources import describe_source, find_sources
from ..tokenizers import make_tokenizer
from .losses import Tally, describe_losses
from .row_to_doc import Outcome, Settings
from .shards import Chunk, PartFiles, read_chunks, write_chunks

# Small enough that two processes and what waits for them stay under 1 GiB.
SHARD_SIZE = 20_000
REPORT = "report.json"
QUARANTINE = "quarantine.jsonl"

logger = logging.getLogger("spacy_nuner")


def convert(
    inputs: Sequence[Path],
    output_dir: Path,
    *,
    settings: Settings | None = None,
    shard_size: int = SHARD_SIZE,
    n_process: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Write records as DocBin shards, with report.json and quarantine.jsonl.

    Memory holds the rows of as many shards as there are processes, one shard in each,
    and the counts of the concepts, whatever the input. A run that broke off is gone on
    with by the same call: its shards are kept in `<output_dir>.work`.

    inputs (Sequence[Path]): Files or folders of records, as `read_record` takes them.
    output_dir (Path): The folder to write; one of an earlier run is replaced.
    settings (Settings | None): None for the defaults.
    shard_size (int): The most docs in a shard.
    n_process (int): How many processes to use. The output is the same for any number.
    progress (bool): Whether to show a progress bar.
    RETURNS (dict[str, Any]): The report.
    RAISES (NunerError): N005, N006 or N101 if an input can't be read, N102 if nothing
        in it was usable, N010 if the language has no tokenizer, N106 if a process
        died, N003 or N004 if the output can't be written.
    """
    return convert_sources(
        find_sources(inputs),
        output_dir,
        settings=settings,
        shard_size=shard_size,
        n_process=n_process,
        progress=progress,
    )


def convert_sources(
    sources: Sequence[Source],
    output_dir: Path,
    *,
    settings: Settings | None = None,
    shard_size: int = SHARD_SIZE,
    n_process: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Write the records of any sources; otherwise as `convert`.

    sources (Sequence[Source]): Files, or data sets on the hub.
    RETURNS (dict[str, Any]): The report.
    """
    settings = settings or Settings()
    # An unknown language is told before anything is written.
    make_tokenizer(settings.lang)
    head = {
        "settings": _plain(settings),
        "inputs": [describe_source(source) for source in sources],
    }
    run: dict[str, Any] = {"spacy": spacy_version, "version": about.__version__, **head}
    if any(source.format == "hub" and not source.revision for source in sources):
        # Nobody knows whether it is still the same.
        run["begun"] = time.time()
    run_id = json.dumps({**run, "shard_size": shard_size}, sort_keys=True)
    with resuming(output_dir, marker=REPORT, run=run_id) as work:
        files = PartFiles(work / output_dir.name, work / "parts")
        with _kept_if_begun(files, work):
            bar = new_bar(sources, progress)
            numbers = _convert(sources, files, settings, shard_size, n_process, bar)
            report = _join(files, numbers, head, sources)
    return report


@contextmanager
def _kept_if_begun(files: PartFiles, work: Path) -> Iterator[None]:
    """Delete the work folder of a run that breaks off before its first shard."""
    files.parts.mkdir(exist_ok=True)
    if done := files.count_shards():
        logger.warning("Going on from an interrupted run: %d shards are kept.", done)
    try:
        yield
    except BaseException:
        if not files.count_shards():
            shutil.rmtree(work)
        raise


def _convert(
    sources: Sequence[Source],
    files: PartFiles,
    settings: Settings,
    shard_size: int,
    n_process: int,
    bar: tqdm,
) -> int:
    """Convert every chunk that is not done. RETURNS (int): How many there are."""
    rows = chain.from_iterable(map(read_rows, sources))
    count = 0

    def todo() -> Iterator[Chunk]:
        nonlocal count
        for chunk in read_chunks(rows, shard_size):
            count += 1
            if files.is_done(chunk.number):
                bar.update(chunk.size)
            else:
                yield chunk

    chunks = todo()
    first = list(islice(chunks, 2))
    # A single chunk is not worth a second process.
    n_process = n_process if len(first) > 1 else 1
    with bar:
        write_chunks(
            chain(first, chunks), files, settings, n_process=n_process, bar=bar
        )
    return count


def _join(
    files: PartFiles, count: int, head: dict[str, Any], sources: Sequence[Source]
) -> dict[str, Any]:
    """Make one report and one quarantine out of those of the chunks."""
    tally = Tally()
    shards: list[dict[str, Any]] = []
    with (files.shards / QUARANTINE).open("wb") as quarantine:
        for number in range(count):
            part = files.read(number)
            tally.add(part.tally)
            if part.shard is not None:
                shards.append(part.shard)
            quarantine.write(files.quarantine(number).read_bytes())
    if not shards:
        raise tally.nothing_usable(sources)
    report = tally.summary(**head, shards=shards)
    text = json.dumps(report, ensure_ascii=False, indent=2)
    (files.shards / REPORT).write_text(text + "\n", encoding="utf8")
    return report


def _plain(settings: Settings) -> dict[str, Any]:
    return {
        key: sorted(value) if isinstance(value, frozenset) else value
        for key, value in asdict(settings).items()
    }


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
