"""`spacy nuner calibrate`: thresholds and a temperature for `nuner_concepts`."""

from pathlib import Path
from typing import Any

import typer

NO_THRESHOLD = "With exclusive = true the likeliest label wins; no threshold is used."


def calibrate(
    pipeline: Path = typer.Argument(
        ..., help="Saved pipeline with nuner_concepts; the settings are written into it"
    ),
    data: Path = typer.Argument(
        ..., help="Labelled dev set: .conll, .jsonl or .spacy; not the test set"
    ),
    per_concept: bool = typer.Option(
        False, "--per-concept", help="One threshold a concept instead of one for all"
    ),
    pipe_name: str = typer.Option("nuner_concepts", help="Name of the component"),
    report: Path | None = typer.Option(
        None,
        help="Folder for the figures before and after "
        "[default: PIPELINE-calibration beside it]",
    ),
    gpu_id: int = typer.Option(-1, help="GPU to use, -1 for the processor"),
) -> None:
    """Find the threshold and the temperature of a saved pipeline on labelled data.

    Prints the F1 of spans before and after, and draws how far the probabilities can
    be trusted.
    """
    import json

    import spacy
    import srsly
    from spacy.cli._util import setup_gpu
    from wasabi import msg

    from ..corpus.labelled_docs import read_docs
    from ..errors import Errors, NunerError, Warnings
    from ..fewshot.figures import draw_reliability
    from ..files import replacing
    from ..pipeline.calibration import (
        find_thresholds,
        fit_temperature,
        get_labelled_logits,
        get_reliability,
        span_f1,
    )
    from ..pipeline.decoding import get_probabilities
    from ..readers.docbin import copy_words

    setup_gpu(gpu_id)
    try:
        nlp = spacy.load(pipeline)
        pipe: Any = nlp.get_pipe(pipe_name)
    except (OSError, KeyError) as error:
        todo = "Name a folder that nlp.to_disk made, and a component of it."
        raise NunerError(Errors.N005, path=pipeline, reason=error, todo=todo) from error
    references = read_docs(data, lang=nlp.lang or "en")
    with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(pipe_name)]):
        # The tokens of the annotation, so that each of its spans can be found.
        docs = list(nlp.pipe(copy_words(doc, nlp.vocab) for doc in references))
    labelled = get_labelled_logits(pipe, docs, references)
    exclusive = pipe.cfg["exclusive"]
    old = {"temperature": pipe.cfg["temperature"], "thresholds": pipe.thresholds}
    temperature = fit_temperature(labelled, exclusive=exclusive)
    if temperature is None:
        temperature = old["temperature"]
        told = {"path": data, "count": len(labelled.spans), "temperature": temperature}
        msg.warn(Warnings.W505.format(**told))
    after = get_probabilities(labelled.logits / temperature, exclusive=exclusive)
    single, each = find_thresholds(labelled, after)
    new = {"temperature": temperature, "thresholds": each if per_concept else single}
    scores = {
        name: span_f1(labelled, exclusive=exclusive, **settings)
        for name, settings in (("before", old), ("after", new))
    }
    threshold: Any = single
    if exclusive:
        # Nothing uses it, so it stays.
        threshold = pipe.cfg["threshold"]
    elif per_concept:
        threshold = {x: float(t) for x, t in zip(pipe.labels, each, strict=True)}
    worse = scores["after"] < scores["before"]
    if not worse:
        pipe.set_calibration(temperature=temperature, threshold=threshold)
        settings = {"temperature": temperature, "threshold": threshold}
        nlp.get_pipe_config(pipe_name).update(settings)
        # These two files alone: what else lies in the folder is not ours. Settings of
        # the config that are as they were saved give way to those of the component, so
        # the first file alone is enough.
        with replacing(pipeline / pipe_name / "cfg") as beside:
            srsly.write_json(beside, pipe.cfg)
        with replacing(pipeline / "config.cfg") as beside:
            nlp.config.to_disk(beside)
    folder = report or pipeline.with_name(f"{pipeline.name}-calibration")
    before = get_probabilities(
        labelled.logits / old["temperature"], exclusive=exclusive
    )
    facts: dict[str, Any] = {
        "data": data.name,
        "spans": len(labelled.spans),
        "f1": scores,
        "temperature": temperature,
        "threshold": threshold,
        "reliability": {
            "before": get_reliability(labelled, before),
            "after": get_reliability(labelled, after),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "calibration.json") as beside:
        beside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf8")
    draw_reliability(facts["reliability"], folder / "reliability")
    percent = {name: 100 * score for name, score in scores.items()}
    if worse:
        msg.warn(
            Warnings.W506.format(path=pipeline, count=len(labelled.spans), **percent)
        )
    else:
        found = f"temperature {temperature:.2f}"
        if not exclusive:
            found += f", threshold {threshold if per_concept else round(single, 3)}"
        msg.good(
            f"{pipeline}: F1 of {len(labelled.spans)} spans {percent['before']:.1f} "
            f"before, {percent['after']:.1f} after; {found}"
        )
    if exclusive:
        msg.info(NO_THRESHOLD)
    msg.info(f"How far the probabilities can be trusted: {folder / 'reliability.png'}")
