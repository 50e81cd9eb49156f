"""`spacy nuner suggest`: which sentences to label next."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from ..errors import Errors, NunerError, Warnings
from ..labelling.strategies import Strategy
from ..labelling.tasks import FORMS, TaskFormat, check_labels, check_name
from ._util import (
    FIELD,
    MAX_DOCUMENTS,
    MAX_WORDS,
    MIN_WORDS,
    OVERWRITE,
    SOURCE,
    SPLIT,
    SPLITTER,
    msg,
)

if TYPE_CHECKING:
    from spacy.language import Language

    from ..labelling.suggest import SuggestReport
    from ..labelling.tasks import Task


OUTPUT = typer.Argument(
    help="File to write: .jsonl (jsonl, prodigy, doccano), .json (label-studio, "
    "argilla) or .spacy; a folder for brat"
)
FORMAT = typer.Option(
    TaskFormat.jsonl, "--format", help="What labelling tool the file is for"
)
PIPE_NAME = typer.Option(
    None, help="Name of the component [default: the first of this package]"
)
# How many sentences are printed.
MOST_SHOWN = 10


def suggest_cli(
    pipeline: list[str] = typer.Argument(
        None,
        metavar="[PIPELINE]",
        help="A folder that spacy train or nlp.to_disk wrote, or an installed pipeline",
    ),
    texts: str = typer.Argument(
        help="What sample reads: a file of JSON Lines, text (plain, .gz, .bz2, .xz, "
        ".zst) or Parquet, a folder of those, hub:NAME:CONFIG, or - for standard input"
    ),
    output: Path = OUTPUT,
    n: int = typer.Option(20, "-n", "--n", help="How many sentences", min=1),
    form: TaskFormat = FORMAT,
    labelled: Path | None = typer.Option(
        None,
        help="What is labelled already: it is left out, with what was rejected or "
        f"ignored, and labels that it has few of come first; {SOURCE}",
    ),
    backbone: str | None = typer.Option(
        None,
        help="In place of PIPELINE, for the first round: a backbone that finds "
        "--labels by their names; default, a folder or a hub name",
    ),
    labels: Path | None = typer.Option(
        None,
        help="JSON of labels for --backbone: a list, label -> description, or label -> "
        "object with name and description",
    ),
    by: Strategy = typer.Option(
        Strategy.cover,
        help="cover: what stands for most of what may be found; uncertainty: what is "
        "unsure; random: any",
    ),
    seed: int = typer.Option(0, min=0, help="Another seed, another choice at random"),
    field: str = FIELD,
    splitter: str = SPLITTER,
    lang: str | None = typer.Option(
        None, help="spaCy's code of the language [default: the pipeline's, else en]"
    ),
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    max_documents: int | None = MAX_DOCUMENTS,
    split: str = SPLIT,
    pipe_name: str | None = PIPE_NAME,
    gpu_id: int = typer.Option(-1, help="GPU to tag on; -1 is the CPU"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Choose the sentences that are most worth labelling, with spans to be corrected.

    What comes back from the tool is read by import. What can't be read or tagged goes
    to NAME.quarantine.jsonl (in brat's folder to quarantine.jsonl).
    """
    from spacy.cli._util import setup_gpu

    if len(pipeline or []) > 1:
        found = f"{len(pipeline)} pipelines: {', '.join(pipeline)}"
        raise NunerError(Errors.N710, found=found)
    setup_gpu(gpu_id, silent=True)
    tasks, report = suggest(
        pipeline[0] if pipeline else None,
        texts,
        output,
        n=n,
        form=form,
        labelled=labelled,
        backbone=backbone,
        labels=labels,
        by=by,
        seed=seed,
        field=field,
        splitter=splitter,
        lang=lang,
        min_words=min_words,
        max_words=max_words,
        max_documents=max_documents,
        split=split,
        pipe_name=pipe_name,
        overwrite=overwrite,
    )
    if report.tally.total():
        msg.warn(Warnings.W201.format(source=texts, found=report.tally.describe()))
    if report.unscored and by != Strategy.random:
        msg.warn(Warnings.W711.format())
    if len(tasks) < n:
        msg.warn(Warnings.W710.format(n=n, found=len(tasks)))
    show_tasks(tasks)
    done = f", {report.labelled:,} labelled already" if report.labelled else ""
    msg.good(
        f"{len(tasks):,} sentences in {output}, out of {report.sentences:,} "
        f"({report.outside:,} outside {min_words} to {max_words} words{done})"
    )


