"""The case of no example: labels that `nuner_concepts` knows by their names alone."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from ..errors import Errors, NunerError, Warnings
from ..outputs import check_output, claimed
from ..pipeline.decoding import THRESHOLD
from ..pipeline.label_vectors import find_label_vectors
from ..pipeline.labels import Label
from ..printing import printable
from ..readers.docbin import copy_words
from ..tokenizers import blank
from .cells import find_versions
from .compare import Backbone, Dataset
from .probe import OUTSIDE, Gold, encode_labels
from .results import Cell

BATCH_SIZE = 128


def complete_labels(
    docs: Sequence[Doc], labels: Mapping[str, Label]
) -> dict[str, Label]:
    """Add the labels of a labelled set to those that are given.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    labels (Mapping[str, Label]): Labels that are given. Those that the set does
        not have are looked for all the same, with warning W604.
    RETURNS (dict[str, Label]): All of them, sorted by label.
    """
    found = {ent.label_ for doc in docs for ent in doc.ents}
    if unknown := sorted(set(labels) - found):
        message = Warnings.W604.format(labels=", ".join(unknown))
        warnings.warn(message, stacklevel=2)
    return {
        label: labels.get(label) or Label() for label in sorted(found | set(labels))
    }


def make_tagger(
    backbone: str | Path,
    labels: Mapping[str, Label],
    *,
    threshold: float | None = None,
    lang: str = "xx",
) -> Language:
    """Make a blank pipeline with a `nuner_concepts` that knows labels by name alone.

    backbone (str | Path): A backbone with a concept encoder.
    labels (Mapping[str, Label]): What to look for. Labels compete: of spans that
        share tokens the one with the best coverage is an entity.
    threshold (float | None): The probability over which a span belongs to a label;
        None for the default of the component.
    lang (str): The language of the tokenizer.
    RETURNS (Language): The pipeline; it fills `doc.ents`.
    RAISES (NunerError): N010 if there is no such language, N625 if the backbone has no
        concept encoder.
    """
    if find_label_vectors(str(backbone)) is None:
        raise NunerError(Errors.N625, name=backbone)
    config = {
        "backbone": str(backbone),
        "labels": {label: known.to_setting() for label, known in labels.items()},
        "annotate_ents": True,
        **({} if threshold is None else {"threshold": threshold}),
    }
    nlp = blank(lang)
    nlp.add_pipe("nuner_concepts", config=config)
    return nlp


def run_zero_shot(
    dataset: Dataset,
    backbones: Sequence[Backbone],
    labels: Mapping[str, Label],
    output: Path,
    *,
    threshold: float | None = None,
) -> list[Cell]:
    """Tag a set by the names of its labels with each backbone.

    dataset (Dataset): The set, whose test part is tagged.
    backbones (Sequence[Backbone]): Backbones with a concept encoder.
    labels (Mapping[str, Label]): Every label of the set, as `complete_labels`
        has it.
    output (Path): The folder of results: a cell with k = 0 for each backbone, layer
        set "last". One that is there with the same settings is not computed again.
    threshold (float | None): As for `make_tagger`.
    RETURNS (list[Cell]): The cells.
    RAISES (NunerError): N625 if a backbone has no concept encoder; N031 if another
        process writes results of the set there, and what else `claimed` raises.
    """
    taggers = [make_tagger(x.source, labels, threshold=threshold) for x in backbones]
    gold = Gold(dataset.test, [OUTSIDE, *labels])
    cells = []
    folder = check_output(output / dataset.name, folder=True)
    with claimed(folder, "fewshot"):
        for backbone, nlp in zip(backbones, taggers, strict=True):
            planned = Cell(
                dataset=dataset.name,
                backbone=backbone.name,
                layers="last",
                k=0,
                draw=0,
                sentences=0,
                mentions={},
                settings={
                    "encoder": backbone.naming_identity,
                    "hidden_layers": [-1],
                    "data": dataset.hashes,
                    "names": {
                        label: {
                            "name": known.get_words(label),
                            "description": known.description,
                        }
                        for label, known in labels.items()
                    },
                    # One for all labels.
                    "threshold": THRESHOLD if threshold is None else threshold,
                },
            )
            cell = planned.find_finished(output)
            if cell is None:
                start = time.perf_counter()
                docs = _tag(nlp, dataset.test, title=f"{backbone.name}: no example")
                scores = gold.score(encode_labels(docs, gold.labels))
                seconds = round(time.perf_counter() - start, 2)
                cell = replace(
                    planned, scores=scores, seconds=seconds, versions=find_versions()
                )
                cell.to_disk(output)
            cells.append(cell)
    return cells


def _tag(nlp: Language, docs: Sequence[Doc], *, title: str) -> list[Doc]:
    copies = (copy_words(doc, nlp.vocab) for doc in docs)
    tagged = nlp.pipe(copies, batch_size=BATCH_SIZE)
    return list(tqdm(tagged, total=len(docs), desc=printable(title), leave=False))
