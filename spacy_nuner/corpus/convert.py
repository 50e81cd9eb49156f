"""Records -> DocBin shards, with a report of every loss."""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from spacy.about import __version__ as spacy_version

from .. import about
from ..errors import Errors, NunerError
from ..outputs import MANIFEST, Work, write_folder
from ..parallel import ALL, Share, write_parts
from ..readers.records import Source
from ..readers.rows import make_bar, read_rows
from ..readers.sources import (
    FILE_SUFFIXES,
    QUARANTINE,
    describe_source,
    find_sources,
)
from ..tokenizers import make_tokenizer
from .losses import Counts
from .row_to_doc import ConvertSettings
from .shards import Chunk, ShardFiles, read_chunks

# Small enough that two processes and what waits for them stay under 1 GiB.
SHARD_SIZE = 20_000
REPORT = "report.json"
# Of one of several parts: which it is, and the counts and losses of its chunks.
SHARE, CHUNKS = "part.json", "chunks"
# What a run that broke off leaves: counts and losses of chunks, and shards.
LEFTOVERS = (
    r"parts/\d{5,}\.(json|jsonl)|parts/\d{5,}\.(json|jsonl|spacy)\.\d+"
    rf"|new/.*/(\d{{5,}}\.(spacy|json|jsonl)|{re.escape(SHARE)}|{re.escape(REPORT)}|{re.escape(QUARANTINE)}"
    rf"|{re.escape(MANIFEST)})"
)

logger = logging.getLogger("spacy_nuner")


def convert(
    inputs: Sequence[str | Path],
    output_dir: Path,
    *,
    settings: ConvertSettings | None = None,
    limit: int = 0,
    shard_size: int = SHARD_SIZE,
    n_process: int = 1,
    progress: bool = True,
    part: Share = ALL,
) -> dict[str, Any]:
    """Write records as DocBin shards, with report.json and quarantine.jsonl.

    Memory holds the rows of as many shards as there are processes, one shard in each,
    and the counts of the concepts, whatever the input. A run that broke off is resumed
    by the same call: its shards are in `<output_dir>.work`.

    inputs (Sequence[str | Path]): What `find_sources` takes: files, folders of files,
        or "hub:NAME:CONFIG:SPLIT" for a data set on the Hugging Face hub.
    output_dir (Path): The folder to write; one of an earlier run is replaced.
    settings (ConvertSettings | None): None for the defaults.
    limit (int): The most rows to take of each file or data set, the first ones; 0 for
        all.
    shard_size (int): The most docs in a shard.
    n_process (int): How many processes to use. The output is the same for any number.
    progress (bool): Whether to show a progress bar.
    part (Share): Which of the shards to write; `merge_corpora` joins them.
    RETURNS (dict[str, Any]): The report; of a part, what it is.
    RAISES (NunerError): What `find_sources` and `read_rows` raise, N102 if nothing was
        usable, N010 if the language has no tokenizer, N106 if a process died, N107 if
        the output has the name of a file; what `write_folder` raises.
    """
    settings = settings or ConvertSettings()
    if output_dir.suffix in FILE_SUFFIXES:
        expected = f"the name of a folder, which does not end in {output_dir.suffix}"
        raise NunerError(Errors.N107, path=output_dir, expected=expected)
    sources = find_sources(inputs)
    # An unknown language is reported before anything is written.
    make_tokenizer(settings.lang)
    read = [*inputs, *(source.name for source in sources)]
    with write_folder(
        output_dir, command="convert", inputs=read, leftovers=LEFTOVERS
    ) as work:
        head = {
            "settings": {**settings.to_json(), "limit": limit},
            "inputs": [describe_source(source) for source in sources],
        }
        run = _describe_run(head, shard_size)
        work.begin(run if part == ALL else f"{run} {part}")
        shards, parts = work.target, work.folder / "parts"
        with _kept_from_first_shard(work), make_bar(sources, progress=progress) as bar:
            parts.mkdir(exist_ok=True)
            taken = (islice(read_rows(source), limit or None) for source in sources)
            rows = chain.from_iterable(taken)
            chunks = read_chunks(
                rows, shard_size, shards=shards, parts=parts, settings=settings
            )
            total = 0

            def deal() -> Iterator[Chunk]:
                nonlocal total
                for chunk in chunks:
                    total += 1
                    if chunk.files.number % part.count == part.index:
                        yield chunk
                    else:
                        bar.update(chunk.size)

            write_parts(deal(), n_process=n_process, bar=bar)
            numbers = range(part.index, total, part.count)
            files = [ShardFiles(shards, parts, number) for number in numbers]
            if part == ALL:
                return _join(files, shards, head, sources)
            return _keep_part(files, shards, head, part, total)


def _keep_part(
    files: Sequence[ShardFiles],
    folder: Path,
    head: dict[str, Any],
    part: Share,
    total: int,
) -> dict[str, Any]:
    """Leave beside the shards of a part what `_join` needs of it."""
    (folder / CHUNKS).mkdir(exist_ok=True)
    for one in files:
        for path in (one.quarantine, one.counts):
            shutil.copy(path, folder / CHUNKS)
    described = {"part": part.index + 1, "of": part.count, "chunks": total, **head}
    text = json.dumps(described, ensure_ascii=False, indent=2)
    path = folder / SHARE
    path.write_text(text + "\n", encoding="utf8", errors="backslashreplace")
    return described


