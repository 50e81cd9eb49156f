from itertools import pairwise

import pytest

from spacy_nuner.encoders.batching import batch_by_length


@pytest.mark.parametrize(
    "lengths",
    [[], [0], [3, 0, 7], [41] * 2, [3, 12, 1, 30, 7, 7], list(range(90)), [1] * 500],
)
@pytest.mark.parametrize("max_padding", [None, 5])
def test_batches_hold_all_texts_within_the_limits(lengths, max_padding):
    batches = list(batch_by_length(lengths, max_size=40, max_padding=max_padding))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) == 1 or padded <= 40
        if max_padding is not None:
            assert padded - sum(lengths[i] for i in batch) <= max_padding
    # No batch could have taken the next text as well.
    if max_padding is None:
        for batch, _ in pairwise(batches):
            assert lengths[batch[0]] * (len(batch) + 1) > 40
    ordered = [lengths[i] for batch in batches for i in batch]
    assert ordered == sorted(lengths, reverse=True)
