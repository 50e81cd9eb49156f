"""Vectors of a sample of the corpus, and the scale that fits an encoder's."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .data.batches import Collator
from .data.features import Features
from .model import ContrastiveModel

# With half as many word pieces the concepts of ten sets are found no worse.
COUNT = 2048
BACKGROUND_ROWS = 512
ROWS_AT_ONCE = 32


@torch.no_grad()
def encode_rows(
    model: ContrastiveModel,
    features: Features,
    batches: Iterable[Sequence[int]],
    *,
    description_dropout: float,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Encode rows of a corpus and their concepts.

    model (ContrastiveModel): The model; switched to evaluation.
    features (Features): The corpus.
    batches (Iterable[Sequence[int]]): Indices of the rows of each batch.
    description_dropout (float): Share of concepts given by their name alone.
    YIELDS (tuple[Tensor, Tensor, Tensor]): For each batch one vector a word piece, one
        vector a concept, and the pairs of both that belong together.
        *Shape:* (pieces, width), (concepts, width), (2, pairs)
    """
    model.eval()
    collate = Collator(
        features.concepts,
        model.concept_encoder.tokenizer,
        description_dropout=description_dropout,
    )
    device = next(model.parameters()).device
    for rows in batches:
        batch = collate([features.texts[row] for row in rows])
        batch = {key: value.to(device) for key, value in batch.items()}
        positives = batch.pop("positives")
        pieces, concepts = model.encode(**batch)
        yield pieces, concepts, positives


def sample_background(
    model: ContrastiveModel, features: Features, *, seed: int
) -> Tensor:
    """Take the vectors of word pieces by chance.

    model (ContrastiveModel): The trained model; switched to evaluation.
    features (Features): The corpus.
    seed (int): Of the choice.
    RETURNS (Tensor): Last hidden states in bf16, at most `COUNT`.
        *Shape:* (pieces, width)
    """
    random = np.random.default_rng(seed)
    rows = random.permutation(len(features.texts))[:BACKGROUND_ROWS].tolist()
    starts = range(0, len(rows), ROWS_AT_ONCE)
    batches = [rows[start : start + ROWS_AT_ONCE] for start in starts]
    encoded = encode_rows(model, features, batches, description_dropout=1.0)
    vectors = torch.cat([pieces.cpu() for pieces, _, _ in encoded])
    chosen = random.permutation(len(vectors))[:COUNT]
    return vectors[torch.from_numpy(chosen)].to(torch.bfloat16)


# Standard deviation of h . w / sqrt(width) over word pieces and concepts: that of
# all-MiniLM-L6-v2, whose recipe was measured with a scale of 1.
SPREAD = 0.17
SCALE_ROWS = 64


def fit_scale(model: ContrastiveModel, features: Features) -> float:
    """Find the scale with which logits differ as much for any encoder.

    The vectors of all-mpnet-base-v2 are half as long as those of all-MiniLM-L6-v2 and
    its products a seventh: with the same scale all concepts look alike to it, and so
    slowly as the scale is learned they go on to (docs/decisions.md).

    model (ContrastiveModel): Before training; switched to evaluation.
    features (Features): The corpus, of which some rows are encoded.
    RETURNS (float): The scale.
    """
    count = len(features.texts)
    rows = np.linspace(0, count - 1, min(SCALE_ROWS, count)).astype(int).tolist()
    encoded = encode_rows(model, features, [rows], description_dropout=0.5)
    pieces, concepts, _ = next(encoded)
    products = pieces.float() @ concepts.float().T / model.width**0.5
    return SPREAD / max(products.std().item(), 1e-6)
