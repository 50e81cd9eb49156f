"""Linear layers in int8: what they compute, and that rows don't depend on others."""

import copy
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given
from hypothesis import strategies as st
from thinc.api import Adam
from torch import nn

from spacy_nuner.models import linear
from spacy_nuner.models.backbone import find_backbone, get_shim
from spacy_nuner.models.linear import LEVELS, Int8Linear, count_levels
from spacy_nuner.models.precision import PredictionCopy, choose_precision
from tests.conftest import MINILM

from ..tiny import ARCHITECTURES, make_tiny
from .conftest import TEXTS
from .test_backbone import make_backbone, take_step, weights_of
from .test_precision import vectors_of

pytestmark = pytest.mark.skipif(
    not count_levels(), reason="this torch multiplies no whole numbers"
)


def make_layer(n_in, n_out, *, bias=True, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        exact = nn.Linear(n_in, n_out, bias=bias)
    layer = copy.deepcopy(exact)
    layer.__class__ = Int8Linear
    return exact, layer.quantize()


def make_rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(48,), (1, 48), (5, 48), (3, 7, 48), (0, 48), (700, 48)]
)
def test_int8_is_near_fp32(shape, bias, monkeypatch):
    # So that several chunks and a rest occur.
    monkeypatch.setattr(linear, "CHUNK", 64)
    exact, layer = make_layer(48, 24, bias=bias)
    X = make_rows(*shape)
    with torch.inference_mode():
        found, expected = layer(X), exact(X)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    # Half a step of the input and half a step of the weights, for each of 48 products.
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


@given(
    scale=st.floats(1e-12, 1e12),
    shift=st.sampled_from([0.0, 1.0, -1.0, 100.0, -1e4]),
    width=st.integers(1, 70),
    seed=st.integers(0, 1000),
)
def test_the_error_is_that_of_rounding(scale, shift, width, seed):
    exact, layer = make_layer(width, 9, seed=seed)
    X = (make_rows(4, width, seed=seed) + shift) * scale
    with torch.inference_mode():
        found, expected = layer(X).double(), exact(X).double()
    low, high = X.amin(-1).clamp_max(0).double(), X.amax(-1).clamp_min(0).double()
    step_in = (high - low)[:, None] / count_levels()
    weight = exact.weight.detach().double()
    step_out = weight.abs().amax(1) / 127
    limit = (
        step_in / 2 * weight.abs().sum(1)
        + step_out / 2 * X.double().abs().sum(1, keepdim=True)
        + step_in * step_out * width / 4
    )
    # And the last digits of fp32, of the products and of the sum with the bias.
    digits = 1e-5 * scale * (1 + width) + 1e-6 * expected.abs()
    assert ((found - expected).abs() <= 1.001 * limit + digits).all()


def test_rows_of_like_numbers_zeros_and_no_numbers():
    exact, layer = make_layer(48, 24)
    X = torch.stack([torch.zeros(48), torch.full((48,), 5.0), torch.full((48,), -3.0)])
    with torch.inference_mode():
        found, expected = layer(X), exact(X)
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
        assert torch.equal(found[0], exact.bias)
        X[1, 7] = float("nan")
        assert layer(X).isnan().all(1).tolist() == [False, True, False]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(0, 99))
def test_a_row_becomes_the_same_bits_in_any_company(counts, seed):
    _, layer = make_layer(32, 16)
    parts = [make_rows(n, 32, seed=seed + i) * 10**i for i, n in enumerate(counts)]
    with torch.inference_mode():
        together = layer(torch.cat(parts)).split(counts)
        for part, found in zip(parts, together, strict=True):
            assert torch.equal(layer(part), found)


