"""The case of no example: labels that `nuner_concepts` knows by their names alone."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from ..concept_names import readable_name
from ..errors import Errors, NunerError, Warnings
from ..pipeline.decoding import THRESHOLD
from ..pipeline.label_vectors import find_prior
from ..readers.labelled.sets import copy_words
from .compare import Backbone, Dataset
from .probe import OUTSIDE, Gold, encode_labels
from .results import Cell

# Better than the score (docs/decisions.md, "A span is judged as a whole").
RANK_ENTS = "coverage"
BATCH_SIZE = 128


@dataclass(frozen=True)
class LabelMeaning:
    """What a label is called, and its description, where there is one."""

    name: str
    description: str | None = None


Labels = dict[str, LabelMeaning]


def read_labels(path: str | Path) -> Labels:
    """Read labels and what they mean.

    path (str | Path): JSON: a list of labels, or an object of label -> description, or
        label -> object with "name" and "description", each of which may be missing.
    RETURNS (dict[str, LabelMeaning]): One for each label; the name of those that have
        none is the label, read as words.
    RAISES (NunerError): N634 if the file can't be read, N624 if it holds something
        else.
    """
    path = Path(path)
    try:
        content: object = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        reason = error.strerror or error
        raise NunerError(Errors.N634, path=path, reason=reason) from error
    except ValueError as error:
        raise NunerError(Errors.N624, path=path, reason=error) from error
    if isinstance(content, list) and all(isinstance(label, str) for label in content):
        content = dict.fromkeys(content)
    if not isinstance(content, dict):
        reason = f"it holds a {type(content).__name__}"
        raise NunerError(Errors.N624, path=path, reason=reason)
    return {label: _get_meaning(path, label, value) for label, value in content.items()}


def _get_meaning(path: Path, label: str, value: object) -> LabelMeaning:
    given: dict[str, Any] = value if isinstance(value, dict) else {"description": value}
    # JSON's null says as little as a key that is missing.
    given = {key: text for key, text in given.items() if text is not None}
    texts = all(isinstance(text, str) and text for text in [label, *given.values()])
    if not texts or not set(given) <= {"name", "description"}:
        found = json.dumps(value, ensure_ascii=False)
        raise NunerError(Errors.N624, path=path, reason=f"'{label}' has {found}")
    return LabelMeaning(**{"name": readable_name(label), **given})


def complete_labels(docs: Sequence[Doc], labels: Mapping[str, LabelMeaning]) -> Labels:
    """Add the labels of a labelled set to those that are given.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    labels (Mapping[str, LabelMeaning]): Labels that are given. Those that the set does
        not have are looked for all the same, with warning W604.
    RETURNS (dict[str, LabelMeaning]): All of them, sorted by label; the names of those
        that were not given are read from the label, as the component does it.
    """
    found = {ent.label_ for doc in docs for ent in doc.ents}
    if unknown := sorted(set(labels) - found):
        message = Warnings.W604.format(labels=", ".join(unknown))
        warnings.warn(message, stacklevel=2)
    return {
        label: labels.get(label) or LabelMeaning(readable_name(label))
        for label in sorted(found | set(labels))
    }


def make_tagger(
    backbone: str | Path,
    labels: Mapping[str, LabelMeaning],
    *,
    threshold: float | None = None,
) -> Language:
    """Make a blank pipeline with a `nuner_concepts` that knows labels by name alone.

    backbone (str | Path): A backbone with a concept encoder.
    labels (Mapping[str, LabelMeaning]): What to look for. Labels compete: of spans that
        share tokens the one with the best coverage is an entity.
    threshold (float | None): The probability over which a span belongs to a label;
        None for the default of the component.
    RETURNS (Language): The pipeline; it fills `doc.ents`.
    RAISES (NunerError): N625 if the backbone has no concept encoder.
    """
    if find_prior(str(backbone)) is None:
        raise NunerError(Errors.N625, name=backbone)
    config = {
        "backbone": str(backbone),
        "concepts": {label: known.description for label, known in labels.items()},
        "names": {label: known.name for label, known in labels.items()},
        "set_ents": True,
        "rank_ents": RANK_ENTS,
        **({} if threshold is None else {"threshold": threshold}),
    }
    nlp = spacy.blank("xx")
    nlp.add_pipe("nuner_concepts", config=config)
    return nlp


def run_zero_shot(
    dataset: Dataset,
    backbones: Sequence[Backbone],
    labels: Mapping[str, LabelMeaning],
    output: Path,
    *,
    threshold: float | None = None,
) -> list[Cell]:
    """Tag a set by the names of its labels with each backbone.

    dataset (Dataset): The set, whose test part is tagged.
    backbones (Sequence[Backbone]): Backbones with a concept encoder.
    labels (Mapping[str, LabelMeaning]): Every label of the set, as `complete_labels`
        has it.
    output (Path): The folder of results: a cell with k = 0 for each backbone, layer
        set "last". One that is there with the same settings is not computed again.
    threshold (float | None): As for `make_tagger`.
    RETURNS (list[Cell]): The cells.
    RAISES (NunerError): N625 if a backbone has no concept encoder.
    """
    taggers = [make_tagger(x.source, labels, threshold=threshold) for x in backbones]
    gold = Gold(dataset.test, [OUTSIDE, *labels])
    cells = []
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
                "encoder": backbone.identity,
                "hidden_layers": [-1],
                "data": dataset.hashes,
                "names": {label: asdict(known) for label, known in labels.items()},
                # One for all labels.
                "threshold": THRESHOLD if threshold is None else threshold,
                "rank_ents": RANK_ENTS,
            },
        )
        cell = planned.find_finished(output)
        if cell is None:
            start = time.perf_counter()
            docs = _tag(nlp, dataset.test, title=f"{backbone.name}: no example")
            scores = gold.score(encode_labels(docs, gold.labels))
            seconds = round(time.perf_counter() - start, 2)
            cell = replace(planned, scores=scores, seconds=seconds)
            cell.to_disk(output)
        cells.append(cell)
    return cells


def _tag(nlp: Language, docs: Sequence[Doc], *, title: str) -> list[Doc]:
    copies = (copy_words(doc, nlp.vocab) for doc in docs)
    tagged = nlp.pipe(copies, batch_size=BATCH_SIZE)
    return list(tqdm(tagged, total=len(docs), desc=title, leave=False))
