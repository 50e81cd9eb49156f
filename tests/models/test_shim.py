import copy
import io
import pickle

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin, Span
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Adam

from spacy_nuner.models.backbone import find_backbone, get_shim
from spacy_nuner.models.shim import VectorCache
from tests.conftest import ROOT

from .conftest import TEXTS
from .test_backbone import make_backbone, take_step


class Counter:
    """Counts how often an encoder is run, and on how many texts."""

    def __init__(self, model):
        self.passes = self.texts = 0
        get_shim(model).encoder.register_forward_hook(self._count)

    def _count(self, module, inputs, output):
        self.passes += 1
        self.texts += len(output.last_hidden_state)


def vectors_of(model, docs, *, is_train=False):
    batch, _ = model(docs, is_train=is_train)
    return [data.model_output.last_hidden_state[0] for data in batch.doc_data]


def test_texts_are_encoded_once(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=-1, by_sentence=False)
    counter = Counter(model)
    docs = [nlp(text) for text in TEXTS]
    first = vectors_of(model, docs, is_train=True)
    assert counter.texts == 3
    # Other docs of the same texts, another order, one text that is new.
    again = [nlp(text) for text in [*TEXTS[::-1], "a bed"]]
    second = vectors_of(model, again, is_train=True)
    assert counter.texts == 4
    for found, expected in zip(second, first[::-1], strict=False):
        np.testing.assert_array_equal(found, expected)
    alone = vectors_of(make_backbone(tiny, by_sentence=False), [nlp("a bed")])[0]
    np.testing.assert_allclose(second[-1], alone, atol=1e-5)
    # Evaluation between the epochs knows them, too.
    vectors_of(model, docs)
    assert counter.texts == 4


def test_a_text_twice_in_a_batch_is_encoded_once(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=-1)
    counter = Counter(model)
    docs = [nlp("a bed"), nlp(TEXTS[0]), nlp("a bed")]
    vectors = vectors_of(model, docs, is_train=True)
    assert counter.texts == 2
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_tokens_of_another_doc_stand_on_the_same_vectors(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=-1)
    one = nlp("a two-bed flat")
    other = Doc(nlp.vocab, words=["a", "two", "-bed flat"], spaces=[True, False, False])
    assert one.text == other.text
    data = [model(([doc]), is_train=True)[0].doc_data[0] for doc in (one, other)]
    assert [len(d.align.lengths) for d in data] == [len(one), len(other)]


def test_prediction_alone_caches_nothing(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=-1)
    vectors_of(model, [nlp(text) for text in TEXTS])
    assert get_shim(model).cache is None


@pytest.mark.parametrize("freeze_layers", [0, 2])
def test_what_is_tuned_is_not_cached(nlp, tiny, freeze_layers):
    model = make_backbone(tiny, freeze_layers=freeze_layers, by_sentence=False)
    docs = [nlp(text) for text in TEXTS]
    take_step(model, docs, Adam(0.01))
    counter = Counter(model)
    vectors_of(model, docs)
    assert counter.texts == 3


def test_nothing_is_stale(nlp, tiny, tmp_path):
    model = make_backbone(tiny, freeze_layers=-1)
    docs = [nlp(text) for text in TEXTS]
    first = vectors_of(model, docs, is_train=True)[0]
    shim = get_shim(model)
    with torch.no_grad():
        shim.encoder.embeddings.word_embeddings.weight.mul_(2.0)
    second = vectors_of(model, docs, is_train=True)[0]
    assert not np.allclose(first, second)
    model.from_bytes(make_backbone(tiny, freeze_layers=-1).to_bytes())
    np.testing.assert_array_equal(vectors_of(model, docs, is_train=True)[0], first)
    shim.precision = "bf16"
    assert not np.array_equal(vectors_of(model, docs)[0], first)


def test_the_cache_has_a_limit(nlp, tiny, monkeypatch):
    docs = [nlp(text) for text in TEXTS]
    sizes = [len(v) for v in vectors_of(make_backbone(tiny, by_sentence=False), docs)]
    limit = sizes[0] + sizes[2]
    monkeypatch.setattr("spacy_nuner.models.shim.MAX_CACHED_PIECES", limit)
    model = make_backbone(tiny, freeze_layers=-1, by_sentence=False)
    vectors_of(model, docs[:1], is_train=True)
    vectors_of(model, docs[1:], is_train=True)
    assert sizes[0] <= get_shim(model).cache.n_pieces <= limit
    counter = Counter(model)
    vectors_of(model, docs, is_train=True)
    assert 0 < counter.texts < 3


def test_predictions_leave_half_of_the_room(monkeypatch):
    monkeypatch.setattr("spacy_nuner.models.shim.MAX_CACHED_PIECES", 10)
    cache = VectorCache()
    cache.add(b"dev", torch.ones(5, 4), is_train=False)
    cache.add(b"more", torch.ones(1, 4), is_train=False)
    cache.add(b"train", torch.ones(5, 4), is_train=True)
    assert [cache.get(key) is None for key in (b"dev", b"more", b"train")] == [
        *(False, True, False)
    ]


def test_copies_and_pickles_start_empty():
    cache = VectorCache()
    cache.add(b"a", torch.ones(10, 4), is_train=True)
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert other.n_pieces == 0
        assert other.get(b"a") is None


@pytest.mark.parametrize("frozen", [True, False])
def test_second_epoch_of_a_training_encodes_nothing(tiny, tmp_path, frozen):
    blank = spacy.blank("en")
    docs = [blank(text) for text in TEXTS * 2]
    for doc in docs:
        doc.ents = [Span(doc, 1, 2, label="AREA")]
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    overrides = {
        "paths.train": str(tmp_path / "docs.spacy"),
        "paths.dev": str(tmp_path / "docs.spacy"),
        "paths.backbone": tiny,
        "components.transformer.model.freeze_layers": -1 if frozen else 0,
        "components.transformer.model.by_sentence": False,
        # The counter hangs in the encoder, not in its copy in bf16.
        "components.transformer.model.precision": "fp32",
        "training.max_steps": 4,
        "training.eval_frequency": 2,
        "training.batcher.size": 3,
    }
    path = ROOT / "configs" / "ner_frozen.cfg"
    nlp = init_nlp(load_config(path, overrides, interpolate=False))
    counter = Counter(find_backbone(nlp.get_pipe("transformer").model))
    train(nlp, stdout=io.StringIO(), stderr=io.StringIO())
    # Steps 0 to 4 of three texts, and six docs evaluated at 0, 2 and 4.
    assert counter.texts == (3 if frozen else 5 * 3 + 3 * 6)
