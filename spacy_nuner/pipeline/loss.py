"""The loss of tokens and concepts, and its gradient."""

from typing import Any

import numpy as np

from .decode import get_probabilities

TINY = 1e-9


def cross_entropy(
    logits: Any, targets: Any, known: Any, *, exclusive: bool
) -> tuple[float, Any]:
    """Compare logits with the truth.

    logits, targets (ndarray): *Shape:* (n_tokens, n_concepts) each
    known (ndarray): Whether a token is annotated; others count for nothing.
        *Shape:* (n_tokens,)
    exclusive (bool): Softmax over the concepts and "none", whose logit is 0, instead
        of one sigmoid for each concept.
    RETURNS (tuple): The cross-entropy, averaged over the annotated tokens, and its
        gradient. *Shape:* (n_tokens, n_concepts)
    """
    if exclusive:
        # A token may carry two annotated labels only by mistake; share it out.
        targets = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1.0)
    p = get_probabilities(logits, exclusive=exclusive)
    count = max(int(known.sum()), 1)
    gradient = (p - targets) * known[:, np.newaxis] / count
    loss = _loss_of_tokens(p, targets, exclusive=exclusive)[known].sum() / count
    return float(loss), gradient


def _loss_of_tokens(p: Any, targets: Any, *, exclusive: bool) -> Any:
    """*Shape:* (n_tokens,)"""
    found = targets * np.log(p + TINY)
    if not exclusive:
        return -(found + (1 - targets) * np.log(1 - p + TINY)).sum(axis=1)
    none = (1 - targets.sum(axis=1)) * np.log(1 - p.sum(axis=1).clip(max=1.0) + TINY)
    return -(found.sum(axis=1) + none)
