"""A corpus of a few sentences and tiny encoders for it."""

from pathlib import Path

import pytest
import spacy
import torch
from spacy.tokens import DocBin, SpanGroup

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pretrain import evaluation
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.pretrain.settings import read_config

from ..conftest import ROOT
from ..util import make_tiny_bert, make_tiny_roberta

# Text, mentions as (text, concept, description).
SENTENCES = [
    (
        "World War II started on September 1 1939.",
        [
            ("World War II", "historical event", "Significant events in world history"),
            ("September 1", "date", "Points in time according to a calendar"),
            ("1939", "year", ""),
            ("September 1 1939", "date", ""),
        ],
    ),
    (
        "  Crème brûlée 🍮 costs 7 € at the Café de Flore .",
        [
            ("Crème brûlée 🍮", "dessert", "Sweet dishes"),
            ("🍮", "emoji", ""),
            ("7 €", "price", "What something costs"),
            ("Café de Flore", "restaurant", "Places to eat"),
        ],
    ),
    (
        "Akira Kurosawa filmed Rashomon in Nara.",
        [
            ("Akira Kurosawa", "person", "Human beings by name"),
            ("Rashomon", "film", ""),
            ("Nara", "city", "Large settlements"),
        ],
    ),
    (
        "東京 is the capital of Japan, <s>not Kyoto</s>.",
        [("東京", "city", ""), ("Japan", "country", "Nations"), ("Kyoto", "city", "")],
    ),
    (
        "Insulin lowers blood glucose in diabetes.",
        [
            ("Insulin", "hormone", "Messengers of the body"),
            ("blood glucose", "lab value", ""),
            ("diabetes", "disease", "Illnesses"),
        ],
    ),
]
TEXTS = [text for text, _ in SENTENCES] + [
    f"{concept}: {description}"
    for _, mentions in SENTENCES
    for _, concept, description in mentions
]


def write_corpus(folder: Path, sentences: list, name: str = "part-00000") -> Path:
    """Write sentences as a DocBin shard."""
    nlp = spacy.blank("en")
    docs = []
    for text, mentions in sentences:
        doc = nlp.make_doc(text)
        spans = [
            doc.char_span(
                text.index(mention),
                text.index(mention) + len(mention),
                label=concept,
                alignment_mode="expand",
            )
            for mention, concept, _ in mentions
        ]
        described = {concept: d for _, concept, d in reversed(mentions) if d}
        doc.spans["concepts"] = SpanGroup(
            doc, name="concepts", spans=spans, attrs={"descriptions": described}
        )
        docs.append(doc)
    folder.mkdir(parents=True, exist_ok=True)
    DocBin(docs=docs).to_disk(folder / f"{name}.spacy")
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), TEXTS, layers=4)


@pytest.fixture(scope="session")
def roberta(tmp_path_factory) -> Path:
    return make_tiny_roberta(tmp_path_factory.mktemp("roberta"), TEXTS)


@pytest.fixture(params=["bert", "roberta"])
def base(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), SENTENCES)


@pytest.fixture
def concept_encoder(base) -> ConceptEncoder:
    tokenizer, encoder = load_encoder(base)
    return ConceptEncoder(
        encoder,
        tokenizer,
        pooling="mean",
        template="{name}: {description}",
        max_length=24,
    )


@pytest.fixture
def features(tmp_path, corpus, concept_encoder) -> Features:
    folder = tmp_path / "features"
    build_features(corpus, folder, concept_encoder=concept_encoder, max_length=48)
    return Features.from_folder(folder)


@pytest.fixture(autouse=True)
def no_curve(request, monkeypatch):
    """A run of a second takes as long again to draw its curve; one file has that."""
    if request.path.name != "test_evaluation.py":
        monkeypatch.setattr(evaluation, "_draw_curve", lambda *args: None)


@pytest.fixture
def make_config():
    """Read the shipped config with what a run of a second needs."""

    def make(corpus: Path, base: Path, **overrides):
        overrides = {key.replace("__", "."): value for key, value in overrides.items()}
        return read_config(
            ROOT / "configs" / "pretrain.cfg",
            {
                "paths.corpus": str(corpus),
                "paths.base": str(base),
                "features.max_length": 48,
                "features.max_concept_length": 24,
                "model.frozen_layers": None,
                "training.epochs": 2,
                "training.batch_size": 2,
                "training.precision": "fp32",
                "training.log_steps": 1,
                **overrides,
            },
        )

    return make


@pytest.fixture
def one_thread():
    """The same sums in the same order at every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def no_traces(folder: Path, *expected: str) -> bool:
    """Tell whether a folder holds just what is expected."""
    return sorted(path.name for path in folder.iterdir()) == sorted(expected)
