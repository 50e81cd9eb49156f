"""The case of no example: labels that `nuner_concepts` knows by their names alone."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from ..concept_names import readable_name
from ..errors import Errors, NunerError
from ..pipeline.decoding import THRESHOLD
from ..pipeline.label_vectors import find_prior
from ..readers.docbin import copy_words
from .compare import Backbone
from .probe import OUTSIDE, Gold, encode_labels
from .results import Cell, find_cell, write_cell

# Better than the score (docs/decisions.md, "A span is judged as a whole").
RANK_ENTS = "coverage"
BATCH_SIZE = 128


@dataclass(frozen=True)
class LabelName:
    """What a label is called, and what it means, where that is said."""

    name: str
    description: str | None = None


def read_names(path: str | Path) -> dict[str, LabelName]:
    """Read what labels are called.

    path (str | Path): A JSON object: label -> name, or label -> object with "name" and
        "description", each of which may be missing.
    RETURNS (Dict[str, LabelName]): One for each label of the file.
    RAISES (NunerError): N005 if the file can't be read, N624 if it holds something
        else.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        todo = "Check the name of the file with the names of labels."
        reason = error.strerror or error
        raise NunerError(Errors.N005, path=path, reason=reason, todo=todo) from error
    except ValueError as error:
        raise NunerError(Errors.N624, path=path, reason=error) from error
    if not isinstance(content, dict):
        reason = f"it holds a {type(content).__name__}"
        raise NunerError(Errors.N624, path=path, reason=reason)
    return {label: _read_name(path, label, said) for label, said in content.items()}


def _read_name(path: Path, label: str, said: object) -> LabelName:
    facts = said if isinstance(said, dict) else {"name": said}
    facts = {"name": readable_name(label), **facts}
    known = set(facts) <= {"name", "description"}
    if not known or not all(isinstance(fact, str) and fact for fact in facts.values()):
        found = json.dumps(said, ensure_ascii=False)
        raise NunerError(Errors.N624, path=path, reason=f"'{label}' has {found}")
    return LabelName(**facts)


def name_labels(
    docs: Sequence[Doc], names: Mapping[str, LabelName]
) -> dict[str, LabelName]:
    """Find a name for each label of a labelled set.

    docs (Sequence[Doc]): The set, entities in `doc.ents`.
    names (Mapping[str, LabelName]): Names that are known; the others are read from
        the label itself, as the component does it.
    RETURNS (Dict[str, LabelName]): One for each label, sorted by label.
    """
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    return {x: names.get(x) or LabelName(readable_name(x)) for x in labels}


def make_tagger(
    backbone: str | Path, labels: Mapping[str, LabelName], *, threshold: float | None
) -> Language:
    """Make a blank pipeline with a `nuner_concepts` that was told names and no more.

    backbone (str | Path): A backbone with a concept encoder.
    labels (Mapping[str, LabelName]): What to look for. Labels compete: of spans that
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


def run_zero(
    test: Sequence[Doc],
    backbones: Sequence[Backbone],
    labels: Mapping[str, LabelName],
    *,
    output: Path,
    dataset: str,
    data: Mapping[str, str],
    threshold: float | None = None,
) -> list[Cell]:
    """Tag a set by the names of its labels with each backbone.

    test (Sequence[Doc]): The Docs to tag, entities in `doc.ents`.
    backbones (Sequence[Backbone]): Backbones with a concept encoder.
    labels (Mapping[str, LabelName]): Every label of the set, as `name_labels` has it.
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
                "names": {label: asdict(known) for label, known in labels.items()},
                # One for all labels.
                "threshold": THRESHOLD if threshold is None else threshold,
                "rank_ents": RANK_ENTS,
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
