"""A tiny backbone and a handful of annotated sentences."""

import pytest
import spacy
from spacy.training import Example

from tests.util import make_tiny_bert

SENTENCES = [
    ("two-bed flat in Hackney for 1,650 pcm", [(16, 23, "AREA"), (28, 37, "PRICE")]),
    ("Hackney , 900 a month", [(0, 7, "AREA"), (10, 21, "PRICE")]),
    ("is Leyton cheap ?", [(3, 9, "AREA")]),
    ("no pets , 1,200 pcm", [(10, 19, "PRICE")]),
    ("we have a cat", []),
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    texts = [text for text, _ in SENTENCES]
    return str(make_tiny_bert(folder, texts, layers=2, width=32, positions=64))


def make_examples(nlp, *, spans_key=None):
    examples = []
    for text, spans in SENTENCES:
        reference = nlp.make_doc(text)
        found = [reference.char_span(start, end, label) for start, end, label in spans]
        assert None not in found
        if spans_key is None:
            reference.set_ents(found)
        else:
            reference.spans[spans_key] = found
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def make_nlp(tiny, *, shared=True, **settings):
    nlp = spacy.blank("en")
    tok2vec = {"pooling": {"@layers": "reduce_first.v1"}}
    if shared:
        nlp.add_pipe(
            "transformer",
            config={
                "model": {"@architectures": "spacy_nuner.Backbone.v1", "name": tiny}
            },
        )
        tok2vec["@architectures"] = "spacy_nuner.BackboneListener.v1"
    else:
        tok2vec["@architectures"] = "spacy_nuner.Tok2VecBackbone.v1"
        tok2vec["name"] = tiny
    nlp.add_pipe("nuner_concepts", config={"model": {"tok2vec": tok2vec}, **settings})
    return nlp
