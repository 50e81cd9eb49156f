"""The scale of the similarity that an encoder starts from."""

from typing import Any

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
    model.eval()
    tokenizer = model.concept_encoder.tokenizer
    collate = Collator(features.concepts, tokenizer, description_dropout=1.0)
    device = next(model.parameters()).device
    random = np.random.default_rng(seed)
    rows = random.permutation(len(features.texts))[:BACKGROUND_ROWS].tolist()
    found = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        batch: Any = collate(
            [features.texts[i] for i in rows[start : start + ROWS_AT_ONCE]]
        )
        hidden = model.text_encoder(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
        ).last_hidden_state
        found.append(hidden[batch["is_text"].to(device)].cpu())
    vectors = torch.cat(found)
    chosen = random.permutation(len(vectors))[:COUNT]
    return vectors[torch.from_numpy(chosen)].to(torch.bfloat16)


# Standard deviation of h . w / sqrt(width) over word pieces and concepts: that of
# all-MiniLM-L6-v2, whose recipe was measured with a scale of 1.
SPREAD = 0.17
SCALE_ROWS = 64


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
    chosen = np.linspace(0, count - 1, min(SCALE_ROWS, count)).astype(int).tolist()
    device = next(model.parameters()).device
    batch = collate([features.texts[i] for i in chosen])
    del batch["positives"]
    batch = {key: value.to(device) for key, value in batch.items()}
    pieces, concepts = model.encode(**batch)
    products = pieces.float() @ concepts.float().T / model.width**0.5
    return SPREAD / max(products.std().item(), 1e-6)
