import numpy as np
import pytest
from spacy.util import registry
from thinc.api import Linear, Model, NumpyOps, with_array

from spacy_nuner.errors import NunerError
from spacy_nuner.models.concept_tagger import join_rows, resize_output, set_rows


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
def test_learns_and_predicts_as_a_linear_layer_of_thinc(n_concepts):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 64)).astype("f") for n in (30, 0, 7)]
    d_logits = [rng.normal(size=(len(x), n_concepts)).astype("f") for x in X]
    model = make_tagger()
    model.initialize(X=X, Y=d_logits)
    output = model.get_ref("output_layer").layers[0]
    thinc = with_array(Linear(nO=n_concepts, nI=64)).initialize()
    W = rng.normal(size=(n_concepts, 64)).astype("f")
    for layer in (output, thinc.layers[0]):
        layer.set_param("W", W)
        layer.set_param("b", np.arange(n_concepts, dtype="f") / n_concepts)
    found, backprop = model.begin_update(X)
    expected, backprop_thinc = thinc.begin_update(X)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    for one, two in zip(model.predict(X), found, strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(backprop(d_logits), backprop_thinc(d_logits), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)
    for name in ("W", "b"):
        one, two = output.get_grad(name), thinc.layers[0].get_grad(name)
        np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("width", [0, 3])
def test_rows_of_docs_are_joined_in_order(width):
    arrays = [np.full((n, width), n, dtype="f") for n in (2, 0, 3)]
    joined = join_rows(NumpyOps(), [*arrays, np.zeros((0, 9), dtype="f")], width)
    np.testing.assert_array_equal(joined, np.concatenate(arrays))
    assert join_rows(NumpyOps(), [], width).shape == (0, width)


def test_rows_of_another_backbone_are_refused():
    model = make_tagger()
    X = [np.ones((3, 4), dtype="f")]
    model.initialize(X=X, Y=[np.zeros((3, 2), dtype="f")])
    biases = np.zeros(1, dtype="f")
    # Vectors of two layers of width 2 are four wide.
    set_rows(model, [0], np.ones((1, 2), dtype="f"), biases)
    with pytest.raises(NunerError, match=r"N405.*width 3.*width 4"):
        set_rows(model, [0], np.ones((1, 3), dtype="f"), biases)
