import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example
from thinc.api import Adam
from torch import nn
from transformers import (
    AutoModel,
    DebertaV2Config,
    DebertaV2Model,
    ModernBertConfig,
    ModernBertModel,
)

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.encoders.layers import has_fast_bf16
from spacy_nuner.models.backbone import find_backbone, get_shim
from spacy_nuner.models.precision import PredictionCopy, choose_precision
from tests.conftest import MINILM

from .conftest import TEXTS
from .test_backbone import make_backbone, take_step, weights_of


def vectors_of(model, docs):
    batch = model.predict(docs)
    return np.concatenate([d.model_output.last_hidden_state[0] for d in batch.doc_data])


def test_auto_is_bf16_where_the_processor_has_it():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    fast = "bf16" if has_fast_bf16(on_cpu=True) else "fp32"
    assert choose_precision("auto", cpu) == fast
    assert choose_precision("auto", gpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    assert choose_precision("fp32", cpu) == "fp32"


def test_bf16_is_near_fp32_and_changes_no_weight(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    exact = vectors_of(make_backbone(tiny), docs)
    model = make_backbone(tiny, precision="bf16")
    before = weights_of(model)
    saved = model.to_bytes()
    found = vectors_of(model, docs)
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.05)
    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert model.to_bytes() == saved


def test_what_was_learned_is_predicted_with(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    model = make_backbone(tiny, precision="bf16")
    first = vectors_of(model, docs)
    take_step(model, docs, Adam(0.01))
    second = vectors_of(model, docs)
    assert np.abs(second - first).max() > 0.05
    exact = make_backbone(tiny)
    exact.from_bytes(model.to_bytes())
    np.testing.assert_allclose(second, vectors_of(exact, docs), atol=0.05)
    # And so is what was loaded into the same model.
    model.from_bytes(make_backbone(tiny, precision="bf16").to_bytes())
    np.testing.assert_array_equal(vectors_of(model, docs), first)
    get_shim(model).encoder.load_state_dict(get_shim(exact).encoder.state_dict())
    np.testing.assert_array_equal(vectors_of(model, docs), second)


def test_updates_are_computed_in_fp32(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    gradients = []
    for precision in ("fp32", "bf16", "int8"):
        model = make_backbone(tiny, precision=precision)
        encoder = get_shim(model).encoder
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        vectors_of(model, docs)
        batch, backprop = model.begin_update(docs)
        shapes = [d.model_output.last_hidden_state.shape for d in batch.doc_data]
        backprop(batch.unsplit_by_doc([[np.ones(s, dtype="f")] for s in shapes]))
        gradients.append(encoder.encoder.layer[3].output.dense.weight.grad)
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (3, 7, 48), (200, 48), (256, 48)])
def test_linear_layers_of_the_copy_compute_the_same_bits(shape):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(
            nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 8, bias=False)
        )
        module = nn.Sequential(inner, nn.LayerNorm(8)).eval()
        X = torch.randn(shape, dtype=torch.bfloat16)
    with torch.inference_mode():
        found = PredictionCopy().get(module)(X)
        expected = module.to(torch.bfloat16)(X)
    assert torch.equal(found, expected)


def test_attention_that_reads_the_weights_itself():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.MultiheadAttention(16, 2).eval()
        X = torch.randn(3, 2, 16, dtype=torch.bfloat16)
    with torch.inference_mode():
        found, _ = PredictionCopy().get(module)(X, X, X)
        expected, _ = module.to(torch.bfloat16)(X, X, X)
    assert torch.equal(found, expected)


def make_deberta():
    config = DebertaV2Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
    )
    return DebertaV2Model(config)


def make_modernbert():
    config = ModernBertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        attn_implementation="sdpa",
        pad_token_id=0,
        reference_compile=False,
    )
    return ModernBertModel(config)


@pytest.mark.parametrize("make", [make_deberta, make_modernbert])
def test_other_architectures(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
    half = PredictionCopy().get(model)
    ids = torch.arange(1, 31).reshape(2, 15)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.inference_mode():
        exact = model(input_ids=ids, attention_mask=mask).last_hidden_state
        found = half(input_ids=ids, attention_mask=mask).last_hidden_state
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(
        found.float()[mask > 0], exact[mask > 0], atol=0.1, rtol=0
    )


def test_predict_needs_no_private_name_of_torch(nlp, tiny, monkeypatch):
    docs = [nlp(text) for text in TEXTS]
    expected = vectors_of(make_backbone(tiny), docs)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not has_fast_bf16(on_cpu=True)
    found = vectors_of(make_backbone(tiny, precision="auto"), docs)
    np.testing.assert_array_equal(found, expected)
    # And where torch does not count changes, none is overlooked.
    monkeypatch.setattr("spacy_nuner.models.precision.COUNTER", "_not_there")
    for precision, settings in (("bf16", {}), ("fp32", {"freeze_layers": -1})):
        model = make_backbone(tiny, precision=precision, **settings)
        model(docs, is_train=True)
        np.testing.assert_allclose(vectors_of(model, docs), expected, atol=0.05)
        other = make_backbone(tiny)
        take_step(other, docs, Adam(0.01))
        model.transformer.load_state_dict(other.transformer.state_dict())
        expected_now = vectors_of(other, docs)
        np.testing.assert_allclose(vectors_of(model, docs), expected_now, atol=0.05)


def test_copies_and_pickles_leave_the_half_behind(tiny):
    import copy
    import pickle

    encoder = AutoModel.from_pretrained(tiny)
    half = PredictionCopy()
    half.get(encoder)
    assert len(pickle.dumps(half)) < 200
    assert copy.deepcopy(half)._made is None


@pytest.mark.weekly
def test_predictions_agree(assets):
    docs = read_docs(assets / "listings" / "train.jsonl")[:120]
    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy_nuner.Tok2VecBackbone.v1",
        "name": MINILM,
        "pooling": {"@layers": "reduce_first.v1"},
        "freeze_layers": -1,
        "precision": "fp32",
    }
    pipe = nlp.add_pipe("nuner_ner", config={"model": {"tok2vec": tok2vec}})
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.01
    for _ in range(20):
        nlp.update(examples, sgd=sgd)
    texts = [doc.text for doc in read_docs(assets / "listings" / "test.jsonl")]
    predicted = {}
    for precision in ("fp32", "bf16"):
        get_shim(find_backbone(pipe.model)).precision = precision
        predicted[precision] = [
            token.ent_type_ for doc in nlp.pipe(texts) for token in doc
        ]
    pairs = list(zip(*predicted.values(), strict=True))
    entities = sum(a != "" for a, _ in pairs)
    assert entities > 0.1 * len(pairs)
    agreeing = sum(a == b for a, b in pairs)
    assert agreeing >= 0.995 * len(pairs)
