import numpy as np
import pytest
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from spacy_transformers.layers.trfs2arrays import trfs2arrays
from thinc.api import NumpyOps, reduce_first, reduce_mean
from thinc.types import Ragged

from spacy_nuner.models.pooling import as_output, pool_pieces


def make_data(lengths: list[int], seed: int) -> TransformerData:
    """A doc whose tokens have so many pieces each, the last one shared by two."""
    flat = [*range(sum(lengths)), sum(lengths) - 1]
    vectors = np.random.default_rng(seed).normal(size=(1, sum(lengths), 6))
    return TransformerData(
        wordpieces=WordpieceBatch.empty(),
        model_output=as_output(vectors.astype("f")),
        align=Ragged(np.array(flat, dtype="i"), np.array([*lengths, 1], dtype="i")),
    )


@pytest.mark.parametrize("pooling", [reduce_first, reduce_mean])
def test_the_same_as_spacy_transformers(pooling):
    models = [pool_pieces(pooling(), 0.5), trfs2arrays(pooling(), 0.5)]
    datas = [make_data([1, 3, 2], 0), TransformerData.empty(), make_data([2, 1], 1)]
    d_vectors = [np.ones((n, 6), dtype="f") * n for n in (4, 0, 3)]
    results = []
    for model in models:
        model.ops = model.layers[0].ops = NumpyOps()
        vectors, backprop = model(datas, is_train=True)
        for one, two in zip(vectors, model.predict(datas), strict=True):
            np.testing.assert_array_equal(one, two)
        d_datas = backprop([array.copy() for array in d_vectors])
        assert [len(array) for array in vectors] == [4, 0, 3]
        gradients = [d.model_output.last_hidden_state for d in d_datas]
        results.append([*vectors[::2], *gradients])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_no_tokens_at_all():
    vectors = pool_pieces(reduce_first(), 1.0).predict([TransformerData.empty()] * 2)
    assert [len(array) for array in vectors] == [0, 0]
