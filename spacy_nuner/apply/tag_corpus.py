"""A corpus through a pipeline: cut into parts, tagged, and counted."""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

from spacy.about import __version__ as spacy_version
from tqdm import tqdm

from .. import about
from ..errors import Errors, NunerError, Warnings
from ..files import hash_file
from ..outputs import MANIFEST, Work, write_folder
from ..parallel import write_parts
from ..readers.hub import HUB_PREFIX, find_on_hub, parse_hub_name
from ..readers.sources import (
    FILE_SUFFIXES,
    PACKED,
    QUARANTINE,
    STDIN,
    describe_source,
    unreadable,
)
from ..readers.texts import TextRow, find_texts, read_texts
from .parts import (
    PartFiles,
    TextPart,
    choose_part_size,
    cut_into_parts,
    get_tagger,
    start_tagging,
)
from .tagger import TagSettings, add_counts

Engine = Literal["local", "ray"]
# What reads a folder of Parquet passes over names that begin like these.
REPORT = "_report.json"
FAILED_ROWS = f"_{QUARANTINE}"
# What a run that broke off leaves: what is said of parts, and tagged parts.
LEFTOVERS = (
    r"parts/\d{6,}\.(json|jsonl)|parts/\d{6,}\.(json|jsonl|parquet|spacy)\.\d+"
    rf"|new/.*/(\d{{6,}}\.(parquet|jsonl|spacy)|{re.escape(REPORT)}"
    rf"|{re.escape(FAILED_ROWS)}|{re.escape(MANIFEST)})"
)

# Seconds between two lines about the progress where there is no terminal.
PAUSE = 60

logger = logging.getLogger("spacy_nuner")


class Applied(NamedTuple):
    """What a run did.

    report (dict[str, Any]): The content of _report.json.
    words (int): The words that this run tagged; what was done before is not counted.
    seconds (float): How long that took, in seconds. With several processes and on Ray
        each of them loads the pipeline in this time.
    """

    report: dict[str, Any]
    words: int
    seconds: float


class Corpus(NamedTuple):
    """What is read, which stays the same from the first run to the last.

    source (str): A file, a folder or a data set on the hub.
    described (list[dict[str, Any]]): Its files with sizes and hashes, or its commit.
    total (int | None): The bytes of its files.
    is_plain (bool): Whether rows have the size that they have in the file.
    """

    source: str
    described: list[dict[str, Any]]
    total: int | None
    is_plain: bool

    def read(self, settings: TagSettings) -> Iterator[TextRow]:
        """YIELDS (TextRow): Its rows. RAISES (NunerError): See `read_texts`."""
        first = self.described[0]
        yield from read_texts(
            self.source,
            field=settings.field,
            keep=[settings.id_field],
            unit=settings.unit,
            split=first.get("split"),
            revision=first.get("revision"),
        )


def find_corpus(source: str, earlier: dict[str, Any] | None = None) -> Corpus:
    """Find out what is to be read, and identify it.

    source (str): A file, a folder of files, or "hub:NAME:CONFIG:SPLIT".
    earlier (dict[str, Any] | None): The run that may be gone on with, whose data set
        on the hub stays at its commit.
    RETURNS (Corpus): The corpus.
    RAISES (NunerError): N005, N104 or N201 if it can't be read.
    """
    if source.startswith(HUB_PREFIX):
        one = _find_set(source, earlier or {})
        return Corpus(one["file"], [one], None, False)
    if source == STDIN:
        raise unreadable(STDIN, OSError("standard input can't be read twice"))
    described: list[dict[str, Any]] = []
    for name in find_texts(source):
        path = Path(name)
        try:
            size, digest = path.stat().st_size, hash_file(path)
        except (OSError, ValueError) as error:
            reason = error if isinstance(error, OSError) else OSError(str(error))
            raise unreadable(name, reason) from error
        inside = os.path.relpath(name, source) if name != source else path.name
        described.append({"file": inside, "bytes": size, "sha256": digest})
    # Read from other folders too.
    source = os.path.abspath(source)
    total = sum(one["bytes"] for one in described)
    is_plain = not any(one["file"].lower().endswith(PACKED) for one in described)
    return Corpus(source, described, total, is_plain)


