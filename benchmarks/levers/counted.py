"""Which pairs of word piece and concept a recipe counts, and how much."""

from typing import Any

import torch
from recipe import Levers
from torch import Tensor


def weigh_pairs(
    levers: Levers,
    logits: Tensor,
    targets: Tensor,
    meanings: Tensor,
    counts: Tensor,
    mentions: list[Any],
) -> Tensor:
    """Weights of the pairs; 0 where one is not counted.

    logits, targets: *Shape:* (pieces, concepts)
    meanings: Directions of the concepts by the base encoder. *Shape:* (concepts, width)
    counts: How often each concept is annotated. *Shape:* (concepts,)
    mentions: First piece, piece after the last and concept of each.
    RETURNS (Tensor): *Shape:* (pieces, concepts)
    """
    weights = torch.ones_like(targets)
    inside = targets.sum(dim=1) > 0
    if levers.dedupe:
        near = (meanings @ meanings.T > levers.dedupe).float().fill_diagonal_(0)
        weights[(targets @ near > 0) & (targets == 0)] = 0
    if levers.unsure < 1:
        weights[(logits.sigmoid() > levers.unsure) & (targets == 0)] = 0
    if levers.outside < 1:
        weights[(torch.rand(len(targets)) >= levers.outside) & ~inside] = 0
    if levers.frequent:
        weights[~inside.unsqueeze(1) & (counts >= levers.frequent)] = 0
    if levers.dropped:
        for start, end, _ in mentions:
            if torch.rand(()) < levers.dropped:
                weights[start:end] = 0
    if levers.edges != 1:
        pieces = len(targets)
        edges = {
            place
            for start, end, _ in mentions
            for place in (start - 1, start, end - 1, end)
            if 0 <= place < pieces
        }
        weights[sorted(edges)] *= levers.edges
    return weights