def suggest(
    pipeline: "str | Path | None",
    texts: str,
    output: str | Path,
    *,
    n: int = 20,
    form: TaskFormat = TaskFormat.jsonl,
    labelled: Path | None = None,
    backbone: str | None = None,
    labels: Path | None = None,
    by: Strategy = Strategy.cover,
    seed: int = 0,
    field: str = "text",
    splitter: str = "rule",
    lang: str | None = None,
    min_words: int = 5,
    max_words: int = 80,
    max_documents: int | None = None,
    split: str = "train",
    pipe_name: str | None = None,
    overwrite: bool = False,
) -> "tuple[list[Task], SuggestReport]":
    """Choose the sentences that are most worth labelling and write them as tasks.

    pipeline (str | Path | None): A folder, or the name of an installed pipeline; None
        with `backbone`.
    texts (str): What `annotate.sample.read_documents` takes.
    output (str | Path): A file, or a folder for brat.
    n (int): How many sentences.
    form (TaskFormat): The form of the output.
    labelled (Path | None): What is labelled already, as `read_docs` reads it. What a
        person refused in it is left out too.
    backbone (str | None): A backbone that finds labels by their names.
    labels (Path | None): JSON of these labels, see `read_labels`.
    by (Strategy): The strategy.
    seed (int): Another seed, another choice at random.
    field (str): The field that holds the text.
    splitter (str): "rule", "line", or the name of a spaCy pipeline.
    lang (str | None): spaCy's code of the language; None for that of the pipeline, and
        with `backbone` for English.
    min_words (int): The shortest sentence, in words.
    max_words (int): The longest sentence, in words.
    max_documents (int | None): Stop reading after so many documents.
    split (str): The split of a data set on the hub.
    pipe_name (str | None): Name of the component.
    overwrite (bool): Replace files that this did not make, too.
    RETURNS (tuple[list[Task], SuggestReport]): What was chosen, and from what.
    RAISES (NunerError): N710 without one pipeline or backbone, N711 if it sets no
        spans, N712 for labels that brat can't hold, N715 if there is nothing to choose
        from; what `load_pipeline`, `make_tagger`, `read_docs`, `read_documents`,
        `load_splitter` and `check_name` raise, and what `write_files` or `write_folder`
        raises.
    """
    import itertools

    from ..annotate.sample import LINE, Document, load_splitter, read_documents
    from ..corpus.labelled_docs import read_docs, read_skipped
    from ..labelling.suggest import (
        FAILED,
        QuarantineTally,
        SuggestReport,
        split_documents,
        suggest_tasks,
    )
    from ..labelling.uncertainty import Judge

    given = [one for one in (pipeline, texts, labelled, backbone, labels) if one]
    with open_output(output, form, "suggest", given, overwrite=overwrite) as target:
        judge = Judge(_load(pipeline, backbone, labels, lang or "en"), pipe_name)
        lang = lang or judge.nlp.lang or "en"
        check_labels(form, judge.written_labels)
        known, skipped = [], []
        if labelled is not None:
            known = read_docs(labelled, lang=lang, allow_empty=True)
            skipped = read_skipped(labelled)
        gold = {span.label_ for doc in known for span in judge.get_gold(doc)}
        check_labels(form, sorted(gold))
        nlp = load_splitter(splitter, lang)
        # Sentences of what was labelled as a longer text.
        done = split_documents(
            nlp,
            (Document(text, "", "") for text in [*(d.text for d in known), *skipped]),
            SuggestReport(),
            min_words=min_words,
            max_words=max_words,
        )
        with target.open_quarantine() as file:
            report = SuggestReport(tally=QuarantineTally(file))
            documents = itertools.islice(
                read_documents(
                    texts,
                    tally=report.tally,
                    field=field,
                    split=split,
                    seed=seed,
                    by_line=splitter == LINE,
                ),
                max_documents,
            )
            sentences = split_documents(
                nlp, documents, report, min_words=min_words, max_words=max_words
            )
            with _show_progress() as on_batch:
                tasks = suggest_tasks(
                    judge,
                    sentences,
                    n,
                    by=by,
                    labelled=known,
                    skipped=skipped,
                    done=(one.text for one in done),
                    seed=seed,
                    report=report,
                    on_batch=on_batch,
                )
        if not tasks:
            reason = (
                f"{report.sentences} sentences, {report.labelled} of them labelled, "
                f"and {report.outside} outside the limits of words ({lang})"
            )
            reason += f"; {report.tally.describe()}" if report.tally.total() else ""
            if first := report.tally.first.get(FAILED):
                reason += f", {first.detail}"
            raise NunerError(Errors.N715, source=texts, reason=reason)
        # Other components may set entities too.
        others = gold | {mark.label for task in tasks for mark in task.marks}
        target.write(tasks, list(dict.fromkeys([*judge.labels, *sorted(others)])))
    return tasks, report


