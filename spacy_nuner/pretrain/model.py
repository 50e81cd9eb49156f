"""What is trained: both encoders, and the similarity between what they give."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..encoders.concept_encoder import ConceptEncoder
from ..encoders.folder import layers_to_read
from ..encoders.layers import encoder_layers, freeze, set_training


class _Gather(torch.autograd.Function):
    """Puts together the vectors that each device has computed as large a share of.

    The gradient of a vector is the sum over all devices, at the one that computed it.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        shares = [
            torch.empty_like(vectors) for _ in range(distributed.get_world_size())
        ]
        distributed.all_gather(shares, vectors.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each device has compared its texts with all vectors.
        # A copy: autograd may still need what is summed up in place.
        whole = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        return whole.chunk(distributed.get_world_size())[distributed.get_rank()]


@contextmanager
def process_group() -> Iterator[None]:
    """Destroy the process group that a run made, when the run has ended well.

    Else its threads are alive when Python ends, which now and then aborts a process
    that is done. What refers to the group, as the wrapped model does, has to be gone
    before: the last reference waits for its threads, and unless that is torch's own, it
    holds the GIL while they need it. So this decorates the function whose variables
    refer to it, and does nothing after an error, whose traceback does so too.
    """
    available = distributed.is_available()
    # One that the caller made is the caller's to destroy.
    of_caller = available and distributed.is_initialized()
    yield
    if available and not of_caller and distributed.is_initialized():
        gc.collect()
        distributed.destroy_process_group()


# From logits and targets to a mean over the word pieces (the rows). It may be given
# some of the rows at a time; the means are then averaged by their numbers of rows.
Objective = Callable[[Tensor, Tensor], Tensor]


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


def make_sigmoid_softmax_cross_entropy(softmax: float = 0.1) -> Objective:
    """Add to NuNER's loss that the concepts of a batch compete for each word piece.

    Each concept by itself does not learn how it differs from its neighbours, such as a
    politician from a person; docs/recipe.md has what the competition brings.

    softmax (float): Weight of the competition, that of the binary cross-entropy is 1.
    RETURNS (Objective): Takes logits and targets, gives the loss.
    """

    def objective(logits: Tensor, targets: Tensor) -> Tensor:
        both = softmax * softmax_cross_entropy(logits, targets)
        return sigmoid_cross_entropy(logits, targets) + both

    return objective


def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the concepts and "none", averaged over the word pieces.

    "none" has the logit 0, as in `nuner_ner`. A word piece of several concepts wants an
    equal share for each.

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


# Pairs of word piece and concept that are compared at once, some 20 bytes each.
PAIRS_AT_ONCE = 4_194_304


class Similarity(nn.Module):
    """logit = scale * (h . w) / sqrt(width) + bias, with learned scale and bias."""

    def __init__(self, *, scale: float, bias: float) -> None:
        """scale (float): Factor to start from.

        bias (float): Offset to start from.
        """
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, token_vectors: Tensor, concept_vectors: Tensor) -> Tensor:
        """Compare every word piece with every concept.

        token_vectors (Tensor): *Shape:* (pieces, width)
        concept_vectors (Tensor): *Shape:* (concepts, width)
        RETURNS (Tensor): Logits. *Shape:* (pieces, concepts)
        """
        products = (token_vectors @ concept_vectors.T).float()
        return self.scale * products / token_vectors.shape[1] ** 0.5 + self.bias