def _find_set(source: str, earlier: dict[str, Any]) -> dict[str, Any]:
    """Describe a data set by its commit, or by the files of its folder."""
    parts = parse_hub_name(source)
    for before in earlier.get("input", ()):
        if not before.get("revision"):
            continue
        same = parse_hub_name(before["file"])._replace(revision=before["revision"])
        if before["file"] == source or same == parts:
            # In the order in which a new run writes them.
            return {key: before[key] for key in ("file", "split", "revision")}
    described = describe_source(find_on_hub(source))
    del described["format"]
    return described


def _has_changed(corpus: Corpus, source: str, run: dict[str, Any]) -> bool:
    try:
        return find_corpus(source, run).described != corpus.described
    except NunerError:
        # It is not there any more. What was read of it is tagged.
        return True


def tag_corpus(
    settings: TagSettings,
    source: str,
    output: Path,
    *,
    n_process: int = 1,
    engine: Engine = "local",
    part_size: int | None = None,
    progress: bool = True,
) -> Applied:
    """Tag a corpus with a pipeline, part by part.

    A run that broke off is resumed by the same call: its parts are in `<output>.work`.
    If the output is there already, from the same pipeline, settings and input, nothing
    is done.

    settings (TagSettings): The pipeline and how it is applied.
    source (str): A file, a folder of files, or "hub:NAME:CONFIG:SPLIT".
    output (Path): The folder to write; one of an earlier run is replaced.
    n_process (int): How many processes tag. The output is the same for any number.
    engine (Engine): "local" for processes of this machine, "ray" for a Ray cluster.
    part_size (int | None): The characters of a part; None to choose.
    progress (bool): Whether to show a progress bar.
    RETURNS (Applied): The report, and how fast it was.
    RAISES (NunerError): What `find_corpus`, `read_texts`, `Tagger` and `write_folder`
        raise, N106 if a process died, N651 if parts of another run are there, N653 if
        the corpus has no row, N654 if the output has the name of a file, what
        `tag_on_ray` raises.
    """
    if output.suffix in FILE_SUFFIXES:
        raise NunerError(Errors.N654, path=output)
    inputs = [source, settings.pipeline]
    with write_folder(
        output, command="apply", inputs=inputs, leftovers=LEFTOVERS
    ) as work:
        earlier = _read_earlier(work)
        corpus = find_corpus(source, earlier)
        size = part_size or choose_part_size(corpus.total)
        run = {
            "version": about.__version__,
            "spacy": spacy_version,
            "settings": settings.to_json(),
            "part_size": size,
            "input": corpus.described,
        }
        if report := _read_finished(work.path, run):
            logger.warning("'%s' is there already, from the same input.", output)
            # The parts of a run of other settings, which is not this one's to end.
            work.unfinished = work.keep and earlier != run
            return Applied(report, 0, 0.0)
        if engine == "local" and n_process == 1:
            # No part of the speed.
            get_tagger(settings)
        _begin(work, run, earlier)
        start = perf_counter()
        with _make_bar(corpus, progress=progress) as bar:
            count, words = _tag(
                work, corpus, settings, size, bar, n_process=n_process, engine=engine
            )
        seconds = perf_counter() - start
        if not count:
            work.keep = False
            raise NunerError(Errors.N653, source=source)
        if _has_changed(corpus, source, run):
            message = Warnings.W714.format(source=source, output=output)
            warnings.warn(message, stacklevel=2)
        return Applied(_join(work, settings, run, count), words, seconds)


