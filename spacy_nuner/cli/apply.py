"""`spacy nuner apply`: a corpus of any size through any pipeline."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..printing import shorten
from ._util import msg

if TYPE_CHECKING:
    from ..apply.tag_corpus import Applied

# The exit code of a run that is complete, but for rows that could not be tagged.
SOME_FAILED = 3
# How many labels are printed.
MOST_LABELS = 10


class OutputForm(StrEnum):
    """What the tagged rows are written as."""

    parquet = "parquet"
    jsonl = "jsonl"
    docbin = "docbin"


class RowOfText(StrEnum):
    """What is a row of a text file."""

    line = "line"
    paragraph = "paragraph"
    file = "file"


class Engine(StrEnum):
    """Where the parts are tagged."""

    local = "local"
    ray = "ray"


def apply_cli(
    pipeline: str = typer.Argument(
        help="A folder that nlp.to_disk or spacy train wrote, or an installed pipeline"
    ),
    source: str = typer.Argument(
        metavar="INPUT",
        help="A file of JSON Lines or text (plain, .gz, .bz2, .xz, .zst) or Parquet, "
        "a folder of those, or a data set on the hub as hub:NAME:CONFIG:SPLIT",
    ),
    output: Path = typer.Argument(
        help="Folder to write, a file a part; an earlier one of apply is replaced"
    ),
    form: OutputForm = typer.Option(OutputForm.parquet, help="Form of the parts"),
    field: str = typer.Option("text", help="Field or column of the text"),
    id_field: str = typer.Option(
        "id", help="Field or column of the id; rows without one get file:row"
    ),
    unit: RowOfText = typer.Option(RowOfText.line, help="What is a row of a text file"),
    keep_text: bool = typer.Option(
        True, "--text/--no-text", help="Write the texts of the rows too"
    ),
    n_process: int = typer.Option(
        1,
        help="How many processes tag, or workers of the cluster; the output is the "
        "same, but one process uses all cores, and then the last digits of scores may "
        "differ",
        min=1,
    ),
    gpu_id: int = typer.Option(-1, help="GPU to tag on; -1 is the CPU"),
    engine: Engine = typer.Option(
        Engine.local, help="Where to tag: processes of this machine, or a Ray cluster"
    ),
) -> None:
    """Tag a corpus: entities and spans with their scores, as Parquet, JSON or DocBin.

    Stop or kill it at any time: the same command goes on where it was, and every row
    is there once. Rows that can't be tagged are in _quarantine.jsonl with their reason;
    the exit code is 3 if there are any.
    """
    applied = apply(
        pipeline,
        source,
        output,
        form=form.value,
        field=field,
        id_field=id_field,
        unit=unit.value,
        keep_text=keep_text,
        n_process=n_process,
        gpu_id=gpu_id,
        engine=engine.value,
    )
    show_applied(applied, output)
    if applied.report["counts"]["failed"]:
        raise typer.Exit(SOME_FAILED)


def apply(
    pipeline: str | Path,
    source: str | Path,
    output: Path,
    *,
    form: str = "parquet",
    field: str = "text",
    id_field: str = "id",
    unit: str = "line",
    keep_text: bool = True,
    n_process: int = 1,
    gpu_id: int = -1,
    engine: str = "local",
    progress: bool = True,
) -> "Applied":
    """Tag a corpus with a pipeline; see `tag_corpus`.

    pipeline (str | Path): A folder, or the name of an installed pipeline.
    source (str | Path): A file, a folder of files, or "hub:NAME:CONFIG:SPLIT".
    output (Path): The folder to write.
    form (str): "parquet", "jsonl" or "docbin".
    field (str): The field of the text.
    id_field (str): The field of the id.
    unit (str): What is a row of a text file: "line", "paragraph" or "file".
    keep_text (bool): Whether to write the texts.
    n_process (int): How many processes tag.
    gpu_id (int): The GPU to tag on; -1 is the CPU.
    engine (str): "local" or "ray".
    progress (bool): Whether to show a progress bar.
    RETURNS (Applied): The report, and how fast it was.
    RAISES (NunerError): What `hash_pipeline` and `tag_corpus` raise.
    """
    from ..apply.tag_corpus import tag_corpus
    from ..apply.tagger import TagSettings, hash_pipeline

    settings = TagSettings(
        pipeline=str(pipeline),
        sha256=hash_pipeline(str(pipeline)),
        form=form,  # type: ignore[arg-type]
        field=field,
        id_field=id_field,
        unit=unit,  # type: ignore[arg-type]
        keep_text=keep_text,
        gpu_id=gpu_id,
    )
    return tag_corpus(
        settings,
        str(source),
        Path(output),
        n_process=n_process,
        engine=engine,  # type: ignore[arg-type]
        progress=progress,
    )


def show_applied(applied: "Applied", output: Path) -> None:
    """Print what became of the rows and what was found.

    applied (Applied): What the run did.
    output (Path): What was written.
    """
    from ..apply.tag_corpus import FAILED_ROWS

    counts = applied.report["counts"]
    rows = [("read", counts["rows"]), ("tagged", counts["tagged"])]
    rows += [("  without a word", counts["empty"])] if counts["empty"] else []
    rows += [("  tagged in pieces", counts["cut"])] if counts["cut"] else []
    rows += [(f"failed: {why}", count) for why, count in counts["failed"].items()]
    msg.divider("Rows")
    width = max(40, *(len(name) for name, _ in rows))
    msg.table([(name, f"{count:,}") for name, count in rows], widths=(width, 12))
    found = {"entities": counts["entities"]}
    found |= {f"spans {key}": names for key, names in counts["spans"].items()}
    for name, labels in found.items():
        most = sorted(labels.items(), key=lambda one: (-one[1], one[0]))
        top = ", ".join(f"{shorten(k, 40)} {n:,}" for k, n in most[:MOST_LABELS])
        msg.text(f"{sum(labels.values()):,} {name}: {top or 'none'}")
    if applied.words:
        speed = applied.words / applied.seconds
        msg.text(
            f"{applied.words:,} words in {applied.seconds:,.1f} s: {speed:,.0f} words/s"
        )
    parts = len(applied.report["parts"])
    msg.good(
        f"{counts['tagged']:,} of {counts['rows']:,} rows, {counts['words']:,} words: "
        f"{output} ({parts} {'part' if parts == 1 else 'parts'})"
    )
    if failed := sum(counts["failed"].values()):
        msg.warn(f"{failed:,} rows were not tagged, and why: {output / FAILED_ROWS}")
