"""A tiny backbone and a handful of annotated sentences."""

import json

import pytest
import spacy
from spacy.training import Example
from spacy.util import fix_random_seed
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from tests.util import make_tiny_bert

from ..conftest import ROOT

# Its tokenizer is made in a third of the time that the exceptions of English take.
LANG = "xx"
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


def make_nlp(tiny, *, factory="nuner_concepts", shared=True, lang=LANG, **settings):
    nlp = spacy.blank(lang)
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
        # It was not pre-trained.
        tok2vec["learn_rate_scale"] = 1.0
    nlp.add_pipe(factory, config={"model": {"tok2vec": tok2vec}, **settings})
    return nlp


ANSWERS = [
    ("Hackney is near Leyton", "Hackney <> area\nLeyton <> area"),
    ("it costs 900 in Leyton", "900 <> price\nLeyton <> area"),
    ("1,200 for Hackney", "1,200 <> price\nHackney <> area"),
] * 4


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> str:
    """A backbone that has seen areas and prices and little else."""
    folder = tmp_path_factory.mktemp("backbone")
    texts = [part for row in ANSWERS for part in row]
    base = make_tiny_bert(folder / "base", texts)
    with (folder / "answers.jsonl").open("w") as file:
        for i, (text, answer) in enumerate(ANSWERS):
            file.write(
                json.dumps({"id": str(i), "text": text, "answer": answer}) + "\n"
            )
    config = str(ROOT / "configs" / "pretrain.cfg")
    for arguments in (
        ["convert", str(folder / "answers.jsonl"), str(folder / "corpus")],
        [
            *("pretrain", config, str(folder / "backbone")),
            *("--paths.corpus", str(folder / "corpus"), "--paths.base", str(base)),
            *("--features.max_length", "64", "--training.batch_size", "4"),
            *("--training.epochs", "40", "--training.learn_rate", "0.01"),
            *("--model.frozen_layers", "0", "--features.max_concept_length", "16"),
        ],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    return str(folder / "backbone")


def make_ner(tiny, **settings):
    return make_nlp(tiny, factory="nuner_ner", **settings)


def train(nlp, examples, *, steps=100, rate=0.005):
    fix_random_seed(0)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = rate
    losses = {}
    for _ in range(steps):
        losses = {}
        # As `spacy train` does it: with `sgd` given, `nlp.update` would let the
        # transformer take its step before the head's gradient is there.
        nlp.update(examples, sgd=False, losses=losses)
        for _, proc in nlp.pipeline:
            proc.finish_update(sgd)
    return losses


def make_zero_shot(backbone, **settings):
    nlp = spacy.blank(LANG)
    nlp.add_pipe("nuner_concepts", config={"backbone": backbone, **settings})
    return nlp


def ents_of(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def spans_of(doc, key="concepts"):
    return [(span.text, span.label_) for span in doc.spans[key]]