def _tag(
    work: Work,
    corpus: Corpus,
    settings: TagSettings,
    size: int,
    bar: tqdm,
    *,
    n_process: int,
    engine: Engine,
) -> tuple[int, int]:
    """Tag what is not tagged yet; give the number of parts and of words."""
    folder = work.folder / "parts"
    folder.mkdir(exist_ok=True)
    cut: Callable[[], Iterator[TextPart]] = partial(
        _cut, corpus, settings, size, work.target, folder
    )
    start, words = perf_counter(), 0

    def count(more: int) -> None:
        nonlocal words
        words += more
        speed = words / (perf_counter() - start)
        bar.set_postfix_str(f"{speed:,.0f} words/s", refresh=False)

    try:
        if engine == "ray":
            from .on_ray import tag_on_ray

            def get_files(number: int) -> PartFiles:
                return PartFiles(work.target, folder, number, settings.form)

            parts = tag_on_ray(
                cut,
                settings,
                get_files,
                n_workers=n_process,
                bar=bar,
                on_written=count,
            )
        else:
            parts = write_parts(
                cut(),
                n_process=n_process,
                bar=bar,
                prepare=start_tagging,
                on_written=count,
            )
    except BaseException:
        # Nothing to go on with, so nothing is left.
        work.keep = any(work.target.iterdir())
        raise
    return parts, words


def _cut(
    corpus: Corpus, settings: TagSettings, size: int, folder: Path, parts: Path
) -> Iterator[TextPart]:
    rows = corpus.read(settings)
    return cut_into_parts(rows, size, folder=folder, parts=parts, settings=settings)


def _read_earlier(work: Work) -> dict[str, Any]:
    """Read what a run that broke off was; empty if there is none."""
    before = work.read_run()
    if before is None or before["command"] != work.command or not before["run"]:
        return {}
    return json.loads(before["run"])


def _begin(work: Work, run: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Go on with the parts that are there, if they are of the same run."""
    done = sum(1 for _ in work.target.glob("*")) if work.target.is_dir() else 0
    if done and earlier:
        names = {
            "version": "the version of spacy-nuner",
            "spacy": "the version of spaCy",
            "part_size": "the size of the parts",
            "input": "the input",
        }
        changed = [text for key, text in names.items() if earlier.get(key) != run[key]]
        settings = earlier.get("settings") or {}
        changed += [
            "the files of the pipeline" if key == "sha256" else f"the setting {key}"
            for key, value in run["settings"].items()
            if settings.get(key) != value
        ]
        if changed:
            raise NunerError(
                Errors.N651, path=work.folder, count=done, changed=", ".join(changed)
            )
        logger.warning("Resuming an interrupted run that tagged %d parts.", done)
    work.begin(json.dumps(run, sort_keys=True))


def _read_finished(output: Path, run: dict[str, Any]) -> dict[str, Any] | None:
    """Read the report of an output, if it is whole and of this run."""
    try:
        report = json.loads((output / REPORT).read_text(encoding="utf8"))
        files = json.loads((output / MANIFEST).read_text(encoding="utf8"))["files"]
        whole = all((output / n).stat().st_size == size for n, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    same = isinstance(report, dict) and all(report.get(k) == v for k, v in run.items())
    return report if same and whole else None


class _Lines:
    """Standard error where it is no terminal: each state of a bar is a line."""

    def write(self, text: str) -> None:
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _make_bar(corpus: Corpus, *, progress: bool) -> tqdm:
    is_terminal = sys.stderr.isatty()
    return tqdm(
        total=corpus.total if corpus.is_plain else None,
        unit="B",
        unit_scale=True,
        # The mean since the start: parts come in groups.
        smoothing=0,
        disable=not progress,
        file=sys.stderr if is_terminal else _Lines(),
        mininterval=0.1 if is_terminal else PAUSE,
        miniters=1,
    )


def _join(
    work: Work, settings: TagSettings, run: dict[str, Any], count: int
) -> dict[str, Any]:
    """Make one report and one file of failed rows out of those of the parts."""
    parts, all_counts = [], []
    folder = work.folder / "parts"
    with (work.target / FAILED_ROWS).open("wb") as file:
        for number in range(count):
            files = PartFiles(work.target, folder, number, settings.form)
            part, counts = files.read_notes()
            parts.append({**part, "rows": counts.tagged, "words": counts.words})
            all_counts.append(counts)
            file.write(files.failed.read_bytes())
    total = add_counts(all_counts)
    report = {
        "pipeline": settings.pipeline,
        **run,
        "counts": total.to_json(),
        "parts": parts,
    }
    text = json.dumps(report, ensure_ascii=False, indent=2)
    # A file's name that is not UTF-8 is written as JSON escapes it.
    path = work.target / REPORT
    path.write_text(text + "\n", encoding="utf8", errors="backslashreplace")
    return report
