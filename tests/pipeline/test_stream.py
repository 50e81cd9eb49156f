import pytest

from spacy_nuner.pipeline.decoding import MAX_TOKENS, split_by_length


@pytest.mark.parametrize(
    "lengths",
    [[], [0], [3, 0, 7], [MAX_TOKENS + 1] * 2, list(range(700)), [1] * 5000],
)
def test_parts_hold_all_docs_within_the_limit(lengths):
    parts = list(split_by_length(lengths))
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or sum(lengths[i] for i in part) <= MAX_TOKENS
    ordered = [lengths[i] for part in parts for i in part]
    assert ordered == sorted(lengths)
