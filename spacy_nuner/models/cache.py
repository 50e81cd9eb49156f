"""Vectors of a frozen encoder, kept between the epochs of a training."""

import torch


class VectorCache:
    """Vectors of texts by their word pieces, up to a number of pieces.

    When it is full it takes no more, and drops none: epochs go through the texts in
    turns, so that the oldest is the next to be asked for.
    """

    def __init__(self, max_pieces: int) -> None:
        """max_pieces (int): The most word pieces whose vectors are kept."""
        self.max_pieces = max_pieces
        self.n_pieces = 0
        self._vectors: dict[bytes, torch.Tensor] = {}

    def get(self, key: bytes) -> torch.Tensor | None:
        """Look for a text.

        key (bytes): What the vectors depend on, the ids of its pieces above all.
        RETURNS (Tensor | None): *Shape:* (n_pieces, width)
        """
        return self._vectors.get(key)

    def add(self, key: bytes, vectors: torch.Tensor) -> None:
        """Keep the vectors of a text if there is room.

        key (bytes): What they depend on.
        vectors (Tensor): Copied. *Shape:* (n_pieces, width)
        """
        if key not in self._vectors and self.n_pieces + len(vectors) <= self.max_pieces:
            self._vectors[key] = vectors.clone()
            self.n_pieces += len(vectors)

    def __reduce__(self) -> tuple[type["VectorCache"], tuple[int]]:
        # A copy or pickle starts empty: what is in it can be computed again.
        return VectorCache, (self.max_pieces,)
