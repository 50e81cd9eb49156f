"""Texts of like length -> batches with little padding."""

from collections.abc import Iterator, Sequence


def batch_by_length(
    lengths: Sequence[int], *, max_size: int, max_padding: int | None = None
) -> Iterator[list[int]]:
    """Group texts of like length.

    lengths (Sequence[int]): The length of each text, in word pieces or tokens.
    max_size (int): The longest text of a batch times their number is no more; a longer
        text stands alone.
    max_padding (int | None): How much a batch may lack to be as long as its longest
        text throughout; None for any.
    YIELDS (list[int]): Indices of texts, the longest batch first, so that a batch that
        does not fit into memory shows at once.
    """
    batch: list[int] = []
    longest = padding = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        padding += longest - lengths[i]
        full = longest * (len(batch) + 1) > max_size
        if batch and (full or (max_padding is not None and padding > max_padding)):
            yield batch
            batch = []
        if not batch:
            longest, padding = lengths[i], 0
        batch.append(i)
    if batch:
        yield batch
