"""What ordinary text looks like to a backbone: the vectors of some word pieces.

A concept that was only named is to be compared with what is usual for it: to a bare
name, frequent concepts such as "person" look likely everywhere.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches import Collator
from .contrast import ContrastiveModel
from .features import Features

# With half as many word pieces the concepts of ten sets are found no worse.
COUNT = 2048
ROWS = 512
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
    rows = random.permutation(len(features.texts))[:ROWS].tolist()
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
