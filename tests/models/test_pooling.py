import numpy as np
import pytest
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
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
def test_prediction_is_what_training_sees(pooling):
    model = pool_pieces(pooling(), 1.0)
    model.ops = NumpyOps()
    datas = [make_data([1, 3, 2], 0), TransformerData.empty(), make_data([2, 1], 1)]
    seen, _ = model(datas, is_train=True)
    found = model.predict(datas)
    assert [len(array) for array in found] == [4, 0, 3]
    for one, two in zip(found, seen, strict=True):
        np.testing.assert_array_equal(one, two)
