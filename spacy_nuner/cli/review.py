"""`spacy nuner review`: labelled sentences that may be labelled wrongly."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..labelling.tasks import TaskFormat, check_labels
from ._util import OVERWRITE, SOURCE, msg
from .suggest import FORMAT, OUTPUT, open_output, show_tasks

if TYPE_CHECKING:
    from ..labelling.tasks import Task


def review_cli(
    pipeline: str = typer.Argument(
        help="A pipeline that spacy train made: its config says what is trained"
    ),
    labelled: Path = typer.Argument(help=f"Labelled set: {SOURCE}"),
    output: Path = OUTPUT,
    n: int = typer.Option(20, "-n", "--n", help="How many sentences", min=1),
    form: TaskFormat = FORMAT,
    folds: int = typer.Option(
        5, min=2, help="Trainings, each on all but one of so many parts of the set"
    ),
    steps: int | None = typer.Option(
        None, min=1, help="Steps of a training [default: as the config says]"
    ),
    seed: int = typer.Option(0, min=0, help="Another seed, other parts"),
    pipe_name: str | None = typer.Option(
        None, help="Name of the component [default: the first]"
    ),
    gpu_id: int = typer.Option(-1, help="GPU to train on; -1 is the CPU"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Find labels to look at again: where recognisers that never saw them disagree.

    The recogniser is trained anew on parts of the set, and judges the others. Of each
    sentence the labels are written as they are, each with the probability that it has.
    """
    from spacy.cli._util import setup_gpu

    setup_gpu(gpu_id, silent=True)
    tasks, total = review(
        pipeline,
        labelled,
        output,
        n=n,
        form=form,
        folds=folds,
        steps=steps,
        seed=seed,
        pipe_name=pipe_name,
        overwrite=overwrite,
    )
    show_tasks(tasks)
    msg.good(f"{len(tasks):,} of {total:,} labelled sentences: {output}")


def review(
    pipeline: str | Path,
    labelled: str | Path,
    output: str | Path,
    *,
    n: int = 20,
    form: TaskFormat = TaskFormat.jsonl,
    folds: int = 5,
    steps: int | None = None,
    seed: int = 0,
    pipe_name: str | None = None,
    overwrite: bool = False,
) -> "tuple[list[Task], int]":
    """Write the labelled sentences whose labels are most doubtful as tasks.

    pipeline (str | Path): A pipeline that `spacy train` made, or an installed one.
    labelled (str | Path): A labelled set, as `read_docs` reads it.
    output (str | Path): A file, or a folder for brat.
    n (int): How many sentences.
    form (TaskFormat): The form of the output.
    folds (int): Into how many parts the set is cut.
    steps (int | None): Steps of each training; None for as many as the config says.
    seed (int): Another seed, other parts.
    pipe_name (str | None): Name of the component; None for the first.
    overwrite (bool): Replace files that this did not make, too.
    RETURNS (tuple[list[Task], int]): What was written, the most doubtful first, and how
        many sentences there are.
    RAISES (NunerError): N712 for labels that brat can't hold, N713 if the config does
        not say how long to train, N714 if there are too few sentences, N718 if the
        component is frozen; what `load_pipeline`, `read_docs`, `review_docs`
        and `check_name` raise, and what `write_files` or `write_folder` raises.
    """
    from tqdm import tqdm

    from ..corpus.labelled_docs import read_docs
    from ..errors import Errors, NunerError
    from ..labelling.retrain import find_no_end
    from ..labelling.review import review_docs
    from ..labelling.uncertainty import Judge, get_all_spans
    from ..loading import load_pipeline

    inputs = [pipeline, labelled]
    with open_output(output, form, "review", inputs, overwrite=overwrite) as target:
        nlp = load_pipeline(pipeline)
        # Before the trainings: whether there is something to train.
        judge = Judge(nlp, pipe_name)
        config = nlp.config.interpolate()
        if steps is None and (reason := find_no_end(config)):
            raise NunerError(Errors.N713, name=pipeline, reason=reason)
        frozen = config["training"]["frozen_components"]
        if judge.pipe is not None and judge.pipe.name in frozen:
            raise NunerError(Errors.N718, name=judge.pipe.name)
        for name in frozen:
            # spaCy saves from what they were made, not from where they were taken.
            config["components"][name] = {"source": str(pipeline)}
        docs = read_docs(labelled, lang=nlp.lang or "en")
        labels = sorted({span.label_ for doc in docs for span in get_all_spans(doc)})
        check_labels(form, labels)
        with tqdm(total=folds, unit=" trainings", disable=None) as bar:
            tasks = review_docs(
                config,
                docs,
                folds=folds,
                seed=seed,
                steps=steps,
                pipe_name=pipe_name,
                on_fold=bar.update,
            )
        target.write(tasks[:n], labels)
    return tasks[:n], len(tasks)