@pytest.mark.weekly
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_processors_that_sum_up_in_16_bits(isa):
    """255 steps would overflow there; oneDNN is asked for their kernels."""
    code = (
        "import torch, tests.models.test_linear as t\n"
        "exact, layer = t.make_layer(384, 64)\n"
        "X = t.make_rows(100, 384).abs()\n"
        "with torch.inference_mode():\n"
        "    error = (layer(X) - exact(X)).norm() / exact(X).norm()\n"
        "print(t.count_levels(), float(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    levels, error = done.stdout.split()
    assert int(levels) in (127, 255)
    assert float(error) < 0.02


def test_int8_is_near_fp32_and_changes_no_weight(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    exact = vectors_of(make_backbone(tiny), docs)
    model = make_backbone(tiny, precision="int8")
    before, saved = weights_of(model), model.to_bytes()
    found = vectors_of(model, docs)
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.1)
    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.to_bytes() == saved
    # What was saved has all digits.
    again = make_backbone(tiny)
    again.from_bytes(saved)
    np.testing.assert_array_equal(vectors_of(again, docs), exact)


def test_what_was_learned_is_predicted_with(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    model = make_backbone(tiny, precision="int8")
    first = vectors_of(model, docs)
    take_step(model, docs, Adam(0.01))
    second = vectors_of(model, docs)
    assert np.abs(second - first).max() > 0.2
    other = make_backbone(tiny, precision="int8")
    other.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(vectors_of(other, docs), second)
    get_shim(model).precision = "fp32"
    exact = vectors_of(model, docs)
    np.testing.assert_allclose(second, exact, atol=0.1)


def test_precisions_in_turns(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    model = make_backbone(tiny, precision="int8")
    found = {}
    for precision in ("int8", "bf16", "fp32", "int8", "bf16", "fp32"):
        get_shim(model).precision = precision
        vectors = vectors_of(model, docs)
        np.testing.assert_array_equal(found.setdefault(precision, vectors), vectors)
    assert len({vectors.tobytes() for vectors in found.values()}) == 3


def test_the_copy_shares_what_it_does_not_round(tiny):
    model = make_backbone(tiny)
    module = get_shim(model)._model
    copied = PredictionCopy().get(module, "int8")
    of_module = {id(parameter) for parameter in module.parameters()}
    assert {id(parameter) for parameter in copied.parameters()} == of_module
    layers = [layer for layer in copied.modules() if isinstance(layer, Int8Linear)]
    assert layers
    assert not [layer for layer in module.modules() if isinstance(layer, Int8Linear)]


def test_copies_and_pickles(nlp, tiny):
    docs = [nlp(text) for text in TEXTS]
    model = make_backbone(tiny, precision="int8")
    before = pickle.dumps(get_shim(model)._prediction_copy)
    expected = vectors_of(model, docs)
    assert pickle.dumps(get_shim(model)._prediction_copy) == before
    for copied in (model.copy(), copy.deepcopy(model)):
        assert get_shim(copied).precision == "int8"
        np.testing.assert_array_equal(vectors_of(copied, docs), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(nlp, name, tmp_path):
    folder = make_tiny(name, tmp_path / name, TEXTS)
    docs = [nlp(text) for text in TEXTS]
    exact = vectors_of(make_backbone(str(folder)), docs)
    found = vectors_of(make_backbone(str(folder), precision="int8"), docs)
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.15)


def test_attention_that_reads_the_weights_itself():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.MultiheadAttention(16, 2).eval()
        X = torch.randn(3, 2, 16)
    with torch.inference_mode():
        found, _ = PredictionCopy().get(module, "int8")(X, X, X)
        expected, _ = module(X, X, X)
    assert torch.equal(found, expected)


def test_where_int8_can_not_be_had(nlp, tiny, monkeypatch):
    with pytest.warns(UserWarning, match="W401.*on cuda"):
        assert choose_precision("int8", torch.device("cuda")) == "fp32"
    assert choose_precision("int8", torch.device("cpu")) == "int8"
    docs = [nlp(text) for text in TEXTS]
    expected = vectors_of(make_backbone(tiny), docs)
    # A torch without the operators, as a later release may be.
    monkeypatch.setattr(torch.ops, "onednn", None)
    count_levels.cache_clear()
    try:
        with pytest.warns(UserWarning, match="W401.*this torch has none"):
            found = vectors_of(make_backbone(tiny, precision="int8"), docs)
    finally:
        monkeypatch.undo()
        count_levels.cache_clear()
    np.testing.assert_array_equal(found, expected)
    assert count_levels()


@pytest.mark.slow
def test_vectors_of_a_real_encoder(assets):
    nlp = spacy.blank("en")
    lines = (assets / "listings" / "test.jsonl").read_text("utf8").splitlines()[:40]
    docs = [nlp(json.loads(line)["text"]) for line in lines]
    exact = vectors_of(make_backbone(MINILM, precision="fp32"), docs)
    found = vectors_of(make_backbone(MINILM, precision="int8"), docs)
    cosines = (exact * found).sum(1) / (
        np.linalg.norm(exact, axis=1) * np.linalg.norm(found, axis=1)
    )
    # Numbers are rounded to half as many steps where sums have 16 bits.
    assert cosines.mean() > (0.998 if count_levels() == LEVELS else 0.997)
    assert cosines.min() > 0.98


def test_a_pipeline_loaded_with_another_precision(tiny, tmp_path):
    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy_nuner.Tok2VecBackbone.v1",
        "name": tiny,
        "pooling": {"@layers": "reduce_first.v1"},
        "precision": "int8",
    }
    nlp.add_pipe("nuner_ner", config={"labels": ["A"], "model": {"tok2vec": tok2vec}})
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    name = "components.nuner_ner.model.tok2vec.precision"
    for precision in ("int8", "fp32"):
        loaded = spacy.load(tmp_path / "pipeline", config={name: precision})
        pipe = loaded.get_pipe("nuner_ner")
        assert get_shim(find_backbone(pipe.model)).precision == precision
        assert all(doc.text for doc in loaded.pipe(TEXTS))
