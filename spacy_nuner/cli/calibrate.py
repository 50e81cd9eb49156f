"""`spacy nuner calibrate`: a threshold and a temperature for a trained component."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._util import NO_THRESHOLD, OVERWRITE, SOURCE, msg

if TYPE_CHECKING:
    from ..pipeline.calibration import LabelledLogits
    from ..pipeline.label_pipe import LabelPipe

# In a pipeline that this command wrote, and in the folder of the figures.
RESULTS = "calibration.json"
FIGURE = "reliability"


def calibrate_cli(
    pipeline: Path = typer.Argument(
        ..., help="Saved pipeline with nuner_concepts or nuner_ner"
    ),
    data: Path = typer.Argument(
        ..., help=f"Labelled dev set, not the test set: {SOURCE}"
    ),
    output: Path | None = typer.Argument(
        None, help="Folder for the calibrated pipeline [default: only print]"
    ),
    per_concept: bool = typer.Option(
        False, "--per-concept", help="One threshold a label instead of one for all"
    ),
    pipe_name: str | None = typer.Option(
        None, help="Name of the component [default: the first one]"
    ),
    report: Path | None = typer.Option(
        None, help="Folder for figures of how far the probabilities can be trusted"
    ),
    gpu_id: int = typer.Option(-1, help="GPU to use, -1 is the CPU"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Find the threshold and the temperature of a saved pipeline on labelled data.

    Prints the F1 of spans before and after. With OUTPUT the calibrated pipeline is
    written there: the threshold is in its config, those of --per-concept are saved with
    the component, and the weights of the output layer are divided by the temperature.
    """
    from spacy.cli._util import setup_gpu

    from ..errors import Warnings

    setup_gpu(gpu_id)
    found = calibrate(
        pipeline,
        data,
        output,
        per_concept=per_concept,
        pipe_name=pipe_name,
        report=report,
        overwrite=overwrite,
    )
    spans, temperature, threshold = (
        found[key] for key in ("spans", "temperature", "threshold")
    )
    if temperature is None:
        msg.warn(Warnings.W505.format(path=data, count=spans))
    before, after = (100 * found["f1"][key] for key in ("before", "after"))
    values = [] if temperature is None else [f"temperature {temperature:.2f}"]
    if threshold is not None:
        values.append(f"threshold {threshold}")
    text = f"F1 of {spans} spans {before:.1f} before, {after:.1f} after"
    msg.info("; ".join([text, *values]))
    if threshold is None:
        msg.info(NO_THRESHOLD)
    if after < before:
        msg.warn(Warnings.W506.format(count=spans, before=before, after=after))
    elif output is not None:
        msg.good(f"Calibrated pipeline: {output}")
    if report is not None:
        msg.info(f"How far the probabilities can be trusted: {report}")


