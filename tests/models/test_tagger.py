import numpy as np
from spacy.util import registry
from thinc.api import Model

from spacy_nuner.models.tagger import resize_output


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
