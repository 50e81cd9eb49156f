import numpy as np
import pytest
from spacy.util import registry
from thinc.api import Model

from spacy_nuner.models.concept_tagger import (
    has_boundary,
    has_linear_head,
    remove_row,
    resize_output,
)

WIDTH = 4


def make_tagger(name="spacy_nuner.EntityTagger.v1", **settings):
    make = registry.architectures.get(name)
    vectors = Model("vectors", lambda model, docs, is_train: (docs, lambda d: d))
    return make(tok2vec=vectors, **settings)


def start(model, *, labels=2):
    X = [np.ones((3, WIDTH), dtype="f"), np.ones((0, WIDTH), dtype="f")]
    model.initialize(X=X, Y=[np.zeros((len(x), labels), dtype="f") for x in X])
    return X


def set_weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    for name in ("W", "b"):
        shape = layer.get_param(name).shape
        layer.set_param(name, rng.normal(size=shape).astype("f"))


def test_one_column_more_than_labels_and_all_from_zero():
    model = make_tagger()
    Y = model.predict(start(model))
    assert [y.shape for y in Y] == [(3, 3), (0, 3)]
    assert not np.any(Y[0])
    assert has_boundary(model)
    assert not has_boundary(make_tagger("spacy_nuner.ConceptTagger.v1"))


def test_columns_and_gradients_are_those_of_both_layers():
    model = make_tagger()
    start(model)
    output, boundary = (
        model.get_ref("output_layer").layers[0],
        model.get_ref("boundary"),
    )
    set_weights(output)
    set_weights(boundary, 1)
    X = [np.random.default_rng(2).normal(size=(5, WIDTH)).astype("f")]
    d_Y = [np.random.default_rng(3).normal(size=(5, 3)).astype("f")]
    Y, backprop = model.begin_update(X)
    labels, backprop_labels = output.begin_update(X[0])
    begins, backprop_begins = boundary.begin_update(X[0])
    np.testing.assert_allclose(Y[0], np.hstack([labels, begins]), rtol=1e-6)
    expected = backprop_labels(d_Y[0][:, :2]) + backprop_begins(d_Y[0][:, 2:])
    np.testing.assert_allclose(backprop(d_Y)[0], expected, rtol=1e-5)


def test_labels_come_and_go_and_the_boundary_stays():
    model = make_tagger()
    X = start(model)
    set_weights(model.get_ref("output_layer").layers[0])
    set_weights(model.get_ref("boundary"), 1)
    before = model.predict(X)[0]
    resize_output(model, 4)
    wider = model.predict(X)[0]
    assert wider.shape == (3, 5)
    np.testing.assert_array_equal(wider[:, [0, 1, 4]], before)
    remove_row(model, 0)
    np.testing.assert_array_equal(model.predict(X)[0], wider[:, 1:])


@pytest.mark.parametrize("hidden_width", [0, 8])
def test_only_labels_go_through_a_hidden_layer(hidden_width):
    model = make_tagger(hidden_width=hidden_width)
    start(model)
    assert has_linear_head(model) == (not hidden_width)
    output = model.get_ref("output_layer").layers[0]
    assert output.get_dim("nI") == (hidden_width or WIDTH)
    assert model.get_ref("boundary").get_dim("nI") == WIDTH


def test_saved_and_loaded():
    model = make_tagger()
    X = start(model)
    set_weights(model.get_ref("output_layer").layers[0])
    set_weights(model.get_ref("boundary"), 1)
    other = make_tagger(nO=2)
    other.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(other.predict(X)[0], model.predict(X)[0])