def calibrate(
    pipeline: str | Path,
    data: str | Path,
    output: str | Path | None = None,
    *,
    per_concept: bool = False,
    pipe_name: str | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Find the threshold and the temperature of a saved pipeline on labelled data.

    pipeline (str | Path): A saved pipeline.
    data (str | Path): A labelled set, as `read_docs` reads it.
    output (str | Path | None): Folder for the calibrated pipeline. It is written only
        if it finds no less on the data.
    per_concept (bool): Find one threshold a label instead of one for all.
    pipe_name (str | None): Name of the component; None for the first one.
    report (str | Path | None): Folder for figures of the probabilities.
    overwrite (bool): Replace files in that folder that this did not make, too.
    RETURNS (dict[str, Any]): The number of annotated spans, F1 before and after (from
        0 to 1), the temperature (None if none is best) and the threshold (None for
        nuner_ner).
    RAISES (NunerError): N505 if nothing is annotated, N517 if what would be saved can't
        be loaded; what `load_pipe`, `write_folder` and `write_files` raise.
    """
    import srsly

    from ..corpus.labelled_docs import read_docs
    from ..outputs import check_output, write_files, write_folder
    from ..pipeline import calibration as found_by
    from ..pipeline.nuner_concepts import NunerConcepts
    from ..printing import printable
    from ..readers.docbin import copy_words
    from ._pipeline import load_pipe

    with ExitStack() as stack:
        pages = target = None
        if report is not None:
            from ..plotting import get_paths

            report = check_output(report, inputs=[pipeline, data], folder=True)
            pages = stack.enter_context(
                write_files(
                    [report / RESULTS, *get_paths(report / FIGURE)],
                    command="calibrate --report",
                    overwrite=overwrite,
                )
            )
        if output is not None:
            # The report is there by now, and is not to be in what is replaced.
            inputs = [pipeline, data, *([] if report is None else [report])]
            work = write_folder(output, command="calibrate", inputs=inputs)
            target = stack.enter_context(work).target
        nlp, pipe = load_pipe(pipeline, pipe_name)
        references = read_docs(data, lang=nlp.lang or "en")
        with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(pipe.name)]):
            # The tokens of the annotation, so that each of its spans can be found.
            docs = list(nlp.pipe(copy_words(doc, nlp.vocab) for doc in references))
        before = found_by.get_labelled_logits(pipe, docs, references)
        found, after = _find(pipe, before, per_concept=per_concept)
        found = {"data": printable(Path(data).name), **found}
        if pages is not None:
            from ..fewshot.figures import draw_reliability

            curves = {"before": before, "after": after}
            rows = {key: found_by.get_reliability(one) for key, one in curves.items()}
            srsly.write_json(pages / RESULTS, {**found, "reliability": rows})
            draw_reliability(rows, pages / FIGURE)
        if target is None or found["f1"]["after"] < found["f1"]["before"]:
            return found
        found_by.fold_temperature(pipe, found["temperature"] or 1.0)
        if isinstance(pipe, NunerConcepts):
            pipe.threshold = found["threshold"]
            if not per_concept:
                nlp.get_pipe_config(pipe.name)["threshold"] = found["threshold"]
        nlp.to_disk(target)
        _check(target, pipe, output)
        srsly.write_json(target / RESULTS, found)
        return found


def _find(
    pipe: "LabelPipe", before: "LabelledLogits", *, per_concept: bool
) -> tuple[dict[str, Any], "LabelledLogits"]:
    """Find temperature and thresholds, and the logits that they are for."""
    from ..pipeline import calibration as found_by
    from ..pipeline.nuner_concepts import NunerConcepts

    f1 = {"before": before.get_f1(pipe.thresholds)}
    threshold: Any = None
    # Where the likeliest probabilities would cost F1, they stay as they are.
    for temperature in (found_by.fit_temperature(before), 1.0):
        after = before.divide(temperature or 1.0)
        thresholds = pipe.thresholds
        if isinstance(pipe, NunerConcepts):
            threshold, each = found_by.find_thresholds(after)
            thresholds = each if per_concept else each * 0 + threshold
            if per_concept:
                threshold = dict(zip(pipe.labels, each.tolist(), strict=True))
        f1["after"] = after.get_f1(thresholds)
        if f1["after"] >= f1["before"]:
            break
    found = {
        "spans": len(before.spans),
        "f1": f1,
        "temperature": temperature,
        "threshold": threshold,
    }
    return found, after


def _check(folder: Path, pipe: "LabelPipe", output: str | Path | None) -> None:
    """Refuse a saved pipeline that does not load as what it was."""
    from ..errors import Errors, NunerError
    from ._pipeline import load_pipe

    try:
        _, again = load_pipe(folder, pipe.name)
    except Exception as error:
        raise NunerError(Errors.N517, reason=error, path=output) from error
    expected = {"labels": pipe.labels, "threshold": getattr(pipe, "threshold", None)}
    for key, value in expected.items():
        if (found := getattr(again, key, None)) != value:
            reason = f"its {key} would be {found}, not {value}"
            raise NunerError(Errors.N517, reason=reason, path=output)
