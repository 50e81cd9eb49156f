"""A RoBERTa of random layers and byte-level word pieces goes the whole way."""

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from spacy.util import load_config
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

from .conftest import ROOT
from .util import make_tiny_roberta

pytestmark = pytest.mark.slow


# Leading blanks, characters of several bytes, emoji of several characters, combining
# characters, and a text far over the 64 positions of the encoder.
RECORDS = [
    ("  Ana flew to Łódź 👩‍👩‍👧 on Monday", ["Ana", "Łódź", "Monday"]),
    ("Zoe\u0308 paid €5 in São Paulo\u00a0today", ["€5", "São Paulo"]),
    ("日本語 and العربية are taught in Köln", ["日本語", "العربية", "Köln"]),
    ("lorem ipsum dolor " * 60 + "in Kraków now", ["Kraków"]),
]


def record(number, text, entities):
    lines = [f"{entity} <> thing{len(entity)} <> described" for entity in entities]
    return {"id": str(number), "text": text, "answer": "\n".join(lines)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole-way")


@pytest.fixture(scope="module")
def base(folder):
    texts = [text for text, _ in RECORDS]
    return make_tiny_roberta(folder / "base", texts)


def run(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def corpus(folder):
    rows = [record(i, *row) for i, row in enumerate(RECORDS)]
    answers = folder / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf8")
    run("convert", answers, folder / "corpus")
    return folder / "corpus"


@pytest.fixture(scope="module")
def backbone(folder, corpus, base):
    out = folder / "backbone"
    config = ROOT / "configs" / "pretrain.cfg"
    run(
        *("pretrain", config, out, "--paths.corpus", corpus, "--paths.base", base),
        *("--training.epochs", "2", "--features.max_length", "32"),
        *("--model.frozen_layers", "1"),
    )
    return out


def test_every_entity_was_found_where_it_stands(corpus):
    nlp = spacy.blank("en")
    docs = list(DocBin().from_disk(corpus / "00000.spacy").get_docs(nlp.vocab))
    found = [{span.text for span in doc.spans["concepts"]} for doc in docs]
    assert found == [set(entities) for _, entities in RECORDS]


def test_backbone_is_a_plain_encoder(base, backbone):
    before, after = AutoModel.from_pretrained(base), AutoModel.from_pretrained(backbone)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    assert (
        tokenizer("Łódź").input_ids
        == AutoTokenizer.from_pretrained(base)("Łódź").input_ids
    )
    changed = {
        name
        for (name, old), new in zip(
            before.named_parameters(), after.parameters(), strict=True
        )
        if not np.array_equal(old.detach().numpy(), new.detach().numpy())
    }
    assert changed
    assert all(".layer.1." in name for name in changed)


@pytest.mark.parametrize("config", ["ner", "ner_frozen", "ner_parser"])
def test_heads_train_and_reload(folder, backbone, config, tmp_path):
    nlp = spacy.blank("en")
    docs = []
    for text, entities in RECORDS:
        doc = nlp.make_doc(text)
        starts = [text.index(entity) for entity in entities]
        doc.set_ents(
            [
                doc.char_span(start, start + len(entity), "NAME")
                for start, entity in zip(starts, entities, strict=True)
            ]
        )
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    overrides = {
        "paths.train": str(tmp_path / "train.spacy"),
        "paths.dev": str(tmp_path / "train.spacy"),
        "paths.backbone": str(backbone),
        "training.max_steps": 120,
        "training.eval_frequency": 120,
        "training.optimizer.learn_rate.total_steps": 120,
        "training.optimizer.learn_rate.warmup_steps": 1,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        "training.logger.progress_bar": None,
    }
    if config != "ner_parser":
        overrides["components.transformer.model.hidden_layers"] = [-1, -2]
    if config == "ner":
        # Random weights have more to learn than a backbone.
        overrides["components.transformer.model.learn_rate_scale"] = 0.3
    trained = init_nlp(load_config(ROOT / "configs" / f"{config}.cfg", overrides))
    out = tmp_path / "out"
    out.mkdir()
    trained, _ = train_loop(trained, out)
    again = spacy.load(out / "model-last")
    expected = [set(entities) for _, entities in RECORDS]
    for nlp in (trained, again):
        found = [{ent.text for ent in nlp(text).ents} for text, _ in RECORDS]
        right = sum(len(a & b) for a, b in zip(found, expected, strict=True))
        total = sum(map(len, found)) + sum(map(len, expected))
        # A linear head on frozen random weights can tell little apart.
        least = {"ner": 1.0, "ner_parser": 0.9, "ner_frozen": 0.2}[config]
        assert 2 * right / total >= least
    for text, _ in RECORDS:
        doc, other = again(text), trained(text)
        assert doc.text == text
        assert [(e.start, e.end) for e in doc.ents] == [
            (e.start, e.end) for e in other.ents
        ]
    assert isinstance(again("   ").ents, tuple)
