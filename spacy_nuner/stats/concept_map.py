"""A two-dimensional map of concepts: where each is, and in which colour."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors, NunerError

Floats = NDArray[np.floating[Any]]

SEED = 0
# Character n-grams: more features change the map little and cost memory.
NGRAMS = (2, 4)
FEATURES = 4096
# As light as can be read both on white and on black (WCAG 2: contrast of 4 or more).
LUMINANCE = 0.2
CHANNELS = np.array([0.2126, 0.7152, 0.0722])
FEWEST = 10


class ConceptMap(NamedTuple):
    """A map of concepts.

    points (Floats): Where they are. *Shape:* (n, 2)
    colours (list[str]): Their colours, as "#rrggbb"; neighbours have similar ones.
    method (str): How the map was made.
    """

    points: Floats
    colours: list[str]
    method: str


def make_map(names: Sequence[str], vectors: Floats | None = None) -> ConceptMap:
    """Lay concepts out in two dimensions and colour them by three more.

    The points are found by UMAP where `umap-learn` is installed, else by t-SNE; the
    hue comes from the first three principal components.

    names (Sequence[str]): The names of the concepts.
    vectors (Floats | None): What a concept encoder makes of them; None to compare the
        names by their character n-grams. *Shape:* (n, width)
    RETURNS (ConceptMap): The map.
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise NunerError(
            Errors.N006, package="scikit-learn", extra="fewshot"
        ) from error
    described = "names by their concept-encoder vectors"
    if vectors is None:
        described = "names by their character n-grams"
        tfidf = TfidfVectorizer(
            analyzer="char_wb", ngram_range=NGRAMS, max_features=FEATURES
        )
        # A name of blanks has no n-grams, and a vocabulary may not be empty.
        spelled = [name if name.strip() else "(blank)" for name in names]
        vectors = tfidf.fit_transform(spelled).toarray()
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.maximum(norms, 1e-9)
    components = np.zeros((len(vectors), 3))
    if len(vectors) > 1:
        size = min(3, *vectors.shape)
        components[:, :size] = PCA(size, random_state=SEED).fit_transform(vectors)
    settings: dict[str, Any] = {"metric": "cosine", "random_state": SEED}
    if len(vectors) < FEWEST:
        # The others look for neighbours, of which there are too few.
        points, method = components[:, :2], "PCA"
    elif umap := _import_umap():
        points, method = umap(n_components=2, **settings).fit_transform(vectors), "UMAP"
    else:
        perplexity = min(30, len(vectors) / 4)
        tsne = TSNE(2, init="pca", perplexity=perplexity, **settings)
        # So few points are laid out faster by one thread than by several that wait
        # for each other.
        with threadpool_limits(1):
            points, method = tsne.fit_transform(vectors), "t-SNE"
    return ConceptMap(
        np.asarray(points), get_colours(components), f"{described}, {method}"
    )


def get_colours(components: Floats) -> list[str]:
    """Turn components into colours that differ in hue and are equally light.

    components (Floats): Red, green and blue, on any scale. *Shape:* (n, 3)
    RETURNS (list[str]): As "#rrggbb".
    """
    # Ranks are spread evenly, whatever the distribution of the values.
    ranks = components.argsort(axis=0, kind="stable").argsort(axis=0)
    lowest = ranks.min(axis=1, keepdims=True)
    highest = np.maximum(ranks.max(axis=1, keepdims=True), 1)
    linear = (ranks - 0.8 * lowest) / highest
    # In linear light luminance is a weighted sum, so a colour is darkened by a factor,
    # or mixed with white, until it has the luminance.
    luminance = (linear @ CHANNELS)[:, np.newaxis]
    darker = linear * LUMINANCE / np.maximum(luminance, LUMINANCE)
    white = np.maximum(LUMINANCE - luminance, 0) / (1 - luminance)
    linear = darker + white * (1 - linear)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, curved)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in (255 * rgb).round().astype(int)]


def _import_umap() -> Any:
    try:
        from umap import UMAP
    except ImportError:
        return None
    return UMAP