def _load(
    pipeline: "str | Path | None", backbone: str | None, labels: Path | None, lang: str
) -> "Language":
    """Load the pipeline, or make one that knows labels by their names alone."""
    from ..loading import load_pipeline

    if pipeline is not None and backbone is None and labels is None:
        return load_pipeline(pipeline)
    if pipeline is not None or backbone is None or labels is None:
        options = {"a pipeline": pipeline, "--backbone": backbone, "--labels": labels}
        found = " and ".join(name for name, value in options.items() if value)
        raise NunerError(Errors.N710, found=found or "neither of both")
    from ..fewshot.zero_shot import make_tagger
    from ..pipeline.labels import read_labels

    return make_tagger(backbone, read_labels(labels), lang=lang)


class Target:
    """Where tasks are written, with what could not be read."""

    def __init__(self, path: Path, form: TaskFormat) -> None:
        """Name the files.

        path (Path): The file or folder while it is written.
        form (TaskFormat): Its form.
        """
        from ..readers.sources import QUARANTINE

        self.path = path
        self.form = FORMS[form]
        if self.form.suffix:
            self.quarantine = path.with_suffix(f".{QUARANTINE}")
        else:
            self.quarantine = path / QUARANTINE

    def open_quarantine(self) -> IO[str]:
        """RETURNS (IO[str]): The file of what can't be read or tagged, open."""
        # A byte that is not UTF-8 is written as JSON escapes its surrogate.
        return self.quarantine.open("w", encoding="utf8", errors="backslashreplace")

    def write(self, tasks: "list[Task]", labels: list[str]) -> None:
        """Write the tasks; a quarantine without a row is none.

        tasks (list[Task]): The tasks.
        labels (list[str]): All labels, for the tool.
        """
        self.form.write(tasks, labels, self.path)
        if self.quarantine.exists() and not self.quarantine.stat().st_size:
            self.quarantine.unlink()


@contextmanager
def open_output(
    output: str | Path,
    form: TaskFormat,
    command: str,
    inputs: list[Any],
    *,
    overwrite: bool,
) -> Iterator[Target]:
    """Claim the output of `suggest` or `review`.

    output (str | Path): A file, or a folder for brat.
    form (TaskFormat): Its form.
    command (str): The command.
    inputs (list): What it reads.
    overwrite (bool): Replace files that the command did not make.
    YIELDS (Target): Where to write.
    RAISES (NunerError): What `check_name`, and `write_files` or `write_folder`, raise.
    """
    from ..outputs import write_files, write_folder

    output = Path(output)
    paths = check_name(output, form)
    if not paths:
        with write_folder(output, command=command, inputs=inputs) as work:
            yield Target(work.target, form)
        return
    paths.append(Target(output, form).quarantine)
    with write_files(
        paths, command=command, inputs=inputs, overwrite=overwrite
    ) as folder:
        yield Target(folder / output.name, form)


@contextmanager
def _show_progress() -> Iterator[Any]:
    import time

    from tqdm import tqdm

    start, words = time.perf_counter(), 0
    with tqdm(unit=" sentences", disable=None) as bar:

        def on_batch(more: int, more_words: int) -> None:
            nonlocal words
            words += more_words
            speed = words / (time.perf_counter() - start)
            bar.set_postfix_str(f"{speed:,.0f} words/s", refresh=False)
            bar.update(more)

        yield on_batch


def show_tasks(tasks: "list[Task]") -> None:
    """Print the first tasks, and why they were chosen.

    tasks (list[Task]): The tasks.
    """
    from ..printing import shorten

    rows = [
        (f"{task.score:.2f}", shorten(task.text, 60), shorten(task.reason, 90))
        for task in tasks[:MOST_SHOWN]
    ]
    msg.table(rows, header=("score", "sentence", "why"), divider=True)
