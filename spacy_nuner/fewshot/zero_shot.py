"""The case of no example: labels that `nuner_concepts` knows by their names alone."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from ..errors import Errors, NunerError
from ..pipeline.decoding import THRESHOLD
from ..pipeline.label_vectors import find_label_vectors
from ..pipeline.labels import Label
from ..readers.labelled.sets import copy_words
from .compare import Backbone
from .probe import OUTSIDE, Gold, encode_labels
from .results import Cell, find_cell, write_cell

BATCH_SIZE = 128


def name_labels(docs: Sequence[Doc], names: Mapping[str, Label]) -> dict[str, Label]:
    """Collect the labels of a labelled set.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    names (Mapping[str, Label]): What is known of labels.
    RETURNS (Dict[str, Label]): One for each label, sorted by label.
    """
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    return {label: names.get(label) or Label() for label in labels}


def make_tagger(
    backbone: str | Path, labels: Mapping[str, Label], *, threshold: float | None
) -> Language:
    """Make a blank pipeline with a `nuner_concepts` that was told names and no more.

    backbone (str | Path): A backbone with a concept encoder.
    labels (Mapping[str, Label]): What to look for. Labels compete: of spans that
        share tokens the one with the best coverage is an entity.
    threshold (float | None): The probability over which a span belongs to a label;
        None for the default of the component.
    RETURNS (Language): The pipeline; it fills `doc.ents`.
    RAISES (NunerError): N625 if the backbone has no concept encoder.
    """
    if find_label_vectors(str(backbone)) is None:
        raise NunerError(Errors.N625, name=backbone)
    config = {"backbone": str(backbone), "annotate_ents": True, "threshold": threshold}
    nlp = spacy.blank("xx")
    pipe: Any = nlp.add_pipe("nuner_concepts", config=config)
    # Not in the config, whose sections can't be named as some labels are.
    for label, known in labels.items():
        pipe.add_label(label, known.description, name=known.name)
    return nlp


def run_zero(
    test: Sequence[Doc],
    backbones: Sequence[Backbone],
    labels: Mapping[str, Label],
    *,
    output: Path,
    dataset: str,
    data: Mapping[str, str],
    threshold: float | None = None,
) -> list[Cell]:
    """Tag a set by the names of its labels with each backbone.

    test (Sequence[Doc]): The Docs to tag, entities in `doc.ents`.
    backbones (Sequence[Backbone]): Backbones with a concept encoder.
    labels (Mapping[str, Label]): Every label of the set, as `name_labels` has it.
    output (Path): The folder of results: a cell with k = 0 for each backbone, layer
        set "last". One that stands there with the same settings is not computed again.
    dataset (str): What to call the data set.
    data (Mapping[str, str]): What tells the data set's files apart, such as hashes.
    threshold (float | None): As for `make_tagger`.
    RETURNS (List[Cell]): The cells.
    RAISES (NunerError): N625 if a backbone has no concept encoder.
    """
    taggers = [make_tagger(x.source, labels, threshold=threshold) for x in backbones]
    gold = Gold(test, [OUTSIDE, *labels])
    cells = []
    for backbone, nlp in zip(backbones, taggers, strict=True):
        cell: Cell = {
            "dataset": dataset,
            "backbone": backbone.label,
            "layers": "last",
            "k": 0,
            "draw": 0,
            "sentences": 0,
            "mentions": {},
            "settings": {
                "encoder": backbone.identity,
                "hidden_layers": [-1],
                "data": dict(data),
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
        }
        standing = find_cell(output, cell)
        if standing is None:
            start = time.perf_counter()
            scores = gold.score(encode_labels(_tag(nlp, test, backbone), gold.labels))
            seconds = round(time.perf_counter() - start, 2)
            standing = {**cell, **scores, "seconds": seconds}
            write_cell(output, standing)
        cells.append(standing)
    return cells


def _tag(nlp: Language, docs: Sequence[Doc], backbone: Backbone) -> list[Doc]:
    copies = (copy_words(doc, nlp.vocab) for doc in docs)
    tagged = nlp.pipe(copies, batch_size=BATCH_SIZE)
    title = f"{backbone.label}: no example"
    return list(tqdm(tagged, total=len(docs), desc=title, leave=False))
