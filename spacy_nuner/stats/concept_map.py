"""A two-dimensional map of concepts: where each stands, and in which hue."""

import colorsys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import Errors, NunerError

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


SEED = 0
# Hashed character n-grams: more features change the map little and cost memory.
NGRAMS = (2, 4)
FEATURES = 4096
# As light as can be read both on white and on black (contrast 4 or more).
LUMINANCE = 0.2
SATURATION = (0.5, 0.9)
FEWEST = 10


class ConceptMap(NamedTuple):
    """A map of concepts.

    places (np.ndarray): Where they stand. *Shape:* (n, 2)
    colours (list[str]): Their colours, as "#rrggbb"; neighbours have similar ones.
    method (str): How the map was made.
    """

    places: np.ndarray
    colours: list[str]
    method: str


def make_map(vectors: np.ndarray, described: str) -> ConceptMap:
    """Lay vectors out in two dimensions and colour them by three more.

    The places are found by UMAP where `umap-learn` is installed, else by t-SNE; the
    hue comes from the first three principal components.

    vectors (np.ndarray): One vector a concept. *Shape:* (n, width)
    described (str): What the vectors are.
    RETURNS (ConceptMap): The map.
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise _missing() from error
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.maximum(norms, 1e-9)
    reduced = np.zeros((len(vectors), 3))
    if len(vectors) > 1:
        size = min(3, *vectors.shape)
        reduced[:, :size] = PCA(size, random_state=SEED).fit_transform(vectors)
    settings: dict[str, Any] = {"metric": "cosine", "random_state": SEED}
    if len(vectors) < FEWEST:
        # The others look for neighbours, of which there are too few.
        places, method = reduced[:, :2], "PCA"
    elif umap := _find_umap():
        places, method = umap(n_components=2, **settings).fit_transform(vectors), "UMAP"
    else:
        perplexity = min(30, len(vectors) / 4)
        tsne = TSNE(2, init="pca", perplexity=perplexity, **settings)
        # So few points are laid out faster by one thread than by several that wait
        # for each other.
        with threadpool_limits(1):
            places, method = tsne.fit_transform(vectors), "t-SNE"
    colours = [_colour(*rgb) for rgb in _to_ranks(reduced)]
    return ConceptMap(np.asarray(places), colours, f"{described}, {method}")


def ngram_vectors(names: Sequence[str]) -> np.ndarray:
    """Tell names apart by their spelling alone, where no encoder is at hand.

    names (Sequence[str]): The names.
    RETURNS (np.ndarray): Weighted counts of hashed character n-grams.
        *Shape:* (n, 4096)
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    except ImportError as error:
        raise _missing() from error
    hashing = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=NGRAMS,
        n_features=FEATURES,
        alternate_sign=False,
    )
    weighted = TfidfTransformer().fit_transform(hashing.transform(names))
    return np.asarray(weighted.todense())


def _find_umap() -> Any:
    try:
        from umap import UMAP
    except ImportError:
        return None
    return UMAP


def _to_ranks(values: np.ndarray) -> np.ndarray:
    """Each column spread evenly over 0 to 1, whatever its distribution."""
    ranks = values.argsort(axis=0, kind="stable").argsort(axis=0)
    return ranks / max(len(values) - 1, 1)


def _colour(red: float, green: float, blue: float) -> str:
    """A colour of this hue that is neither too light nor too dark to be read."""
    hue, _, saturation = colorsys.rgb_to_hls(red, green, blue)
    low, high = SATURATION
    saturation = low + (high - low) * saturation
    dark, light = 0.0, 1.0
    for _ in range(12):
        lightness = (dark + light) / 2
        rgb = colorsys.hls_to_rgb(hue, lightness, saturation)
        if _luminance(rgb) < LUMINANCE:
            dark = lightness
        else:
            light = lightness
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def _luminance(rgb: tuple[float, float, float]) -> float:
    """How light a colour looks, 0 to 1 (WCAG 2)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in rgb
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _missing() -> NunerError:
    return NunerError(Errors.N006, package="scikit-learn", extra="fewshot")