class ContrastiveModel(nn.Module):
    """Text encoder and concept encoder, trained to agree on what belongs together."""

    # Or Trainer takes the further arguments of `forward` for a sign that the loss is
    # divided by `accumulate_gradient` already.
    accepts_loss_kwargs = False

    def __init__(
        self,
        text_encoder: Any,
        concept_encoder: ConceptEncoder,
        similarity: Similarity,
        objective: Objective,
        *,
        frozen_layers: int,
        pairs_at_once: int = PAIRS_AT_ONCE,
    ) -> None:
        """text_encoder (PreTrainedModel): What becomes the backbone.

        concept_encoder (ConceptEncoder): Encodes the concepts of the batch.
        similarity (Similarity): Compares the two.
        objective (Objective): The loss, from logits and targets.
        frozen_layers (int): Bottom layers of both encoders that are not trained; the
            embeddings are frozen with them. 0 trains everything.
        pairs_at_once (int): Pairs of word piece and concept that are compared at once.
        """
        super().__init__()
        self.text_encoder: Any = text_encoder
        self.concept_encoder = concept_encoder
        self.similarity = similarity
        self.objective = objective
        self.frozen_layers = frozen_layers
        self.pairs_at_once = pairs_at_once
        for encoder in (text_encoder, concept_encoder.encoder):
            freeze(encoder, frozen_layers, embeddings=frozen_layers > 0)
            # Its output is not used; gradients that never come confuse DDP.
            if getattr(encoder, "pooler", None) is not None:
                encoder.pooler.requires_grad_(False)

    def train(self, mode: bool = True) -> ContrastiveModel:
        """Switch dropout on or off; frozen parts stay without.

        mode (bool): Whether to train.
        RETURNS (ContrastiveModel): Itself.
        """
        super().train(mode)
        if mode:
            set_training(self.text_encoder)
            set_training(self.concept_encoder.encoder)
        return self

    @property
    def hidden_layers(self) -> list[int]:
        """The layers of the text encoder to read, -1 being the last."""
        return layers_to_read(
            len(encoder_layers(self.text_encoder)), self.frozen_layers
        )

    @property
    def width(self) -> int:
        """Width of the vectors that are compared."""
        return self.text_encoder.config.hidden_size

    def forward(self, positives: Tensor, **batch: Any) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        positives (Tensor): Pairs that belong together: index among the pieces where
            `is_text`, index of the concept. *Shape:* (2, pairs)
        **batch: For `encode`.
        RETURNS (dict[str, Tensor]): "loss". *Shape:* ()
        """
        pieces, concepts = self.encode(**batch)
        return {"loss": self.loss(pieces, concepts, positives)}

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        is_text: Tensor,
        concept_ids: Tensor,
        concept_mask: Tensor,
        concept_count: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Turn the texts and the concepts of a batch into vectors.

        input_ids (Tensor): Word pieces of the texts. *Shape:* (batch, seq)
        attention_mask (Tensor): 0 at padding. *Shape:* (batch, seq)
        is_text (Tensor): True at word pieces of the text itself, False at padding and
            special pieces. *Shape:* (batch, seq)
        concept_ids (Tensor): Word pieces of the batch's distinct concepts.
            *Shape:* (concepts, concept_seq)
        concept_mask (Tensor): 0 at padding. *Shape:* (concepts, concept_seq)
        concept_count (int | None): How many concepts the batch has over all devices,
            of which this one got its share; None if it got all.
        RETURNS (tuple[Tensor, Tensor]): One vector a word piece where `is_text`, one a
            concept. *Shape:* (pieces, width), (concepts, width)
        """
        # Frozen layers need no `no_grad` of their own: nothing below the first trained
        # layer asks for a gradient, so autograd keeps no graph of it.
        hidden = self.text_encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        concepts = self.concept_encoder(concept_ids, concept_mask)
        if concept_count is not None:
            # What is gathered beyond is repetition.
            concepts = _Gather.apply(concepts)[:concept_count]
        return hidden[is_text], concepts

    def loss(self, pieces: Tensor, concepts: Tensor, positives: Tensor) -> Tensor:
        """Compare every word piece with every concept, with bounded memory.

        pieces (Tensor): Their vectors. *Shape:* (pieces, width)
        concepts (Tensor): Their vectors. *Shape:* (concepts, width)
        positives (Tensor): As for `forward`. *Shape:* (2, pairs)
        RETURNS (Tensor): The mean over the word pieces. *Shape:* ()
        """
        size = max(1, self.pairs_at_once // max(1, len(concepts)))
        if len(pieces) <= size:
            return self._part_loss(pieces, concepts, positives)
        loss = pieces.new_zeros((), dtype=torch.float32)
        for start in range(0, len(pieces), size):
            part = pieces[start : start + size]
            inside = (positives[0] >= start) & (positives[0] < start + size)
            own = positives[:, inside] - positives.new_tensor([[start], [0]])
            # Logits are computed again for the gradient instead of being stored.
            mean: Any = checkpoint(
                self._part_loss, part, concepts, own, use_reentrant=False
            )
            loss = loss + mean * (len(part) / len(pieces))
        return loss

    def _part_loss(self, pieces: Tensor, concepts: Tensor, positives: Tensor) -> Tensor:
        logits = self.similarity(pieces, concepts)
        return self.objective(logits, dense_targets(positives, *logits.shape))
