"""The tiny backbone of the components' tests, and a pipeline of each kind."""

import pytest
import spacy
from spacy.training import Example

from ..pipeline.conftest import (  # noqa: F401
    backbone,
    make_examples,
    make_ner,
    make_zero_shot,
    tiny,
    train,
)

TEXT = "Leyton costs 900"


@pytest.fixture(scope="session")
def pipelines(backbone, tiny, tmp_path_factory):  # noqa: F811
    """A saved pipeline of each kind, by the name of its kind."""
    folder = tmp_path_factory.mktemp("pipelines")
    concepts = make_zero_shot(backbone, labels=["area", "price"], threshold=0.25)
    each = make_zero_shot(backbone, labels=["area", "price"])
    each.get_pipe("nuner_concepts").threshold = {"area": 0.9999, "price": 0.125}
    ner = make_ner(tiny)
    train(ner, make_examples(ner))
    spacys = spacy.blank("en")
    spacys.add_pipe("ner")
    text = "Hackney is near Leyton"
    gold = {"entities": [(0, 7, "AREA"), (16, 22, "AREA")]}
    examples = [Example.from_dict(spacys.make_doc(text), gold)]
    sgd = spacys.initialize(lambda: examples)
    for _ in range(30):
        spacys.update(examples, sgd=sgd)
    rules = spacy.blank("en")
    rules.add_pipe("entity_ruler").add_patterns(
        [{"label": "A<b>", "pattern": "Leyton"}]
    )
    bare = spacy.blank("en")
    bare.add_pipe("sentencizer")
    made = {"concepts": concepts, "each": each, "ner": ner, "spacy": spacys}
    for name, nlp in {**made, "rules": rules, "bare": bare}.items():
        nlp.to_disk(folder / name)
    return folder
