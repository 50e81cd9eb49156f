import numpy as np
import pytest
import torch
from spacy.util import registry
from thinc.api import Model

from spacy_nuner.encoders.layers import has_fast_bf16
from spacy_nuner.models.concept_tagger import reset_output, resize_output


def make_tagger(**settings):
    make = registry.architectures.get("spacy_nuner.ConceptTagger.v1")
    vectors = Model("vectors", lambda model, docs, is_train: (docs, lambda d: d))
    return make(tok2vec=vectors, **settings)


def test_starts_from_zero_and_takes_gradients():
    model = make_tagger()
    X = [np.ones((3, 4), dtype="f"), np.ones((0, 4), dtype="f")]
    model.initialize(X=X, Y=[np.zeros((3, 2), dtype="f"), np.zeros((0, 2), dtype="f")])
    Y, backprop = model.begin_update(X)
    assert [y.shape for y in Y] == [(3, 2), (0, 2)]
    assert not np.any(Y[0])
    backprop([np.ones_like(y) for y in Y])
    np.testing.assert_array_equal(
        model.get_ref("output_layer").layers[0].get_grad("W"), np.full((2, 4), 3.0)
    )


def test_two_layers():
    model = make_tagger(hidden_width=8)
    X = [np.ones((3, 4), dtype="f")]
    model.initialize(X=X, Y=[np.zeros((3, 2), dtype="f")])
    assert model.get_ref("output_layer").layers[0].get_dim("nI") == 8


def test_resizing_keeps_what_was_learned():
    model = make_tagger()
    X = [np.ones((3, 4), dtype="f")]
    model.initialize(X=X, Y=[np.zeros((3, 2), dtype="f")])
    output = model.get_ref("output_layer").layers[0]
    output.set_param("W", np.arange(8, dtype="f").reshape(2, 4))
    before = model.predict(X)[0]
    resize_output(model, 5)
    after = model.predict(X)[0]
    assert after.shape == (3, 5)
    np.testing.assert_array_equal(after[:, :2], before)
    assert not np.any(after[:, 2:])


@pytest.mark.parametrize("n_concepts", [5, 200])
def test_predicts_what_it_learns_with(n_concepts):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(30, 64)).astype("f"), np.zeros((0, 64), dtype="f")]
    Y = [np.zeros((len(x), n_concepts), dtype="f") for x in X]
    tables = {}
    for precision in ("fp32", "bf16", "auto"):
        model = make_tagger(precision=precision)
        model.initialize(X=X, Y=Y)
        output = model.get_ref("output_layer").layers[0]
        W = np.random.default_rng(1).normal(size=(n_concepts, 64)).astype("f")
        output.set_param("W", W)
        output.set_param("b", np.arange(n_concepts, dtype="f") / n_concepts)
        learned, _ = model.begin_update(X)
        predicted = model.predict(X)
        assert [p.shape for p in predicted] == [y.shape for y in Y]
        tables[precision] = predicted[0]
        atol = 1e-4 if precision == "fp32" else 0.25
        np.testing.assert_allclose(predicted[0], learned[0], atol=atol)
    assert not np.array_equal(tables["fp32"], tables["bf16"])
    # With few concepts nothing is gained, so nothing is rounded.
    many = n_concepts > 100 and has_fast_bf16(on_cpu=True)
    np.testing.assert_array_equal(tables["auto"], tables["bf16" if many else "fp32"])


def test_resizing_keeps_the_precision():
    model = make_tagger(precision="bf16")
    X = [np.random.default_rng(0).normal(size=(3, 4)).astype("f")]
    model.initialize(X=X, Y=[np.zeros((3, 2), dtype="f")])
    for change in (resize_output, reset_output):
        change(model, 5)
        model.initialize(X=X, Y=[np.zeros((3, 5), dtype="f")])
        output = model.get_ref("output_layer").layers[0]
        output.set_param("W", np.full((5, 4), 1 / 3, dtype="f"))
        found = model.predict(X)[0]
        rounded = torch.tensor(found).to(torch.bfloat16).float().numpy()
        np.testing.assert_array_equal(found, rounded)
