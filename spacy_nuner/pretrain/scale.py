"""The scale of the similarity that an encoder starts from."""

import numpy as np
import torch

from .batches import Collator
from .contrast import ContrastiveModel
from .features import Features

# Standard deviation of h . w / sqrt(width) over word pieces and concepts: that of
# all-MiniLM-L6-v2, whose recipe was measured with a scale of 1.
SPREAD = 0.17
ROWS = 64


@torch.no_grad()
def fit_scale(model: ContrastiveModel, features: Features) -> float:
    """Find the scale with which logits differ as much for any encoder.

    The vectors of all-mpnet-base-v2 are half as long as those of all-MiniLM-L6-v2 and
    its products a seventh: with the same scale all concepts look alike to it, and so
    slowly as the scale is learned they go on to (docs/decisions.md).

    model (ContrastiveModel): Before training; switched to evaluation.
    features (Features): The corpus, of which some rows are encoded.
    RETURNS (float): The scale.
    """
    model.eval()
    tokenizer = model.concept_encoder.tokenizer
    collate = Collator(features.concepts, tokenizer, description_dropout=0.5)
    count = len(features.texts)
    chosen = np.linspace(0, count - 1, min(ROWS, count)).astype(int).tolist()
    device = next(model.parameters()).device
    batch = collate([features.texts[i] for i in chosen])
    del batch["positives"]
    batch = {key: value.to(device) for key, value in batch.items()}
    pieces, concepts = model.encode(**batch)
    products = pieces.float() @ concepts.float().T / model.width**0.5
    return SPREAD / max(products.std().item(), 1e-6)