def merge_corpora(folders: Sequence[Path], output_dir: Path) -> dict[str, Any]:
    """Join the parts of a conversion: the same files as if one process had made them.

    folders (Sequence[Path]): What `convert` wrote, one for each part, in any order.
    output_dir (Path): The folder to write; one of an earlier run is replaced.
    RETURNS (dict[str, Any]): The report.
    RAISES (NunerError): N656 if a part is missing or they don't belong together, N102
        if nothing was usable; what `write_folder` raises.
    """
    head, found = _read_parts(folders)
    with write_folder(output_dir, command="convert", inputs=folders) as work:
        # The folder may be called like anything else.
        parts = work.new / f"{work.target.name}.{CHUNKS}"
        parts.mkdir()
        files = [ShardFiles(work.target, parts, n) for n in range(head["chunks"])]
        for one in files:
            folder = found[one.number % head["of"] + 1]
            if not _copy_chunk(one, folder):
                reason = f"'{folder}' is not as it was written"
                raise NunerError(Errors.N656, reason=reason)
        names = [Source(one["file"], one["format"]) for one in head["inputs"]]
        shown = {key: head[key] for key in ("settings", "inputs")}
        report = _join(files, work.target, shown, names)
        shutil.rmtree(parts)
        return report


def _read_parts(folders: Sequence[Path]) -> tuple[dict[str, Any], dict[int, Path]]:
    """What the parts have in common, and the folder of each by its number."""
    found: dict[int, Path] = {}
    heads: list[dict[str, Any]] = []
    for folder in folders:
        try:
            head = json.loads((folder / SHARE).read_text(encoding="utf8"))
            number = head.pop("part")
            described = _without_names(head)
            if lacking := {"of", "chunks", "settings"} - set(head):
                raise KeyError(*lacking)
            heads.append(head)
        except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
            reason = f"'{folder}' has no {SHARE} that can be read"
            raise NunerError(Errors.N656, reason=reason) from error
        if number in found:
            reason = f"part {number} is in '{found[number]}' and in '{folder}'"
            raise NunerError(Errors.N656, reason=reason)
        if described != _without_names(heads[0]):
            reason = f"'{folder}' is of another input or of other settings"
            raise NunerError(Errors.N656, reason=reason)
        found[number] = folder
    head = heads[0]
    if missing := sorted(set(range(1, head["of"] + 1)) - set(found)):
        reason = f"missing of {head['of']} are {', '.join(map(str, missing[:10]))}"
        raise NunerError(Errors.N656, reason=reason)
    return head, found


def _copy_chunk(files: ShardFiles, folder: Path) -> bool:
    """Copy what a part has of a chunk; tell whether all of it is there."""
    for path in (files.quarantine, files.counts):
        given = folder / CHUNKS / path.name
        if not given.is_file():
            return False
        shutil.copy(given, path)
    if (shard := folder / files.shard.name).exists():
        shutil.copy(shard, files.shard)
    return files.is_done()


def _without_names(head: dict[str, Any]) -> dict[str, Any]:
    """What must be the same of all parts; paths differ between machines."""
    inputs = []
    for one in head["inputs"]:
        # brat has its text in a file beside.
        text = {"text": {**one["text"], "file": ""}} if "text" in one else {}
        inputs.append({**one, **text, "file": ""})
    return {**head, "inputs": inputs}


def _describe_run(head: dict[str, Any], shard_size: int) -> str:
    run = {"spacy": spacy_version, "version": about.__version__, **head}
    return json.dumps({**run, "shard_size": shard_size}, sort_keys=True)


@contextmanager
def _kept_from_first_shard(work: Work) -> Iterator[None]:
    """Delete the work folder of a run that breaks off before its first shard."""
    if done := sum(1 for _ in work.target.glob("*.spacy")):
        logger.warning("Resuming an interrupted run that wrote %d shards.", done)
    try:
        yield
    except BaseException:
        work.keep = next(work.target.glob("*.spacy"), None) is not None
        raise


def _join(
    files: Sequence[ShardFiles],
    folder: Path,
    head: dict[str, Any],
    sources: Sequence[Source],
) -> dict[str, Any]:
    """Make one report and one quarantine out of those of the chunks."""
    counts = Counts()
    shards: list[dict[str, Any]] = []
    with (folder / QUARANTINE).open("wb") as quarantine:
        for one in files:
            part, shard = one.read()
            counts.update(part)
            if shard is not None:
                shards.append(shard)
            quarantine.write(one.quarantine.read_bytes())
    if not shards:
        raise counts.nothing_usable(sources)
    report = counts.report(**head, shards=shards)
    text = json.dumps(report, ensure_ascii=False, indent=2)
    # A file's name that is not UTF-8 is written as JSON escapes it.
    path = folder / REPORT
    path.write_text(text + "\n", encoding="utf8", errors="backslashreplace")
    return report
