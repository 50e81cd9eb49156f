"""Words laid out as a cloud: none covers another, the first ones in the middle."""

from collections.abc import Sequence

import numpy as np

# Places are tried along a spiral: turns a third of a word's height apart, steps half
# of it long, in blocks, and further out if a block is full.
TURN = 0.33
STEP = 0.5
BLOCK = 512


def place_words(
    sizes: Sequence[tuple[float, float]], *, aspect: float = 1.8, gap: float = 0.0
) -> np.ndarray:
    """Find a place for each word, as near to the middle as those before leave it.

    sizes (Sequence[tuple[float, float]]): Width and height of each word, in any unit.
    aspect (float): How much wider than high the cloud is.
    gap (float): The least distance of two words, in the same unit.
    RETURNS (np.ndarray): The middle of each word; the middle of the cloud is at 0, 0.
        *Shape:* (n, 2)
    """
    halves = (np.asarray(sizes, dtype=float).reshape(-1, 2) + gap) / 2
    places = np.zeros_like(halves)
    if not len(halves):
        return places
    height = 2 * float(np.median(halves[:, 1]))
    blocks: list[np.ndarray] = []
    for i, half in enumerate(halves):
        number = 0
        while True:
            if number == len(blocks):
                blocks.append(_spiral(number, height) * (aspect, 1.0))
            block = blocks[number]
            distance = np.abs(block[:, None] - places[None, :i])
            taken = (distance < halves[:i] + half).all(axis=2).any(axis=1)
            if not taken.all():
                places[i] = block[int(taken.argmin())]
                break
            number += 1
    return places


def _spiral(block: int, height: float) -> np.ndarray:
    """A block of points on a spiral of even turns, a step apart. *Shape:* (BLOCK, 2)"""
    length = STEP * height * np.arange(block * BLOCK, (block + 1) * BLOCK)
    growth = TURN * height / (2 * np.pi)
    # Of a spiral with radius = growth * angle the length is about growth * angle² / 2.
    angle = np.sqrt(2 * length / growth)
    return growth * angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
