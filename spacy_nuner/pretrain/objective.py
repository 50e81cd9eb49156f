"""The contrastive loss: which word pieces belong to which concepts of the batch."""

from collections.abc import Callable

import torch
from spacy.util import registry
from torch import Tensor
from torch.nn import functional

# From logits and targets to a mean over the word pieces (the rows). It may be given
# some of the rows at a time; the means are then averaged by their numbers of rows.
Objective = Callable[[Tensor, Tensor], Tensor]


@registry.misc("spacy_nuner.SigmoidCrossEntropy.v1")
def make_sigmoid_cross_entropy() -> Objective:
    """Score each word piece against each concept by itself, as NuNER does.

    RETURNS (Objective): Takes logits and targets, gives the loss.
    """
    return sigmoid_cross_entropy


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over all pairs of word piece and concept.

    Concepts outside the batch are no negatives: an annotator names few of the concepts
    that fit, so most of those negatives would be wrong (https://arxiv.org/abs/2402.15343).

    logits (Tensor): Similarities. *Shape:* (pieces, concepts)
    targets (Tensor): 1 where the piece lies in a span of the concept, else 0.
        *Shape:* (pieces, concepts)
    RETURNS (Tensor): The loss. *Shape:* ()
    """
    # In fp32: averages over some 100,000 pairs lose too much in bf16.
    return functional.binary_cross_entropy_with_logits(logits.float(), targets.float())


@registry.misc("spacy_nuner.SigmoidSoftmaxCrossEntropy.v1")
def make_sigmoid_softmax_cross_entropy(softmax: float = 0.1) -> Objective:
    """Add to NuNER's loss that the concepts of a batch compete for each word piece.

    Each concept by itself is not told how it differs from its neighbours, such as a
    politician from a person; docs/recipe.md has what the competition brings.

    softmax (float): Weight of the competition beside the binary cross-entropy.
    RETURNS (Objective): Takes logits and targets, gives the loss.
    """

    def objective(logits: Tensor, targets: Tensor) -> Tensor:
        both = softmax * softmax_cross_entropy(logits, targets)
        return sigmoid_cross_entropy(logits, targets) + both

    return objective


def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the concepts and "none", averaged over the word pieces.

    "none" has the logit 0, as in `nuner_concepts` with `exclusive`. A word piece of
    several concepts wants an equal share for each.

    logits (Tensor): Similarities. *Shape:* (pieces, concepts)
    targets (Tensor): 1 where the piece lies in a span of the concept, else 0.
        *Shape:* (pieces, concepts)
    RETURNS (Tensor): The loss. *Shape:* ()
    """
    none = functional.pad(logits.float(), (0, 1))
    outside = (targets.sum(dim=1, keepdim=True) == 0).float()
    wanted = torch.cat([targets.float(), outside], dim=1)
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    return functional.cross_entropy(none, wanted)


def dense_targets(positives: Tensor, pieces: int, concepts: int) -> Tensor:
    """Spread the pairs that belong together over a matrix.

    positives (Tensor): Row and column of each pair. *Shape:* (2, pairs)
    pieces (int): Rows.
    concepts (int): Columns.
    RETURNS (Tensor): 1 at the pairs, else 0. *Shape:* (pieces, concepts)
    """
    targets = torch.zeros(pieces, concepts, device=positives.device)
    targets[positives[0], positives[1]] = 1
    return targets
