"""Docs of a batch in parts of like length, so that memory stays bounded."""

from collections.abc import Iterator, Sequence

import numpy as np

# Logits of 1,000 concepts for so many tokens are 16 MB: allocators reuse blocks of that
# size, and 1,000 long docs at once would be gigabytes.
MAX_TOKENS = 4096


def split_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group docs of like length.

    lengths (Sequence[int]): The number of tokens of each doc.
    YIELDS (list[int]): Indices of docs with 4,096 tokens at most together; a longer
        doc stands alone.
    """
    part: list[int] = []
    n_tokens = 0
    for i in np.argsort(lengths, kind="stable").tolist():
        if part and n_tokens + lengths[i] > MAX_TOKENS:
            yield part
            part, n_tokens = [], 0
        part.append(i)
        n_tokens += lengths[i]
    if part:
        yield part
